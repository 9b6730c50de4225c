"""The same work in Quix Streams: both topics as one stream, state in RocksDB, changelogs, sums by arm after `group_by`.

Decisions and outcomes are joined by action_id within ten minutes, repeats are passed over, and each arm has n, Σr, Σr²,
Σrx and Σxxᵀ on the same integer grid. The sums go to the topic `peer-statistics`. Rows are never dropped.
Imports nothing of the platform: it runs in an environment of its own.
"""

from __future__ import annotations

import gc
import sys
from typing import Any

import numpy as np
from quixstreams import Application, State

WINDOW_MS = 600_000
ONE = 1 << 15


def join(event: dict[str, Any], state: State) -> dict[str, Any] | None:
    """Return what an event changes: whether a decision is new, and by how much its reward grows."""
    row = state.get("row") or {"early": []}
    if "arm" in event:
        if "arm" in row:
            return None
        x = [4096, *(round((value * 2 - 1) * 4096) for value in event["context"].values())] if event["context"] else []
        row |= {"arm": event["arm"], "decided_at_ms": event["decided_at_ms"], "x": x, "outcomes": []}
        change = sum(credit(row, *early) for early in row.pop("early"))
        state.set("row", row)
        return {"arm": row["arm"], "x": x, "seen": 1, "change": change}
    if "arm" not in row:
        row["early"].append([event["outcome_id"], event["occurred_at_ms"]])
        state.set("row", row)
        return None
    change = credit(row, event["outcome_id"], event["occurred_at_ms"])
    if not change:
        return None
    state.set("row", row)
    return {"arm": row["arm"], "x": row["x"], "seen": 0, "change": change}


def credit(row: dict[str, Any], outcome_id: str, occurred_at_ms: int) -> int:
    """Return what a new outcome adds to the reward: the first click is worth 1."""
    if outcome_id in row["outcomes"] or not 0 <= occurred_at_ms - row["decided_at_ms"] <= WINDOW_MS:
        return 0
    row["outcomes"].append(outcome_id)
    return ONE if len(row["outcomes"]) == 1 else 0


def add(change: dict[str, Any], state: State) -> dict[str, Any]:
    """Add to an arm's sums; return them."""
    x, by = np.array(change["x"], np.int64), change["change"]
    size = len(change["x"])
    sums = state.get("sums") or {"n": 0, "r": 0, "rr": 0, "b": [0] * size, "A": [[0] * size] * size}
    sums = {
        "n": sums["n"] + change["seen"],
        "r": sums["r"] + by,
        "rr": sums["rr"] + by * by,
        "b": (np.array(sums["b"], np.int64) + by * x).tolist(),
        "A": (np.array(sums["A"], np.int64) + np.outer(x, x)).tolist() if change["seen"] else sums["A"],
    }
    state.set("sums", sums)
    return sums


def run(broker: str, folder: str) -> None:
    """Run until stopped."""
    app = Application(
        broker,
        consumer_group="peer-quix",
        auto_offset_reset="earliest",
        state_dir=folder,
        use_changelog_topics=True,
        commit_interval=1.0,
        loglevel="WARNING",
    )
    decisions = app.topic("decisions", key_deserializer="str", value_deserializer="json")
    outcomes = app.topic("outcomes", key_deserializer="str", value_deserializer="json")
    statistics = app.topic("peer-statistics", key_serializer="str", value_serializer="json")
    both = app.dataframe(decisions).concat(app.dataframe(outcomes))
    changes = both.apply(join, stateful=True).filter(lambda change: change is not None)
    changes.group_by("arm").apply(add, stateful=True).to_topic(statistics)
    app.run()


if __name__ == "__main__":
    # As the platform's worker sets it: programs are compared under the same collector.
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)
    run(sys.argv[1], sys.argv[2])
