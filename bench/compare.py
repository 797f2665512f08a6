#!/usr/bin/env python3
"""Compares the paths of a Get with each other, with rings, and with redis: one run, one table.

Starts a kv_server of its own on this machine's shared memory, fills it to 90 % of its main slots, and measures
in this order (parts can be chosen with --parts):

  reads     mapped, one_sided and tcp (16 connections, one request outstanding on each) in turns of a second,
            one client thread; then MultiGets of 16 on mapped and one_sided
  messages  round trips of rings between two processes, busy polling, 1 and 16 outstanding
  idle      the CPU that the server takes while nobody asks for anything
  redis     Get over a socket against redis-server with redis-benchmark, 16 connections each, in turns: one
            request in flight on each connection, then 32

Each row says what was wanted of it. The exit code is 0 if all that was measured reached that.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

CONNECTIONS = 16
PIPELINES = (1, 32)
KEY_BYTES = 16
VALUE_BYTES = 32
BATCH = 16
START_SECONDS_MAX = 120
PARTS = ("reads", "messages", "idle", "redis")
# Records of 16 B and 32 B fill 90 % of the main slots of so much memory, if so much of it is index.
BYTES_PER_RECORD = 110
INDEX_PERCENT = 86


def fail(message):
    print(f"compare: {message}", file=sys.stderr)
    sys.exit(1)


def say(message):
    print(f"compare: {message}", file=sys.stderr, flush=True)


def parse_flags():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=10_000_000, help="default 10000000")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"default {','.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=5, help="turns of redis and acre, default 5")
    parser.add_argument("--seconds", type=float, default=10, help="of each path; default 10")
    parser.add_argument("--poll", default="adaptive", help="of kv_server: adaptive or busy")
    parser.add_argument("--bin_dir", help="folder of the built programs; default: beside this script")
    parser.add_argument("--json", help="also write the rows to this file")
    flags = parser.parse_args()
    for name in ("records", "rounds", "seconds"):
        if getattr(flags, name) <= 0:
            fail(f"--{name} is above 0")
    flags.parts = flags.parts.split(",")
    for part in flags.parts:
        if part not in PARTS:
            fail(f"--parts={part}: of {', '.join(PARTS)}")
    if "redis" in flags.parts:
        for program in ("redis-server", "redis-benchmark", "redis-cli"):
            if shutil.which(program) is None:
                fail(f"there is no {program}: apt-get install redis-server redis-tools, or leave out redis")
    return flags


class Programs:
    """Where the programs are: a folder, this script's runfiles, or bazel-bin of the checkout."""

    def __init__(self, folder):
        self._folder = folder

    def path(self, name):
        root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        roots = [self._folder] if self._folder else [root, os.path.join(root, "bazel-bin")]
        for candidate in roots:
            path = os.path.join(candidate, name)
            if os.access(path, os.X_OK) and not os.path.isdir(path):
                return path
        package, target = name.split("/")
        return fail(f"{target} is not built: bazel build --config=opt //{package}:{target}")


@contextlib.contextmanager
def running(command, log_path, is_up):
    """The program, once is_up(its log) says something, till the end of the block."""
    with open(log_path, "w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            with open(log_path, encoding="utf-8") as log:
                text = log.read()
            found = is_up(text)
            if found:
                break
            if process.poll() is not None or time.monotonic() > deadline:
                fail(f"{command[0]} does not start:\n{text}")
            time.sleep(0.05)
        yield process, found
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def running_kv_server(flags, programs, folder):
    """A server with room for the records: its process, and its address."""
    memory_mib = max(64, flags.records * BYTES_PER_RECORD >> 20)
    command = [programs.path("server/kv_server"), "--listen=127.0.0.1:0", "--threads=1"]
    command += [f"--memory={memory_mib}M", f"--index_percent={INDEX_PERCENT}"]
    command += [f"--poll={flags.poll}", f"--state_dir={folder}"]

    def address(log):
        found = re.search(r"listening on (\S+) .*", log)
        return found and found.groups() + (found.group(0),)

    with running(command, os.path.join(folder, "kv_server.log"), address) as (process, found):
        say(f"kv_server is {found[1]}")
        yield process, found[0]


def run(command, what):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        fail(f"{what} failed:\n{done.stderr}{done.stdout}")
    return done.stdout


class Acre:
    """The server under test, and the load generator that asks it."""

    def __init__(self, flags, programs, folder, process, address):
        self.flags = flags
        self.process = process
        self._programs = programs
        self._json = os.path.join(folder, "rows.json")
        self._server = f"--servers={address}"
        self._records = [f"--records={flags.records}", f"--key_bytes={KEY_BYTES}"]
        self._records += [f"--value_bytes={VALUE_BYTES}"]

    def load(self):
        ycsb = self._programs.path("bench/ycsb")
        run([ycsb, self._server, "--load"] + self._records, "ycsb --load")

    def reads(self, paths, seconds, batch=1, warmup=1.0):
        """Rows of ycsb, by path."""
        command = [self._programs.path("bench/ycsb"), self._server, f"--path={paths}"]
        command += ["--workload=c", "--distribution=uniform", f"--connections={CONNECTIONS}"]
        command += [f"--batch={batch}", f"--seconds={seconds}", f"--warmup={warmup}"]
        run(command + self._records + [f"--json={self._json}"], "ycsb")
        with open(self._json, encoding="utf-8") as file:
            return {row["path"]: row for row in json.load(file)}

    def stats(self):
        text = run([self._programs.path("client/kv_cli"), self._server, "stats"], "kv_cli stats")
        return dict(line.split(" ", 1) for line in text.splitlines() if " " in line)

    def messages(self):
        """Rows of rings on one connection, by calls outstanding."""
        command = [self._programs.path("bench/messages"), "--bytes=64", "--outstanding=1,16"]
        run(command + ["--connections=1", f"--json={self._json}", "--seconds=3"], "messages")
        with open(self._json, encoding="utf-8") as file:
            rows = [row for row in json.load(file) if row.get("way") == "ring"]
        return {row["outstanding"]: row for row in rows if row["target_calls_per_second"] is None}


class Table:
    """Rows of what was measured and what was wanted."""

    def __init__(self):
        self.rows = []

    def at_least(self, what, wanted, got, unit):
        self._add(what, f"at least {wanted:g}", got, unit, got >= wanted)

    def at_most(self, what, wanted, got, unit):
        self._add(what, f"at most {wanted:g}", got, unit, got <= wanted)

    def shown(self, what, got, unit):
        self._add(what, "", got, unit, True)

    def _add(self, what, wanted, got, unit, reached):
        row = {"what": what, "wanted": wanted, "got": got, "unit": unit, "reached": reached}
        self.rows.append(row)
        say(f"{what}: {got:.4g} {unit}")

    def print(self):
        for row in self.rows:
            mark = "" if row["reached"] else "   SHORT"
            wanted = f"{row['wanted']} {row['unit']}" if row["wanted"] else "-"
            print(f"{row['what']:<58} {wanted:>22} {row['got']:>9.4g} {row['unit']}{mark}")


def compare_reads(acre, table):
    rows = acre.reads("mapped,one_sided,tcp", acre.flags.seconds)
    batches = acre.reads("mapped,one_sided", acre.flags.seconds / 2, batch=BATCH)
    rate = {path: row["ops_per_second"] for path, row in rows.items()}
    table.at_least("Get mapped, one at a time", 8, rate["mapped"] / 1e6, "M/s")
    table.at_least(
        f"MultiGet of {BATCH} mapped, keys", 15, batches["mapped"]["ops_per_second"] / 1e6, "M/s"
    )
    table.at_least("Get one_sided, one at a time", 4, rate["one_sided"] / 1e6, "M/s")
    table.shown(
        f"MultiGet of {BATCH} one_sided, keys", batches["one_sided"]["ops_per_second"] / 1e6, "M/s"
    )
    table.shown(f"Get tcp, {CONNECTIONS} connections, 1 outstanding", rate["tcp"] / 1e6, "M/s")
    table.at_least("mapped against tcp", 30, rate["mapped"] / rate["tcp"], "times")
    table.at_least("one_sided against tcp", 30, rate["one_sided"] / rate["tcp"], "times")
    table.shown(
        f"MultiGet of {BATCH} one_sided against tcp",
        batches["one_sided"]["ops_per_second"] / rate["tcp"],
        "times",
    )
    stats = acre.stats()
    occupancy = 100 * int(stats["records"]) / int(stats["main_slots"])
    table.shown("records against main slots", occupancy, "%")
    table.at_most("READs per Get, counted", 1.10, rows["one_sided"]["reads_per_get"], "")
    table.at_most(
        "segment per record", 110, int(stats["segment_bytes"]) / int(stats["records"]), "B"
    )


def compare_messages(acre, table):
    rows = acre.messages()
    table.at_most("ring RPC of 64 B, busy, p50", 3, rows[1]["latency_us"]["p50"], "us")
    table.at_least("ring RPC of 64 B, 16 outstanding", 1, rows[16]["calls_per_second"] / 1e6, "M/s")


def compare_idle(acre, table, seconds=10):
    def cpu_ticks():
        with open(f"/proc/{acre.process.pid}/stat", encoding="utf-8") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    before = cpu_ticks()
    time.sleep(seconds)
    share = (cpu_ticks() - before) / os.sysconf("SC_CLK_TCK") / seconds
    table.at_most("idle server, of a core", 1, 100 * share, "%")


def load_redis(port, records):
    """The keys that redis-benchmark asks for, by pipe."""
    value = "x" * VALUE_BYTES
    pipe = subprocess.Popen(
        ["redis-cli", "-p", str(port), "--pipe"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    for first in range(0, records, 10_000):
        commands = [
            f"*3\r\n$3\r\nSET\r\n${KEY_BYTES}\r\nkey:{number:012d}\r\n${VALUE_BYTES}\r\n{value}\r\n"
            for number in range(first, min(first + 10_000, records))
        ]
        pipe.stdin.write("".join(commands).encode())
    pipe.stdin.close()
    if pipe.wait() != 0:
        fail("redis-cli could not load the records")
    size = int(run(["redis-cli", "-p", str(port), "dbsize"], "redis-cli"))
    if size != records:
        fail(f"redis holds {size} records, not {records}")


def measure_redis(port, records, pipeline, requests):
    output = run(
        ["redis-benchmark", "-p", str(port), "-c", str(CONNECTIONS), "-P", str(pipeline)]
        + ["-n", str(requests), "-r", str(records), "-t", "get", "--csv"],
        "redis-benchmark",
    )
    found = re.search(r'^"GET","([0-9.]+)"', output, re.MULTILINE)
    if found is None:
        fail(f"redis-benchmark answered what this script does not understand:\n{output}")
    return float(found.group(1))


def compare_redis(acre, table, folder, turn_seconds=2):
    """Both servers hold the same number of records, and take turns."""
    port = 7000 + os.getpid() % 1000
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1"]
    command += ["--save", "", "--appendonly", "no", "--dir", folder]
    records = acre.flags.records
    ready = running(command, os.path.join(folder, "redis.log"), lambda log: "Ready to accept" in log)
    with ready:
        say(f"loading {records} records into redis")
        load_redis(port, records)
        for pipeline in PIPELINES:
            # How many requests fill a turn.
            redis = measure_redis(port, records, pipeline, 100_000)
            turns = []
            for _ in range(acre.flags.rounds):
                redis = measure_redis(port, records, pipeline, max(1000, int(redis * turn_seconds)))
                row = acre.reads("tcp", turn_seconds, batch=pipeline, warmup=0)["tcp"]
                turns.append((redis, row["ops_per_second"]))
            what = f"-P {pipeline}, {CONNECTIONS} connections"
            table.shown(f"redis GET, {what}", statistics.median(r for r, _ in turns) / 1e6, "M/s")
            table.shown(f"Get tcp, {what}", statistics.median(a for _, a in turns) / 1e6, "M/s")
            ratio = statistics.median(acre_rate / redis for redis, acre_rate in turns)
            table.at_least(f"tcp against redis, {what}", 0.9, ratio, "times")


def main():
    flags = parse_flags()
    programs = Programs(flags.bin_dir)
    table = Table()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        server = running_kv_server(flags, programs, folder)
        process, address = stack.enter_context(server)
        acre = Acre(flags, programs, folder, process, address)
        if flags.parts != ["messages"]:
            say(f"loading {flags.records} records")
            acre.load()
        if "reads" in flags.parts:
            compare_reads(acre, table)
        if "messages" in flags.parts:
            compare_messages(acre, table)
        if "idle" in flags.parts:
            compare_idle(acre, table)
        if "redis" in flags.parts:
            compare_redis(acre, table, folder)
    table.print()
    if flags.json:
        with open(flags.json, "w", encoding="utf-8") as file:
            json.dump(table.rows, file, indent=2)
            file.write("\n")
    if not all(row["reached"] for row in table.rows):
        fail("not all that was wanted was reached")


if __name__ == "__main__":
    main()
