"""Count anew what replays put under snapshots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics
from pipeline.registry.lookup import Schemas
from pipeline.replay.recounting.cuts import distance, from_positions
from pipeline.replay.recounting.plan import plan_from_json
from pipeline.replay.recounting.rebuild import OnProgress, rebuild
from pipeline.stream.security import Address

Ground = tuple[str, bytes]
"""A plan, and its cuts as JSON."""


def ground_of(snapshot: Mapping[str, Any]) -> Ground | None:
    """Return what a snapshot rests on; None: it learned from nothing."""
    plan: str = snapshot["base_plan"]
    return (plan, orjson.dumps(snapshot["base_cuts"])) if plan else None


def rules_of(ground: Ground) -> str:
    """Return the hash of the rules that a replay counted by."""
    return plan_from_json(ground[0]).definition.statistics_hash


def offsets_in(ground: Ground) -> int:
    """Return how many offsets a replay has read."""
    cuts = [from_positions(positions) for positions in orjson.loads(ground[1])]
    return distance(cuts[0], cuts[-1])


async def count_grounds(
    broker: Address, grounds: Sequence[Ground], on_progress: OnProgress, schemas: Schemas | None = None
) -> dict[Ground, Mapping[RowKey, Statistics]]:
    """Count each afresh; one that goes on from another is counted from where that ends.

    Raises:
        StateError: the log no longer holds what is needed. UnavailableError: no broker answers.
    """
    counted: dict[Ground, Mapping[RowKey, Statistics]] = {}
    distinct = sorted(set(grounds), key=lambda ground: (ground[0], len(orjson.loads(ground[1]))))
    while distinct:
        with TemporaryDirectory(prefix="pipeline-verify-") as folder:
            chain = [distinct.pop(0)]
            while distinct and _goes_on(chain[-1], distinct[0]):
                chain.append(distinct.pop(0))
            for plan, cuts in chain:
                positions = [from_positions(cut) for cut in orjson.loads(cuts)]
                rebuilt = await rebuild(broker, plan_from_json(plan), positions, Path(folder), on_progress, schemas)
                counted[plan, cuts] = rebuilt.rows
    return counted


def _goes_on(earlier: Ground, later: Ground) -> bool:
    before, after = orjson.loads(earlier[1]), orjson.loads(later[1])
    return earlier[0] == later[0] and after[: len(before)] == before
