#!/usr/bin/python3
"""Draws what a benchmark measured: plot.py FILE.png < ROWS.json, rows as `ycsb --json` or `messages --json`
write them. The programs carry this script in them, for --plot.

Rows of ycsb: latency (p50, p99, p99.9) over the rate that was achieved, a colour for each path.
Rows of messages: rate and p50 over the payload, a line for each way and number of calls.
plot.py --check only says whether it can draw.
"""

import json
import sys

try:
    import matplotlib

    matplotlib.use("Agg")  # No display.
    from matplotlib import pyplot
    from matplotlib import ticker
except ImportError:
    print("drawing needs matplotlib: apt-get install python3-matplotlib", file=sys.stderr)
    sys.exit(1)

QUANTILES = (("p50", "-", "p50"), ("p99", "--", "p99"), ("p999", ":", "p99.9"))


def distinct(values):
    return list(dict.fromkeys(values))


def draw_loads(rows, figure):
    """Latency against load. A saturated row is a cross: its latency says how long the run was."""
    axes = figure.subplots()
    for number, path in enumerate(distinct(row["path"] for row in rows)):
        mine = sorted(
            (row for row in rows if row["path"] == path and row["operations"]),
            key=lambda row: (row["target_ops_per_second"] or 0, row["ops_per_second"]),
        )
        for quantile, dashes, name in QUANTILES:
            rates = [row["ops_per_second"] for row in mine]
            latencies = [row["latency_us"][quantile] for row in mine]
            label = f"{path} {name}"
            axes.plot(rates, latencies, dashes, color=f"C{number}", marker=".", label=label)
            full = [i for i, row in enumerate(mine) if row["saturated"]]
            axes.plot(
                [rates[i] for i in full], [latencies[i] for i in full], "x", color=f"C{number}"
            )
    first = rows[0]
    open_loop = first["target_ops_per_second"] is not None
    axes.set_title(
        f"workload {first['workload']}, {first['records']:,} records, "
        f"{first['processes']} x {first['threads']} threads, "
        + ("open loop (x: saturated)" if open_loop else "closed loop")
    )
    axes.set_xlabel("operations/s, achieved")
    axes.set_ylabel("latency, us, from the intended start" if open_loop else "latency, us")
    axes.set_xscale("log")
    axes.set_yscale("log")
    finish(axes)


def draw_messages(rows, figure):
    """Rate and latency against the payload, closed loops only."""
    rows = [row for row in rows if "way" in row and row["target_calls_per_second"] is None]
    for axes, heading, value in zip(
        figure.subplots(1, 2),
        ("calls/s", "p50, us"),
        (lambda row: row["calls_per_second"], lambda row: row["latency_us"]["p50"]),
    ):
        lines = distinct((row["way"], row["connections"], row["outstanding"]) for row in rows)
        loads = distinct(line[1:] for line in lines)
        for way, *load in lines:
            mine = sorted(
                (
                    row
                    for row in rows
                    if (row["way"], row["connections"], row["outstanding"]) == (way, *load)
                ),
                key=lambda row: row["bytes"],
            )
            axes.plot(
                [row["bytes"] for row in mine],
                [value(row) for row in mine],
                "-" if way == "ring" else "--",
                color=f"C{loads.index(tuple(load))}",
                marker=".",
                label=f"{way}, {load[0]} x {load[1]}",
            )
        axes.set_title(heading + " (connections x outstanding on each)")
        axes.set_xlabel("payload, B")
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_yscale("log")
        finish(axes)


def finish(axes):
    axes.grid(True, which="both", alpha=0.3)
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.legend(fontsize="small")


def main():
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    if sys.argv[1] == "--check":
        return 0
    rows = json.load(sys.stdin)
    is_messages = "bytes" in rows[0]
    figure = pyplot.figure(figsize=(14, 6) if is_messages else (9, 6))
    (draw_messages if is_messages else draw_loads)(rows, figure)
    figure.tight_layout()
    try:
        figure.savefig(sys.argv[1], format="png", dpi=120)
    except OSError as error:
        print(f"cannot write {sys.argv[1]}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
