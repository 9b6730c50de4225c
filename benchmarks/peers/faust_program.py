"""The same work as a Faust tutorial would write it: an event at a time, tables in RocksDB.

Decisions and outcomes are joined by action_id within ten minutes, repeats are passed over, and each arm has n, Σr, Σr²,
Σrx and Σxxᵀ on the same integer grid, so that the sums can be compared to the last bit. A table's row belongs to the
partition of its event: an arm's sums are those of its rows in all partitions. Rows are never dropped.
"""

from __future__ import annotations

import gc
import sys
from typing import Any

import faust
import numpy as np

WINDOW_MS = 600_000
ONE = 1 << 15


class Decision(faust.Record, serializer="json"):
    """A decision."""

    action_id: str
    arm: str
    decided_at_ms: int
    context: dict[str, float]


class Outcome(faust.Record, serializer="json"):
    """What came of one."""

    outcome_id: str
    action_id: str
    occurred_at_ms: int


def added(sums: dict[str, Any] | None, x: list[int], seen: int, change: int) -> dict[str, Any]:
    """Return an arm's sums with one event in them."""
    vector = np.array(x, np.int64)
    if sums is None:
        sums = {"n": 0, "r": 0, "rr": 0, "b": [0] * len(x), "A": [[0] * len(x)] * len(x)}
    return {
        "n": sums["n"] + seen,
        "r": sums["r"] + change,
        "rr": sums["rr"] + change * change,
        "b": (np.array(sums["b"], np.int64) + change * vector).tolist(),
        "A": (np.array(sums["A"], np.int64) + np.outer(vector, vector)).tolist() if seen else sums["A"],
    }


def credit(row: dict[str, Any], outcome_id: str, occurred_at_ms: int) -> int:
    """Return what a new outcome adds to the reward: the first click is worth 1."""
    if outcome_id in row["outcomes"] or not 0 <= occurred_at_ms - row["decided_at_ms"] <= WINDOW_MS:
        return 0
    row["outcomes"].append(outcome_id)
    return ONE if len(row["outcomes"]) == 1 else 0


def build(broker: str, folder: str) -> faust.App:
    """Return the program."""
    app = faust.App(
        "peer-faust",
        broker=f"kafka://{broker}",
        store="rocksdb://",
        datadir=folder,
        topic_partitions=4,
        table_standby_replicas=0,
        consumer_auto_offset_reset="earliest",
        web_enabled=False,
        topic_disable_leader=True,
    )
    decisions = app.topic("decisions", value_type=Decision)
    outcomes = app.topic("outcomes", value_type=Outcome)
    actions = app.Table("actions", partitions=4)
    statistics = app.Table("statistics", partitions=4)

    def add(arm: str, x: list[int], seen: int, change: int) -> None:
        statistics[arm] = added(statistics.get(arm), x, seen, change)

    @app.agent(decisions)
    async def decided(stream: Any) -> None:
        async for decision in stream:
            row = actions.get(decision.action_id) or {"early": []}
            if "arm" in row:
                continue
            x = [4096, *(round((value * 2 - 1) * 4096) for value in decision.context.values())]
            x = x if decision.context else []
            row |= {"arm": decision.arm, "decided_at_ms": decision.decided_at_ms, "x": x, "outcomes": []}
            change = sum(credit(row, *early) for early in row.pop("early"))
            actions[decision.action_id] = row
            add(decision.arm, x, 1, change)

    @app.agent(outcomes)
    async def came(stream: Any) -> None:
        async for outcome in stream:
            row = actions.get(outcome.action_id) or {"early": []}
            if "arm" not in row:
                row["early"].append([outcome.outcome_id, outcome.occurred_at_ms])
                actions[outcome.action_id] = row
                continue
            change = credit(row, outcome.outcome_id, outcome.occurred_at_ms)
            if change:
                actions[outcome.action_id] = row
                add(row["arm"], row["x"], 0, change)

    return app


if __name__ == "__main__":
    # As the platform's worker sets it: programs are compared under the same collector.
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)
    faust.Worker(build(sys.argv[1], sys.argv[2]), loglevel="WARNING", quiet=True).execute_from_commandline()
