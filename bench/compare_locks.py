#!/usr/bin/env python3
"""ALock against RDMA MCS and RDMA spin locks over RDMA cards: one run, one table, and how often as many operations.

Two nodes of one thread each, each on a card of its own, a table of 1000 locks, of which a thread takes 100, 95 or 90 %
at its own node. By default in a virtual machine with two Soft-RoCE devices (tools/rxe-vm), which needs neither a card
nor root. All of it is emulated there: an operation of the network costs the machine's CPU, so what is compared is how
many of them a lock takes; microseconds mean nothing. --here runs on this machine instead, between two of its cards.

The kinds take turns in short slices; ratios are medians of the ratios within rounds. The exit code is 0 if all
reached what was wanted.
"""

import json
import os
import subprocess
import sys
import tempfile

import comparing

PROGRAM = "bench/locks"
# Own locks in percent, and how often as many operations an ALock is to do.
WANTED = {100: 60, 95: 4, 90: 2}


def fail(message):
    comparing.fail("compare_locks", message)


def parse_flags():
    parser = comparing.make_parser(__doc__, "each row, in all rounds together")
    parser.add_argument("--devices", default="rxe0,rxe1", help="the nodes' cards; default rxe0,rxe1")
    parser.add_argument("--json", help="also write the rows and ratios to this file")
    return comparing.parse_flags("compare_locks", parser)


def measure(flags):
    """The rows of the program."""
    root = comparing.find_root("compare_locks", (PROGRAM,))
    program = os.path.join(root, PROGRAM)
    locality = ",".join(str(percent) for percent in WANTED)
    load = ["--fabric=verbs", f"--devices={flags.devices}", "--nodes=2", "--threads=1", "--locks=1000"]
    load += [f"--locality={locality}", "--kind=alock,mcs,spin"]
    load += [f"--seconds={flags.seconds}", f"--rounds={flags.rounds}"]
    with tempfile.TemporaryDirectory() as folder:
        if flags.here:
            command = [program, *load, f"--json={folder}/rows.json"]
        else:
            # Each slice starts threads, which takes its time there.
            limit = 60 + int(9 * (flags.seconds + flags.rounds))
            vm = [os.path.join(root, comparing.VM), "--mem", "800", "--cpus", "2", "--timeout", str(limit)]
            add = ["--add", f"{program}:/root/{PROGRAM}", "--share", folder]
            command = [*vm, *add, "--", f"/root/{PROGRAM}", *load, "--json=/share/rows.json"]
        code = subprocess.run(command, check=False).returncode
        if code != 0:
            fail(f"the measurement ended with exit code {code}")
        with open(os.path.join(folder, "rows.json")) as file:
            return json.load(file)


def main():
    flags = parse_flags()
    where = "this machine's cards" if flags.here else "Soft-RoCE in a virtual machine: emulated, ratios only"
    print(where, flush=True)
    rows = measure(flags)
    print(f"\n{'own %':>6} {'ALock against':<14}{'times':>8}{'wanted':>8}")
    reached, ratios = True, []
    for percent, wanted in WANTED.items():
        for kind in ("mcs", "spin"):
            found = [row for row in rows if row["kind"] == kind and row["locality_percent"] == percent]
            ratio = found[0]["alock_times"]
            if ratio is None:
                fail(f"there is no round in which both alock and {kind} got on with {percent} % own locks")
            ratios.append({"locality_percent": percent, "against": kind, "times": ratio, "wanted": wanted})
            reached = reached and ratio >= wanted
            print(f"{percent:6} {kind:<14}{ratio:8.2f}{wanted:8}  {'reached' if ratio >= wanted else 'MISSED'}")
    if flags.json:
        with open(flags.json, "w") as file:
            json.dump({"rows": rows, "ratios": ratios, "where": where}, file, indent=2)
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
