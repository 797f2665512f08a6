#!/usr/bin/env python3
"""Compares the paths of ycsb runs: paths_table.py FILE.json..., files that `ycsb --json` wrote."""

import argparse
import json

HEADINGS = ["workload", "path", "fabric", "operations/s", "p50 us", "p99 us", "times tcp"]
LINE = "{:<26}{:<11}{:<8}{:>13}{:>10}{:>10}{:>11}"
WORKLOADS = {"a": "A, 50 % read, 50 % update", "c": "C, all reads"}


def lines_of(rows):
    """One line for each row of one run; the socket baseline among them is the measure of all."""
    tcp = next((row["ops_per_second"] for row in rows if row["path"] == "tcp"), None)
    for i, row in enumerate(rows):
        workload = WORKLOADS.get(row["workload"], row["workload"])
        ratio = "-" if not tcp else f"{row['ops_per_second'] / tcp:.1f}"
        yield LINE.format(
            "" if i else workload,
            row["path"],
            row["fabric"],
            f"{row['ops_per_second']:,.0f}",
            f"{row['latency_us']['p50']:.2f}",
            f"{row['latency_us']['p99']:.2f}",
            ratio,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE.json")
    runs = []
    for name in parser.parse_args().files:
        with open(name, encoding="utf-8") as file:
            runs.append(json.load(file))
    first = runs[0][0]
    machine = first["machine"]
    print(
        f"{first['records']:,} records of {first['key_bytes']} B + {first['value_bytes']} B, "
        f"{first['distribution']}, {first['threads']} client thread(s), "
        f"{machine['cpu']}, {machine['cores']} cores"
    )
    print(LINE.format(*HEADINGS))
    for rows in runs:
        print("\n".join(lines_of(rows)))
    tcp = next((row for rows in runs for row in rows if row["path"] == "tcp"), None)
    if tcp:
        print(f"tcp: {tcp['connections']} connections, a request outstanding on each; others: one.")


if __name__ == "__main__":
    main()
