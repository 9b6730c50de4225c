"""The demo on a log: every row of an Open Bandit campaign through broker and workers, and counted again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka.partitioner import DefaultPartitioner

from pipeline.brokers import Broker
from pipeline.codec import avro
from pipeline.demo.failure import DemoError
from pipeline.demo.open_bandit import (
    Impression,
    LogRecord,
    expected_totals,
    log_records,
    policy_for,
    read_impressions,
)
from pipeline.demo.processes import beside
from pipeline.demo.progress import Frame, Progress
from pipeline.demo.recount import ArmKey, Total, first_difference
from pipeline.demo.stage import Apply, Stage, staged
from pipeline.demo.watch import Published, Watch
from pipeline.errors import ConfigError
from pipeline.policy.definition import PolicyDefinition
from pipeline.serve.following.snapshot import load_snapshot
from pipeline.stream.log.outbox import Outbox, Record
from pipeline.stream.log.topics import DECISIONS, OUTCOMES

ITEM_CONTEXT = "item_context.csv"
# Half of the time for which a worker holds an outcome whose decision it has not read, in event time.
CHUNK_MS = 1_800_000
CHUNK_RECORDS = 1_000
STALLED_AFTER_S = 60.0
# The embedded broker keeps about 5 MB a partition, then drops the oldest; the largest topic, JOIN's changelog,
# holds each decision at least twice.
EMBEDDED_DECISION_BYTES = 2_000_000


@dataclass(frozen=True, slots=True)
class ArmResult:
    """What one arm of one segment came to; its fields are the JSON's keys."""

    segment: str
    arm: str
    count: int
    reward_sum: float
    mean: float
    """Posterior mean; `low` and `high` are its central 95 %."""
    low: float
    high: float


class LogReport(NamedTuple):
    """What the log came to."""

    decisions: int
    outcomes: int
    settled: int
    rejected: int
    dead_letters: int
    snapshot: dict[str, str | int]
    arms: list[ArmResult]
    seconds: float
    """From the first record produced to the snapshot that holds everything."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that programs read."""
        return {**self._asdict(), "arms": [asdict(arm) for arm in self.arms]}


def read_log(folder: Path) -> list[Impression]:
    """Read the campaign in a folder: its one CSV beside `item_context.csv`.

    Raises:
        ConfigError: there is not exactly one, or it can't be read.
    """
    files = sorted(file for file in folder.glob("*.csv") if file.name != ITEM_CONTEXT)
    if len(files) != 1:
        seen = ", ".join(file.name for file in files) or "none"
        raise ConfigError(
            f"--data {folder}", [f"expected one CSV beside {ITEM_CONTEXT}, such as women.csv; seen: {seen}"]
        )
    with files[0].open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
        return read_impressions(lines, str(files[0]))


async def play_log(
    broker: Broker,
    impressions: Sequence[Impression],
    apply: Apply,
    progress: Progress,
    *,
    partitions: int,
    workers: int,
) -> LogReport:
    """Play a log through workers, wait until all of it has settled, and compare with the rows' own count.

    Raises:
        ConfigError: the broker can't hold it. DemoError: it came to something else than the rows do.
    """
    definition = policy_for(impressions)
    records = list(log_records(impressions))
    if not broker.supports_topic_creation:
        _require_room(records)
    async with (
        staged(broker, definition, apply, partitions=partitions, workers=workers) as stage,
        Watch(stage.broker, definition.name) as watch,
    ):
        show = _show(progress, watch, len(impressions))
        return await beside(
            _play(stage, watch, definition, impressions, records), watch.follow(), stage.processes.watch(), show
        )


async def _play(
    stage: Stage,
    watch: Watch,
    definition: PolicyDefinition,
    impressions: Sequence[Impression],
    records: Sequence[LogRecord],
) -> LogReport:
    started_s = time.monotonic()
    outcomes = sum(impression.is_clicked for impression in impressions)
    outbox = Outbox(stage.broker)
    await outbox.start()
    try:
        for chunk in chunks(records):
            await _deliver(outbox, chunk, stage.partitions)
        closed_ms = records[-1].at_ms + definition.window_ms + 1
        await outbox.deliver(_ticks(closed_ms, stage.partitions))
    finally:
        await outbox.stop()
    expected = expected_totals(impressions, definition.reward_exponent)
    snapshot = await _complete(watch, expected, len(impressions), outcomes)
    return LogReport(
        decisions=len(impressions),
        outcomes=outcomes,
        settled=len(watch.recount.settled),
        rejected=len(watch.rejected),
        dead_letters=watch.dead_letters,
        snapshot=snapshot.identity(),
        arms=arm_results(snapshot),
        seconds=round(time.monotonic() - started_s, 3),
    )


async def _complete(watch: Watch, expected: dict[ArmKey, Total], decisions: int, outcomes: int) -> Published:
    """Wait for a snapshot of everything; give up when nothing has moved for a minute, or a record was refused."""
    seen: tuple[int, ...] = ()
    moved_s = time.monotonic()
    while True:
        latest = watch.latest
        recount = watch.recount
        if watch.rejected:
            raise DemoError(f"every row should be used, but {watch.refusals()}")
        is_all = len(recount.settled) == decisions and len(recount.credited) == outcomes
        if is_all and latest is not None and latest.totals == expected:
            return latest
        found = {} if latest is None else latest.totals
        now_s = time.monotonic()
        state = (recount.actions, len(recount.settled), len(recount.credited), 0 if latest is None else latest.version)
        if state != seen:
            seen, moved_s = state, now_s
        elif now_s - moved_s > STALLED_AFTER_S:
            raise DemoError(
                f"nothing has moved for {STALLED_AFTER_S:.0f} s: {len(recount.settled)} of {decisions} decisions have "
                f"settled, {len(recount.credited)} of {outcomes} clicks are credited; in the last snapshot, "
                f"{first_difference(expected, found) or 'all is counted'}"
            )
        await asyncio.sleep(0.05)


def arm_results(snapshot: Published) -> list[ArmResult]:
    """Return each (segment, arm) that has decisions, with its posterior."""
    loaded = load_snapshot(snapshot.content)
    scale = 2.0**-loaded.definition.reward_exponent
    results = []
    for name, segment in loaded.segments.items():
        estimates = loaded.model.estimates(segment.posterior, None)
        for place, arm in enumerate(segment.arms):
            total = snapshot.totals.get((name, arm))
            if total is not None:
                interval = (float(column[place]) for column in estimates)
                results.append(ArmResult(name, arm, total.decisions, total.reward_sum * scale, *interval))
    return results


def _require_room(records: Iterable[LogRecord]) -> None:
    size = sum(len(record.value) for record in records if record.topic == DECISIONS)
    limit = EMBEDDED_DECISION_BYTES * 4
    if size > limit:
        raise ConfigError(
            "--broker embedded",
            [f"keeps too little for a log of {size / 1e6:.0f} MB (at most {limit / 1e6:.0f}): use --broker kafka"],
        )


def chunks(records: Sequence[LogRecord]) -> Iterator[Sequence[LogRecord]]:
    """Cut the log into chunks that are short in number and in event time."""
    start = 0
    for place, record in enumerate(records):
        if place - start >= CHUNK_RECORDS or record.at_ms - records[start].at_ms > CHUNK_MS:
            yield records[start:place]
            start = place
    if start < len(records):
        yield records[start:]


async def _deliver(outbox: Outbox, chunk: Sequence[LogRecord], partitions: int) -> None:
    """Deliver a chunk, decisions first: days go by in seconds, in which no outcome may wait for its decision."""
    for topic in (DECISIONS, OUTCOMES):
        await outbox.deliver(_keyed((record for record in chunk if record.topic == topic), partitions))


def _keyed(chunk: Iterable[LogRecord], partitions: int) -> Iterator[Record]:
    """Put equal action ids into equal partitions, as every Kafka client's default partitioner does."""
    choose = DefaultPartitioner()
    numbers = list(range(partitions))
    for record in chunk:
        key = record.action_id.encode()
        yield Record(record.topic, choose(key, numbers, numbers), key, record.value)


def _ticks(at_ms: int, partitions: int) -> Iterator[Record]:
    tick = avro.encode("tick", {"event_time_ms": at_ms})
    for topic in (DECISIONS, OUTCOMES):
        for number in range(partitions):
            yield Record(topic, number, b"", tick)


async def _show(progress: Progress, watch: Watch, total: int) -> None:
    """Show how far the loop is, until cancelled."""
    while True:
        version = 0 if watch.latest is None else watch.latest.version
        progress.show(Frame("playing the log", watch.recount.actions, total, len(watch.recount.settled), version))
        await asyncio.sleep(progress.interval_s)
