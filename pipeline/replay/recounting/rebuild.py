"""Count a policy's past again from the log, partition by partition, in a folder that remembers how far it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.codec.framed import schema_ids
from pipeline.learn.ledger import merge_deltas
from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics
from pipeline.registry.lookup import Schemas
from pipeline.replay.recounting.cuts import Cut, distance, of_partition, partitions_of
from pipeline.replay.recounting.log import Log, open_log
from pipeline.replay.recounting.plan import ReplayPlan
from pipeline.replay.recounting.recount import Recount, open_recount
from pipeline.replay.recounting.rows import STEP_OFFSETS, StillOpen, sums_of
from pipeline.stream.log.topics import DECISIONS, OUTCOMES, REWARDS
from pipeline.stream.security import Address
from pipeline.stream.state.scratch import scratch_rows

OnProgress = Callable[[int, int], None]
"""Told how many of how many offsets are read."""


def topics_of(plan: ReplayPlan) -> Sequence[str]:
    """Return what a replay reads."""
    return (DECISIONS, OUTCOMES) if plan.source == "events" else (REWARDS,)


@dataclass(slots=True)
class Rebuilt:
    """What a replay has come to."""

    rows: dict[RowKey, Statistics] = field(default_factory=dict)
    """The sums over all partitions."""
    event_time_ms: int = 0
    """The lowest event time of the partitions in which anything counted."""
    open: StillOpen = field(default_factory=lambda: StillOpen(0, 0))
    """Decisions whose reward may still change."""

    def add(self, recount: Recount) -> None:
        """Add a partition."""
        sums = sums_of(recount.rows)
        merge_deltas(self.rows, sums.items())
        if sums:
            time_ms = recount.event_time_ms()
            self.event_time_ms = min(self.event_time_ms, time_ms) if self.event_time_ms else time_ms
        still = recount.still_open()
        self.open = StillOpen(self.open.decisions + still.decisions, max(self.open.until_ms, still.until_ms))


async def rebuild(
    broker: Address,
    plan: ReplayPlan,
    cuts: Sequence[Cut],
    folder: Path,
    on_progress: OnProgress = lambda _done, _total: None,
    schemas: Schemas | None = None,
) -> Rebuilt:
    """Count the log between the cuts; what `folder` has of it already is not read again.

    Raises:
        StateError: the log no longer holds what is needed. UnavailableError: no broker answers.
    """
    schemas = schemas or Schemas()
    if not plan.declared_ids:
        plan = replace(plan, limits=plan.limits._replace(registry=schemas))
    rebuilt, total = Rebuilt(), distance(cuts[0], cuts[-1])
    reached = {topic: dict(offsets) for topic, offsets in cuts[0].items()}

    def report(number: int, positions: Mapping[str, int]) -> None:
        for topic, position in positions.items():
            reached[topic][number] = position
        on_progress(distance(cuts[0], reached), total)

    async with open_log(broker, topics_of(plan)) as log:
        for number in partitions_of(cuts[-1]):
            with scratch_rows(folder / f"partition-{number}") as rows:
                recount = open_recount(plan, rows, of_partition(cuts[0], number))
                report(number, recount.positions)
                await recount_partition(log, recount, number, cuts, report, schemas)
                rebuilt.add(recount)
    return rebuilt


async def recount_partition(
    log: Log,
    recount: Recount,
    number: int,
    cuts: Sequence[Cut],
    report: Callable[[int, Mapping[str, int]], None],
    schemas: Schemas | None = None,
) -> None:
    """Go through the cuts that are not finished, a step at a time."""
    await log.open(number, recount.positions)
    for cut in cuts[1 + recount.finished :]:
        end = of_partition(cut, number)
        # First, since a run that was stopped may have been stopped before it.
        recount.let_time_pass(end)
        while (topic := recount.next_topic(end)) is not None:
            position = recount.positions[topic]
            limit = min(end[topic], (position // STEP_OFFSETS + 1) * STEP_OFFSETS)
            step = await log.read(topic, position, limit)
            if schemas is not None and topic != REWARDS:
                await schemas.look_up(schema_ids(value for *_, value in step.records))
            recount.take(topic, step.records, limit if step.is_complete else None, step.unstamped)
            recount.let_time_pass(end)
            report(number, recount.positions)
        recount.finish()
