#!/usr/bin/env python3
"""Checks the models of the ALock with spin: each configuration must hold, and each mistake that is
planted in one must be found. docs/alock.md, "Models", says what they are for.

Runs as a Bazel test and by hand:
  model_test.py               what tools/test runs
  model_test.py --full        the bigger configurations too: up to some minutes and GB each
  model_test.py NAME...       only these
  model_test.py --trace NAME  the steps that lead to the error
"""

import argparse
import concurrent.futures
import dataclasses
import os
import re
import subprocess
import sys
import tempfile
import time

MODELS = os.path.dirname(os.path.realpath(__file__))
AT_ONCE = 2
MEMORY_MB_MAX = 8000
DEPTH_MAX = 4_000_000

# What a search looks for -> how pan.c is compiled, how pan is called.
SEARCHES = {
    # Assertions, and states in which somebody waits for ever.
    "safety": (["-DSAFETY"], []),
    # Who is in the queue is served, when every process that can go on does so in the end.
    "served": (["-DNFAIR=3"], ["-a", "-f"]),
    # No cycle at all: everybody makes a bounded number of steps.
    "ends": (["-DNP"], ["-l"]),
}
HOLDS = None
TWO_INSIDE = r"assertion violated .*(inside==1|holds)"
WRONG_DATA = r"assertion violated .*newest"
STUCK = r"invalid end state|assertion violated \((local|remote)_tail==0\)"
STARVES = r"acceptance cycle"


@dataclasses.dataclass(frozen=True)
class Case:
    """One search. `expected` is HOLDS or what pan must say."""

    name: str
    model: str
    macros: str
    search: str = "safety"
    expected: str = HOLDS
    full: bool = False


def case(name, model, macros, **more):
    return Case(name, model + ".pml", macros, **more)


def algorithm():
    """alock.pml: process 0 is remote, the last one is local."""
    model = "alock"
    everything = "HALVES TSO LEAVE DATA"
    yield case("2+1", model, f"NR=2 NL=1 {everything}")
    yield case("2+1, budget 2", model, f"NR=2 NL=1 BR=2 BL=2 {everything}")
    yield case("1+2, budgets 2 and 1", model, f"NR=1 NL=2 BR=2 BL=1 {everything}")
    yield case("2+1, quiet leave", model, "NR=2 NL=1 HALVES LEAVE QUIET_LEAVE")
    yield case("2+2", model, "NR=2 NL=2 HALVES")
    yield case("3+1", model, "NR=3 NL=1 HALVES", full=True)
    yield case("2+2, all", model, "NR=2 NL=2 HALVES TSO LEAVE", full=True)
    yield case("3+1, all", model, "NR=3 NL=1 HALVES LEAVE DATA", full=True)
    yield case("2+2, budgets 2 and 1", model, "NR=2 NL=2 BR=2 BL=1 HALVES", full=True)
    yield case("2+1, bypass", model, "NR=2 NL=1 BR=2 BL=2 HALVES LEAVE BYPASS")
    yield case("2+2, bypass", model, "NR=2 NL=2 BR=1 BL=2 BYPASS", full=True)
    for who, kind in ((0, "remote"), (2, "local")):
        served = {"search": "served"}
        machine = "HALVES TSO LEAVE"
        yield case(f"2+1, {kind} served", model, f"NR=2 NL=1 {machine} LIVE={who}", **served)
        yield case(
            f"2+1, {kind} served, budget 2", model, f"NR=2 NL=1 BR=2 BL=2 LEAVE LIVE={who}", **served
        )
        yield case(f"2+2, {kind} served", model, f"NR=2 NL=2 LIVE={who}", full=True, **served)
    yield case("1+2, local served", model, "NR=1 NL=2 LIVE=2 LEAVE", search="served")
    yield case("1+2, remote served", model, "NR=1 NL=2 LIVE=0 LEAVE", search="served")
    yield case("3+1, local served", model, "NR=3 NL=1 LIVE=3", search="served", full=True)

    inside = {"expected": TWO_INSIDE}
    yield case("victim in the batch", model, "HALVES BATCH_VICTIM", **inside)
    yield case("READ before COMPARE_SWAP", model, "READ_FIRST", **inside)
    yield case("victim by a plain store", model, "TSO PLAIN_VICTIM", **inside)
    yield case("leaves before B2 is complete", model, "LEAVE LEAVE_EARLY", **inside)
    yield case(
        "mixed atomics", model, "HALVES MIXED_ATOMICS", expected=f"{TWO_INSIDE}|invalid end state"
    )
    yield case("grant overtakes data", model, "DATA EARLY_GRANT", expected=WRONG_DATA)
    yield case("no budget", model, "NO_BUDGET LIVE=2", search="served", expected=STARVES)
    yield case(
        "leaves without B2", model, "LEAVE QUIET_LEAVE LIVE=2", search="served", expected=STARVES
    )


def remote_repair():
    """alock_repair.pml. A mortal one that waits for ever is found where fewer are mortal."""
    model = "alock_repair"
    yield case("remote: 2, one dies", model, "NR=2 MORTAL=1 TURNS=2 DATA LEAVE")
    yield case("remote: 2, both die", model, "NR=2 MORTAL=2 TURNS=2 DATA")
    yield case("remote: 3, one dies", model, "NR=3 MORTAL=1 LEAVE")
    yield case("remote: 3, two die", model, "NR=3 MORTAL=2 LOCAL_TURNS=0 BUDGET=2")
    yield case("remote: 3, two die, data", model, "NR=3 MORTAL=2 LOCAL_TURNS=0 DATA")
    yield case("remote: 4 in line, two die", model, "NR=4 MORTAL=2 IN_LINE LOCAL_TURNS=0 DATA")
    again = "NR=4 MORTAL=1 IN_LINE LOCAL_TURNS=0 LAST_TURNS=2 WALKS=1"
    yield case("remote: 4 in line, repaired again", model, again)
    later = "NR=3 MORTAL=1 LOCAL_TURNS=0 LAST_TURNS=2 WALKS=1"
    yield case("remote: 3, repaired again", model, later)
    yield case("remote: zombies, 2", model, "NR=2 MORTAL=1 DATA ZOMBIES")
    yield case("remote: zombies, 3", model, "NR=3 MORTAL=1 LOCAL_TURNS=0 ZOMBIES")
    yield case("remote: ends, 3", model, "NR=3 MORTAL=1 LOCAL_TURNS=0", search="ends")
    yield case("remote: ends, 2", model, "NR=2 MORTAL=2 TURNS=2 LEAVE", search="ends")
    full = {"full": True}
    yield case("remote: 3, X does not stand by", model, f"{later} NO_STAND_BY", **full)
    yield case("remote: 3, two die, local", model, "NR=3 MORTAL=2", **full)
    yield case("remote: 3, two die, local, data", model, "NR=3 MORTAL=2 DATA LEAVE", **full)
    yield case("remote: 3, two turns", model, "NR=3 MORTAL=1 TURNS=2 LOCAL_TURNS=0", **full)
    yield case("remote: 4 in line, local", model, "NR=4 MORTAL=2 IN_LINE", **full)
    yield case("remote: 4, one dies", model, "NR=4 MORTAL=1 LOCAL_TURNS=0", **full)
    yield case("remote: 4, two die", model, "NR=4 MORTAL=2 LOCAL_TURNS=0", **full)
    yield case("remote: two zombies", model, "NR=3 MORTAL=2 LOCAL_TURNS=0 ZOMBIES", **full)

    small = "MORTAL=1 LOCAL_TURNS=0"
    yield case("remote: no fence", model, f"{small} NO_FENCE", expected=f"{TWO_INSIDE}|{STUCK}")
    yield case("remote: peers not fenced", model, f"{small} PEERS_OPEN", expected=STUCK)
    yield case("remote: home not fenced", model, "NR=2 DATA HOME_OPEN", expected=WRONG_DATA)
    yield case("remote: no versions", model, "NR=2 DATA NO_VERSIONS", expected=TWO_INSIDE)
    yield case("remote: M1 drops D1 only", model, "NR=4 IN_LINE ONLY_D1", expected=STUCK)
    yield case("remote: M1 beside R3", model, f"{small} M1_STALE", expected=STUCK)
    yield case("remote: S used again after M5", model, f"{again} NOT_SPOILT", expected=STUCK)
    left = f"{later} NO_STAND_BY M3_ALWAYS"
    yield case("remote: M3 to who has left", model, left, expected=STUCK)
    yield case("remote: M4 clears next", model, f"{small} M4_CLEARS", expected=STUCK)
    yield case("remote: M4 forgotten", model, f"{small} M4_ONCE", expected=STUCK)


def local_repair():
    """alock_repair_local.pml."""
    model = "alock_repair_local"
    yield case("local: 2, one dies", model, "NL=2 MORTAL=1 TURNS=2 DATA LEAVE")
    yield case("local: 2, both die", model, "NL=2 MORTAL=2 TURNS=2 DATA REMOTE_TURNS=0")
    yield case("local: 3, one dies", model, "NL=3 MORTAL=1 LEAVE")
    yield case("local: 3, two die", model, "NL=3 MORTAL=2 REMOTE_TURNS=0 BUDGET=2")
    yield case("local: ends", model, "NL=2 MORTAL=1 TURNS=2", search="ends")
    yield case("local: word stored last", model, "NL=2 MORTAL=1 TURNS=2 WORD_LAST")
    full = {"full": True}
    yield case("local: 3, two die, remote", model, "NL=3 MORTAL=2 DATA", **full)
    looks = "NL=3 MORTAL=1 TURNS=2 REMOTE_TURNS=0"
    yield case("local: 3, two turns", model, looks, **full)
    yield case("local: one look", model, f"{looks} ONE_LOOK", **full)

    small = "NL=2 MORTAL=1 TURNS=2"
    yield case("local: no L1", model, "NL=3 MORTAL=1 NO_L1", expected=TWO_INSIDE)
    yield case("local: a budget for who led only", model, f"{small} ROBBED", expected=TWO_INSIDE)
    yield case("local: no versions", model, f"{small} DATA NO_VERSIONS", expected=TWO_INSIDE)


CASES = [*algorithm(), *remote_repair(), *local_repair()]


def run(command, folder, errors_allowed=False):
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0 and not errors_allowed:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout


def search(one, folder):
    """What pan says of it. The trail of an error, if any, stays in `folder`."""
    compile_flags, pan_flags = SEARCHES[one.search]
    macros = [f"-D{macro}" for macro in one.macros.split()]
    said = run(["spin", "-a", *macros, os.path.join(MODELS, one.model)], folder)
    if re.search(r"^spin:|[Ee]rror:|warning:", said, re.MULTILINE):
        raise RuntimeError(said)
    # What is to be found is found soon: then compiling is what takes time.
    optimize = "-O2" if one.expected is HOLDS else "-O0"
    compiler = ["gcc", optimize, "-w", "-DCOLLAPSE", f"-DMEMLIM={MEMORY_MB_MAX}", *compile_flags]
    run([*compiler, "-o", "pan", "pan.c"], folder)
    # pan exits with 0 also when it has found an error.
    return run(["./pan", f"-m{DEPTH_MAX}", *pan_flags], folder, errors_allowed=True)


def why_wrong(one, said):
    """None if `said` is what the case expects."""
    errors = re.search(r"errors: (\d+)", said)
    if errors is None:
        return "pan gave up"
    if one.expected is not HOLDS:
        if errors[1] == "0":
            return "the mistake was not found"
        return None if re.search(one.expected, said) else "another error than the one expected"
    if errors[1] != "0":
        return "does not hold"
    incomplete = re.search(r"max search depth too small|not completed|MEMLIM|out of memory", said)
    return f"the search is not complete: {incomplete[0]}" if incomplete else None


def check(one, trace=False):
    """Prints one line. True if the case went as expected."""
    start = time.monotonic()
    said = ""
    with tempfile.TemporaryDirectory() as folder:
        try:
            said = search(one, folder)
            wrong = why_wrong(one, said)
        except (OSError, RuntimeError) as error:
            wrong = str(error)
        if trace:
            macros = [f"-D{macro}" for macro in one.macros.split()]
            model = os.path.join(MODELS, one.model)
            trails = [name for name in os.listdir(folder) if name.endswith(".trail")]
            for trail in trails:
                print(run(["spin", "-k", trail, "-p", "-g", *macros, model], folder, True))
    states = re.search(r"(\S+) states, stored", said)
    outcome = "holds" if one.expected is HOLDS else "found"
    print(
        f"{one.name:<36}{float(states[1]) if states else 0:>12,.0f} states"
        f"{time.monotonic() - start:>7.1f} s  {'FAILED: ' + wrong if wrong else outcome}",
        flush=True,
    )
    if wrong:
        print(f"  {one.model} {one.macros}\n{said}", flush=True)
    return wrong is None


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--trace", action="store_true")
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - {one.name for one in CASES}
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    chosen = [
        one
        for one in CASES
        if (one.name in arguments.names if arguments.names else arguments.full or not one.full)
    ]
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(pool.map(lambda one: check(one, arguments.trace), chosen))
    failed = outcomes.count(False)
    print(f"{len(outcomes) - failed} as expected, {failed} not")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
