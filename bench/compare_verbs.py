#!/usr/bin/env python3
"""Compares the store over RDMA cards with what the cards' own tools say: one run, one table.

By default in a virtual machine with two Soft-RoCE devices (tools/rxe-vm), which needs neither a card nor root. All of
it is emulated there: ratios mean something, microseconds do not, and what a real card does (its latency, its caches,
its rate) cannot be seen. --here runs on this machine instead, between two of its cards, or one and itself.

  one_sided  p50 of a Get over verbs, a READ of 512 B, against ib_read_lat of 512 B
  ring       p50 of a call of 64 B over rings, two WRITEs of 128 B with their frame, against two ways of ib_write_lat
             of 128 B
  verbs      per operation, and round trips, as the client counts them

Rounds take turns; ratios are medians of the ratios within rounds. The exit code is 0 if all that was measured reached
what was wanted.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys

import comparing

TOOLS = ("ib_read_lat", "ib_write_lat")
PROGRAMS = ("server/kv_server", "bench/ycsb", "bench/messages")
# What, of which tool, at most so many times.
WANTED = (("one_sided", "ib_read_lat", 1.5), ("ring", "ib_write_lat", 1.5))
SHOWN = ("one_sided", "ib_read_lat", "ring", "ib_write_lat", "rpc", "tcp", "tcp_call")


def fail(message):
    comparing.fail("compare_verbs", message)


def parse_flags():
    parser = comparing.make_parser(__doc__, "each path in a round")
    parser.add_argument("--device", default="rxe0", help="of the client; default rxe0")
    parser.add_argument("--server_device", default="rxe1", help="of the server; default rxe1")
    parser.add_argument("--server_address", default="10.9.9.2", help="of that device; default 10.9.9.2")
    parser.add_argument("--json", help="also write the medians and ratios to this file")
    return comparing.parse_flags("compare_verbs", parser)


def command(flags):
    root = comparing.find_root("compare_verbs", PROGRAMS)
    script = os.path.join(root, "bench", "compare_verbs.sh")
    arguments = [flags.device, flags.server_device, flags.server_address, str(flags.rounds), str(flags.seconds)]
    tools = [shutil.which(tool) for tool in TOOLS]
    if None in tools:
        fail(f"there is no {TOOLS[tools.index(None)]}: apt-get install perftest")
    if flags.here:
        return ["sh", script, root, *arguments]
    adds = []
    for program in PROGRAMS:
        adds += ["--add", f"{os.path.join(root, program)}:/root/{program}"]
    for tool, path in zip(TOOLS, tools):
        adds += ["--add", f"{path}:/bin/{tool}"]
    adds += ["--add", f"{script}:/root/compare_verbs.sh"]
    limit = 60 + int(flags.rounds * (8 * flags.seconds + 20))
    vm = [os.path.join(root, comparing.VM), "--mem", "800", "--cpus", "2", "--timeout", str(limit)]
    return [*vm, *adds, "--", "sh", "/root/compare_verbs.sh", "/root", *arguments]


def measure(flags):
    """Per name its p50 in us by round; and the lines of ycsb's table."""
    rounds, table = {}, []
    with subprocess.Popen(command(flags), stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            words = line.split()
            if words and words[0] == "table":
                table.append(line[len("table ") :].rstrip())
            elif len(words) == 3 and words[1] == "p50_us":
                rounds.setdefault(words[0], []).append(float(words[2]))
    if process.returncode != 0:
        fail(f"the measurement ended with exit code {process.returncode}")
    for name in SHOWN:
        if len(rounds.get(name, [])) != flags.rounds:
            fail(f"{len(rounds.get(name, []))} of {flags.rounds} rounds told of {name}")
    return rounds, table


def main():
    flags = parse_flags()
    rounds, table = measure(flags)
    where = "this machine's cards" if flags.here else "Soft-RoCE in a virtual machine: emulated, ratios only"
    print(f"{where}, medians of {flags.rounds} rounds")
    for name in SHOWN:
        print(f"  {name:<13} p50 {statistics.median(rounds[name]):8.2f} us")
    print("\n".join(table))
    print(f"\n{'what':<14}{'against':<14}{'times':>7}{'at most':>9}")
    reached, ratios = True, {}
    for ours, theirs, most in WANTED:
        ratio = statistics.median(a / b for a, b in zip(rounds[ours], rounds[theirs]))
        ratios[ours] = ratio
        reached = reached and ratio <= most
        print(f"{ours:<14}{theirs:<14}{ratio:7.2f}{most:9.1f}  {'reached' if ratio <= most else 'MISSED'}")
    if flags.json:
        medians = {name: statistics.median(values) for name, values in rounds.items()}
        with open(flags.json, "w") as file:
            json.dump({"p50_us": medians, "ratios": ratios, "rounds": flags.rounds, "where": where}, file, indent=2)
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
