"""Replays that have counted a forgotten person's decisions and have not read their erasures: they are run on.

What LEARN counted it takes back itself. What a replay has counted stands in a base, and only the replay takes it back:
it reads the erasures where they stand, behind the decisions in `decisions` or as their answers in the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.audit.record import Operator
from pipeline.codec.readable import readable
from pipeline.errors import PipelineError, StateError
from pipeline.registry.lookup import Schemas
from pipeline.replay.recounting.cuts import from_positions
from pipeline.replay.recounting.plan import ReplayPlan, plan_from_json
from pipeline.replay.recounting.rebuild import OnProgress, topics_of
from pipeline.replay.recounting.run import Request, replay
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.passed_over import PassedOver
from pipeline.stream.log.topics import STATISTICS
from pipeline.stream.security import Address

NEVER = 1 << 63

Counts = Iterable[tuple[str, int, int]]
"""(policy, generation, partition) of the person's decisions."""
Ends = Mapping[str, Mapping[int, int]]
"""Topic → partition → what a replay must have read."""


class Behind(NamedTuple):
    """A replayed generation that still counts the person's decisions."""

    plan: ReplayPlan

    @property
    def policy(self) -> str:
        """Whose past it has counted."""
        return self.plan.definition.name

    @property
    def generation(self) -> int:
        """What it has counted it into."""
        return self.plan.definition.generation


def behind(bases: Iterable[Mapping[str, Any]], counts: Counts, ends: Ends) -> list[Behind]:
    """Return those of the bases that count such decisions and end before `ends`. Pure."""
    wanted = set(counts)
    found = []
    for fields in bases:
        plan = plan_from_json(fields["plan"])
        partitions = {
            number
            for policy, generation, number in wanted
            if policy == plan.definition.name and generation in plan.generations
        }
        read = from_positions(fields["cuts"][-1])
        # With nothing erased yet, as in a dry run, it counts what it has counted.
        needed = {
            (topic, n): ends[topic].get(n, NEVER) for topic in topics_of(plan) if topic in ends for n in partitions
        }
        if any(read[topic][n] < end for (topic, n), end in needed.items()):
            found.append(Behind(plan))
    return found


async def read_bases(broker: Address) -> list[dict[str, Any]]:
    """Return the base in force of every replayed generation.

    Raises:
        UnavailableError: no broker answers.
    """
    follower = TopicFollower(broker, STATISTICS)
    await follower.start()
    latest: dict[bytes, dict[str, Any]] = {}
    tell = PassedOver(STATISTICS)
    try:
        async for records in follower.batches_to_end():
            for one in records:
                if one.value is not None and (one.key or b"").endswith(b"/base"):
                    pairs = [(one.offset, one.value)]
                    for _, _, fields in readable(one.partition, pairs, "statistics_base", pass_over=tell):
                        latest[one.key] = fields
    finally:
        await follower.stop()
    return list(latest.values())


async def run_on(
    broker: Address,
    one: Behind,
    work_dir: Path,
    by: Operator,
    on_progress: OnProgress,
    schemas: Schemas | None = None,
) -> None:
    """Let a replay read on to the present end, in the folder of `pipeline replay`; where that is gone, anew.

    Raises:
        StateError: it can't; says which and what to do.
    """
    folder = work_dir / f"{one.policy}-{one.generation}"
    request = Request(one.policy, one.generation, folder, source=one.plan.source, schemas=schemas)
    try:
        # The end of a run that was interrupted comes first, then the present one.
        await replay(broker, request, by, on_progress)
        await replay(broker, request, by, on_progress)
    except PipelineError as error:
        raise StateError(
            f"generation {one.generation} of {one.policy!r} still counts decisions of the person: its replay can't be "
            f"run on ({error}). Run it where its folder is (pipeline replay --policy {one.policy} --into "
            f"{one.generation} --work-dir …), then this again"
        ) from error
