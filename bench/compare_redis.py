#!/usr/bin/env python3
"""Compares Get over a socket: kv_server with ycsb --path=tcp against redis-server with redis-benchmark.

Starts both servers on free ports of this machine, loads both with the same number of records (16 B keys,
32 B values), and lets the two load generators, one thread and 16 connections each, take turns: with one
request in flight on each connection, then with 32. Prints a table of the medians and of the ratio (the
median over the rounds of the ratio within a round: machines are noisy, rounds are short).

The exit code is 0 if Acre reaches --at_least times the rate of redis in all rows.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

CONNECTIONS = 16
PIPELINES = (1, 32)
KEY_BYTES = 16
VALUE_BYTES = 32
START_SECONDS_MAX = 120


def fail(message):
    print(f"compare_redis: {message}", file=sys.stderr)
    sys.exit(1)


def parse_flags():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=1_000_000, help="default 1000000")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side, default 5")
    parser.add_argument("--seconds", type=float, default=2, help="of each turn, about; default 2")
    parser.add_argument("--at_least", type=float, default=0.9, help="wanted ratio, default 0.9")
    parser.add_argument("--memory", default="1G", help="of kv_server, default 1G")
    parser.add_argument("--poll", default="adaptive", help="of kv_server: adaptive or busy")
    parser.add_argument("--kv_server", help="program; default: the one built beside this script")
    parser.add_argument("--ycsb", help="program; default: the one built beside this script")
    parser.add_argument("--json", help="also write the results to this file")
    flags = parser.parse_args()
    for name in ("records", "rounds", "seconds"):
        if getattr(flags, name) <= 0:
            fail(f"--{name} is above 0")
    flags.kv_server = flags.kv_server or built("server/kv_server")
    flags.ycsb = flags.ycsb or built("bench/ycsb")
    for program in ("redis-server", "redis-benchmark", "redis-cli"):
        if shutil.which(program) is None:
            fail(f"there is no {program}: apt-get install redis-server redis-tools")
    return flags


def built(target):
    """A program in this script's runfiles, or in bazel-bin of the checkout."""
    here = os.path.dirname(os.path.abspath(__file__))
    root = os.path.dirname(here)
    for path in (os.path.join(root, target), os.path.join(root, "bazel-bin", target)):
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    package, name = target.split("/")
    return fail(f"{name} is not built: bazel build --config=opt //{package}:{name}, or name it by flag")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def running(command, log_path, port):
    """The program, once its port takes connections, till the end of the block."""
    with open(log_path, "w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                with open(log_path, encoding="utf-8") as log:
                    fail(f"{command[0]} does not start:\n{log.read()}")
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait()


def run(command, what):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        fail(f"{what} failed:\n{done.stderr}{done.stdout}")
    return done.stdout


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


def measure_acre(flags, address, pipeline, folder):
    rows = os.path.join(folder, "ycsb.json")
    run(
        [flags.ycsb, f"--servers={address}", f"--records={flags.records}", "--path=tcp"]
        + ["--workload=c", "--distribution=uniform", f"--connections={CONNECTIONS}"]
        + [f"--batch={pipeline}", f"--seconds={flags.seconds}", "--warmup=0", f"--json={rows}"]
        + [f"--key_bytes={KEY_BYTES}", f"--value_bytes={VALUE_BYTES}"],
        "ycsb",
    )
    with open(rows, encoding="utf-8") as file:
        row = json.load(file)[0]
    return row["ops_per_second"], row["machine"]


def compare(flags, redis_port, address, folder):
    """A row for each depth of the pipelines."""
    rows = []
    for pipeline in PIPELINES:
        # How many requests fill a turn.
        rate = measure_redis(redis_port, flags.records, pipeline, 100_000)
        turns = []
        for number in range(flags.rounds):
            requests = max(1000, int(rate * flags.seconds))
            redis = rate = measure_redis(redis_port, flags.records, pipeline, requests)
            acre, machine = measure_acre(flags, address, pipeline, folder)
            turns.append((redis, acre))
            print(
                f"pipeline {pipeline:2d}, round {number + 1}: redis {redis:9.0f}/s, acre {acre:9.0f}/s",
                file=sys.stderr,
            )
        rows.append(
            {
                "pipeline": pipeline,
                "connections": CONNECTIONS,
                "records": flags.records,
                "redis_gets_per_second": statistics.median(redis for redis, _ in turns),
                "acre_gets_per_second": statistics.median(acre for _, acre in turns),
                "ratio": statistics.median(acre / redis for redis, acre in turns),
                "rounds": flags.rounds,
                "machine": machine,
            }
        )
    return rows


def main():
    flags = parse_flags()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        redis_port = free_port()
        redis_command = ["redis-server", "--port", str(redis_port), "--bind", "127.0.0.1"]
        redis_command += ["--save", "", "--appendonly", "no", "--dir", folder]
        stack.enter_context(running(redis_command, os.path.join(folder, "redis.log"), redis_port))
        port = free_port()
        address = f"127.0.0.1:{port}"
        server_command = [flags.kv_server, f"--listen={address}", "--threads=1"]
        server_command += [f"--memory={flags.memory}", f"--poll={flags.poll}"]
        stack.enter_context(running(server_command, os.path.join(folder, "server.log"), port))
        print(f"loading {flags.records} records into each server", file=sys.stderr)
        load_redis(redis_port, flags.records)
        run([flags.ycsb, f"--servers={address}", f"--records={flags.records}", "--load"], "ycsb --load")
        rows = compare(flags, redis_port, address, folder)
    print(f"{'requests in flight':>18} {'redis GET/s':>12} {'acre Get/s':>12} {'ratio':>6}")
    for row in rows:
        in_flight = f"{row['connections']} x {row['pipeline']}"
        print(
            f"{in_flight:>18} {row['redis_gets_per_second']:12.0f}"
            f" {row['acre_gets_per_second']:12.0f} {row['ratio']:6.2f}"
        )
    if flags.json:
        with open(flags.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=2)
            file.write("\n")
    short = [row for row in rows if row["ratio"] < flags.at_least]
    if short:
        fail(f"acre is below {flags.at_least} times redis")


if __name__ == "__main__":
    main()
