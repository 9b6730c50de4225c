"""Count a policy's past again from the log, partition by partition, in a folder that remembers how far it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.codec.forwarded import forwarded_in
from pipeline.codec.framed import schema_ids
from pipeline.join.forwarding import Place
from pipeline.learn.ledger import merge_deltas
from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics
from pipeline.registry.lookup import Schemas
from pipeline.replay.recounting.cuts import Cut, distance, of_partition, partitions_of
from pipeline.replay.recounting.log import Log, open_log
from pipeline.replay.recounting.plan import ReplayPlan
from pipeline.replay.recounting.recount import Recount, open_recount
from pipeline.replay.recounting.rows import STEP_OFFSETS, StillOpen, sums_of
from pipeline.stream.log.passed_over import PassedOver
from pipeline.stream.log.topics import DECISIONS, HISTORY_DECISIONS, HISTORY_OUTCOMES, OUTCOMES, REWARDS
from pipeline.stream.security import Address
from pipeline.stream.state.scratch import scratch_rows

HISTORY = (HISTORY_DECISIONS, HISTORY_OUTCOMES)

OnProgress = Callable[[int, int], None]
"""Told how many of how many offsets are read."""


def topics_of(plan: ReplayPlan) -> Sequence[str]:
    """Return what a replay reads."""
    if plan.source == "ledger":
        return (REWARDS,)
    return (DECISIONS, OUTCOMES, *HISTORY) if plan.has_history else (DECISIONS, OUTCOMES)


@dataclass(slots=True)
class Rebuilt:
    """What a replay has come to."""

    rows: dict[RowKey, Statistics] = field(default_factory=dict)
    """The sums over all partitions."""
    event_time_ms: int = 0
    """The lowest event time of the partitions in which anything counted."""
    open: StillOpen = field(default_factory=lambda: StillOpen(0, 0))
    """Decisions whose reward may still change."""
    loaded: Counter[str] = field(default_factory=Counter)
    """What became of the records of history, as JOIN's counts name it."""

    def add(self, recount: Recount) -> None:
        """Add a partition."""
        sums = sums_of(recount.rows)
        merge_deltas(self.rows, sums.items())
        if sums:
            time_ms = recount.event_time_ms()
            self.event_time_ms = min(self.event_time_ms, time_ms) if self.event_time_ms else time_ms
        self.loaded += recount.loaded
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
        numbers, tell = partitions_of(cuts[-1]), PassedOver(REWARDS)
        began = await sent_on_since(log, cuts) if plan.source == "events" and len(numbers) > 1 else {}
        for number in numbers:
            with scratch_rows(folder / f"partition-{number}") as rows:
                place = Place(number, len(numbers), began[number]) if number in began else None
                start = of_partition(cuts[0], number)
                recount = open_recount(plan, rows, start, number, place=place, pass_over=tell)
                report(number, recount.positions)
                await recount_partition(log, recount, number, cuts, report, schemas)
                rebuilt.add(recount)
    return rebuilt


async def sent_on_since(log: Log, cuts: Sequence[Cut]) -> dict[int, dict[str, int]]:
    """Return, by partition and topic, the lowest offset of a record that JOIN has sent on to another partition.

    It says so at the record's new place alone, in any other partition. What lies before was taken where it lay, by a
    release that sent nothing on.
    """
    began: dict[int, dict[str, int]] = {}
    first, last = await log.begin(), cuts[-1]
    for number in partitions_of(last):
        start = of_partition(cuts[0], number)
        positions = {topic: max(offset, first[topic][number]) for topic, offset in start.items()}
        await log.open(number, positions)
        for topic, end in of_partition(last, number).items():
            position = positions[topic]
            while position < end:
                limit = min(end, position + STEP_OFFSETS)
                step = await log.read(topic, position, limit)
                for sent in filter(None, (forwarded_in(value) for *_, value in step.records)):
                    of_source = began.setdefault(sent.source_partition, {})
                    of_source[topic] = min(sent.source_offset, of_source.get(topic, sent.source_offset))
                position = limit if step.is_complete else step.records[-1][0] + 1
    return began


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
