#!/usr/bin/python3
"""Draws what a benchmark measured: plot.py FILE.png < ROWS.json, rows as `ycsb --json`, `messages --json`,
`locks --json` or `txn --json` write them. The programs carry this script in them, for --plot.

Rows of ycsb: latency (p50, p99, p99.9) over the rate that was achieved, a colour for each path.
Rows of messages: rate and p50 over the payload, a line for each way and number of calls.
Rows of locks: rate over locality, a line for each kind and table, and how many had their lock after which time.
Rows of txn: rate and p99 over transactions outstanding, or over threads, a line for each number of the other; Redis dashed.
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


def draw_locks(rows, figure):
    """Rate against locality; and of the lowest locality the share of operations that had their lock by then."""
    left, right = figure.subplots(1, 2)
    kinds = distinct(row["kind"] for row in rows)
    tables = distinct(row["locks"] for row in rows)
    lowest = min(row["locality_percent"] for row in rows)
    for kind in kinds:
        for table in tables:
            mine = sorted(
                (row for row in rows if (row["kind"], row["locks"]) == (kind, table)),
                key=lambda row: row["locality_percent"],
            )
            look = {
                "color": f"C{kinds.index(kind)}",
                "linestyle": ("-", "--", ":", "-.")[tables.index(table) % 4],
                "label": f"{kind}, {table} locks",
            }
            rates = [row["ops_per_second"] for row in mine]
            left.plot([row["locality_percent"] for row in mine], rates, marker=".", **look)
            shares, times = zip(*mine[0]["acquire_curve"])
            right.plot([max(time, 0.001) for time in times], shares, **look)
    first = rows[0]
    nodes = f"{first['nodes']} nodes x {first['processes']} x {first['threads']} threads"
    left.set_title(f"operations/s, {nodes}, {first['fabric']}")
    left.set_xlabel("own locks, %")
    left.set_yscale("log")
    left.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    finish(left)
    right.set_title(f"share of operations that had their lock, {lowest} % own")
    right.set_xlabel("us")
    right.set_xscale("log")
    finish(right)
    right.yaxis.set_major_formatter(ticker.PercentFormatter(xmax=1))


def draw_transactions(rows, figure):
    """Rate and p99 against the list that is longer, of transactions outstanding or of threads."""
    ours = [row for row in rows if row["system"] == "acre"]
    over, lines = "outstanding", "threads"
    if len(distinct(row["threads"] for row in ours)) > len(distinct(row["outstanding"] for row in ours)):
        over, lines = lines, over
    first = ours[0]
    setting = f"{first['workload']}, {first['servers']} servers, {first['fabric']}"
    for axes, heading, value in zip(
        figure.subplots(1, 2),
        ("commits/s", "p99, us"),
        (lambda row: row["commits_per_second"], lambda row: row["latency_us"]["p99"]),
    ):
        for number in distinct(row[lines] for row in ours):
            mine = sorted((row for row in ours if row[lines] == number), key=lambda row: row[over])
            axes.plot(
                [row[over] for row in mine],
                [value(row) for row in mine],
                marker=".",
                label=f"{lines} {number}",
            )
        for color, row in enumerate(row for row in rows if row["system"] != "acre"):
            axes.axhline(value(row), linestyle="--", color=f"C{7 + color}", label=row["system"])
        axes.set_title(f"{heading}: {setting}")
        axes.set_xlabel(over)
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
    draw = draw_loads
    if "bytes" in rows[0]:
        draw = draw_messages
    elif "acquire_curve" in rows[0]:
        draw = draw_locks
    elif "commits_per_second" in rows[0]:
        draw = draw_transactions
    figure = pyplot.figure(figsize=(9, 6) if draw is draw_loads else (14, 6))
    draw(rows, figure)
    figure.tight_layout()
    try:
        figure.savefig(sys.argv[1], format="png", dpi=120)
    except OSError as error:
        print(f"cannot write {sys.argv[1]}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
