"""How many cores, partitions and bytes a load takes, computed from what was measured into `bench.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil

from benchmarks.report import Row
from pipeline.publish.outline import BYTES_PER_S

RATES = (1_000, 10_000, 100_000, 1_000_000)
BUSY = 0.6
"""Of a core: the rest is for catching up after a stop, rebalances, and bursts."""
WINDOW_S = 600
DAY_S = 86_400
OUTLINE_BYTES = 500
"""Of a snapshot of some ten arms (`growth --history`)."""
HISTORY_BYTES = DAY_S * (BYTES_PER_S + OUTLINE_BYTES)
"""Of a policy, a day, at most."""
CASES = {
    "Beta": "worker, beta, json: of CPU an event",
    "linear, d=16": "worker, linear d=16, json: of CPU an event",
    "linear, d=64": "worker, linear d=64, json: of CPU an event",
}
DISK = "RocksDB on disk, for a row of"


def table(measured: Mapping[str, Sequence[Row]]) -> str:
    """Return a Markdown table. Raises ValueError where the pipeline was not measured."""
    rows = {row.name: row for suite in measured.values() for row in suite}
    costs_us = {case: rows[name].median for case, name in CASES.items() if name in rows}
    if not costs_us:
        raise ValueError(f"no pipeline among {sorted(measured)} in bench.json: run `python -m benchmarks pipeline`")
    disk = [row.median for name, row in rows.items() if DISK in name]
    lines = [
        f"Workers are processes of one core each, {BUSY:.0%} busy; twice as many partitions, so that one more worker",
        f"takes its share. Open actions are those of {WINDOW_S // 60} minutes, 3 of 4 events being decisions.",
        f"`snapshot-history` gets {HISTORY_BYTES / 1e6:.0f} MB a day of each policy that publishes every second.",
        "",
        "| events/s | "
        + " | ".join(f"workers, {case} ({cost:.0f} µs)" for case, cost in costs_us.items())
        + " | partitions | open actions | their RocksDB |",
        "|---:|" + "---:|" * (len(costs_us) + 3),
    ]
    for rate in RATES:
        workers = [workers_for(rate, cost) for cost in costs_us.values()]
        open_actions = rate * 3 // 4 * WINDOW_S
        size = f"{open_actions * disk[-1] / 1e9:,.1f} GB" if disk else "not measured"
        cells = [f"{rate:,}", *map(str, workers), str(2 * max(workers)), f"{open_actions:,}", size]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def workers_for(events_per_s: int, cost_us: float) -> int:
    """Return how many cores' worth of workers carry a load.

    >>> workers_for(100_000, 30.0)
    5
    """
    return max(1, ceil(events_per_s * cost_us / 1e6 / BUSY))
