"""What a worker exports to Prometheus: JOIN's conservation counts (law 5), event time, lags, steps, restores.

Prometheus asks in a thread of its own; the counts are read in the worker's loop, between two steps, where they balance.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from pipeline.join.agent import JoinPartition
from pipeline.join.progress import NOT_YET_MS, UNDECODABLE, imbalance
from pipeline.metrics.bounded import BoundedCounts
from pipeline.metrics.times import Times
from pipeline.monitor.watch import Watched
from pipeline.publish.partition import PublishPartition
from pipeline.stream.log.lanes import Lanes

BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0)
ANSWERED_WITHIN_S = 5.0
STREAMS = ("decisions", "outcomes")
NO_RATE = frozenset({"open", "awaiting-decision", "before-decision"})
"""Fates that records leave again."""
MOST_POLICIES = 2_000
"""That are told apart."""


class WorkerMetrics(Collector):
    """A worker's counts as metrics, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._steps = Times(
            "pipeline_step_seconds",
            "Time to handle a fetched batch, until all that came of it was durable.",
            ["stage"],
            BUCKETS_S,
        )
        self._restores = Times(
            "pipeline_restore_seconds",
            "Time to bring a partition's rows up to its changelog.",
            ["table"],
            BUCKETS_S,
        )
        self._publishes = Times(
            "pipeline_publish_seconds",
            "Time from the sums of a policy to its snapshot in the topic.",
            [],
            BUCKETS_S,
        )
        self._stalls = Times(
            "pipeline_event_loop_stall_seconds",
            "How much later than asked for the event loop came back: whatever ran held it for so long.",
            [],
            BUCKETS_S,
        )
        self._longest_stall_s = 0.0
        self._published = BoundedCounts(MOST_POLICIES)
        self._restored: Counter[str] = Counter()
        self._rebuilt: Counter[tuple[str, str]] = Counter()
        self._gone: Counter[tuple[str, int]] = Counter()
        self._checkpoints: dict[int, int] = {}
        self._failed_lanes: dict[tuple[str, int], bool] = {}
        self._join_partitions: Iterable[JoinPartition] = ()
        self._publish_partitions: Iterable[PublishPartition] = ()
        self._lanes: Iterable[Lanes] = ()
        self._watched: Iterable[tuple[str, Watched]] = ()
        self._owed: Callable[[], Mapping[int, int]] = dict
        self._refused: Callable[[], int] = int
        self._loop: asyncio.AbstractEventLoop | None = None
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def watch(
        self,
        join_partitions: Iterable[JoinPartition],
        publish_partitions: Iterable[PublishPartition] = (),
        lanes: Iterable[Lanes] = (),
        watched: Iterable[tuple[str, Watched]] = (),
    ) -> None:
        """Tell of these partitions and lanes, whichever they are when somebody asks."""
        self._join_partitions = join_partitions
        self._publish_partitions = publish_partitions
        self._lanes = lanes
        self._watched = watched

    def count_refused(self, refused: Callable[[], int]) -> None:
        """Tell how many records of `policies` were passed over."""
        self._refused = refused

    def count_owed(self, owed: Callable[[], Mapping[int, int]]) -> None:
        """Tell what LEARN owes to whom (`learn/owed.py`)."""
        self._owed = owed

    def belongs_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read counts in this loop."""
        self._loop = loop

    def observe_steps(self, stage: str) -> Callable[[float], None]:
        """Return what is told how many seconds each step of a stage took."""
        return partial(self._steps.observe, (stage,))

    def note_lane(self, stage: str, partition: int, *, has_failed: bool) -> None:
        """Show whether a lane has stopped for good."""
        self._failed_lanes[stage, partition] = has_failed

    def note_restore(self, table: str, records: int, seconds: float) -> None:
        """Count a partition that was restored."""
        self._restores.observe((table,), seconds)
        self._restored[table] += records

    def note_rebuilt(self, table: str, reason: str) -> None:
        """Count a state folder that was of no use."""
        self._rebuilt[table, reason] += 1

    def note_gone(self, topic: str, partition: int, count: int) -> None:
        """Count offsets that nobody will ever read."""
        self._gone[topic, partition] += count

    def note_checkpoint(self, partition: int, offset: int) -> None:
        """Show how far the last checkpoint of a partition goes."""
        self._checkpoints[partition] = offset

    def note_stall(self, seconds: float) -> None:
        """Count how late the event loop came back."""
        self._stalls.observe((), seconds)
        self._longest_stall_s = max(self._longest_stall_s, seconds)

    def note_published(self, policy: str, seconds: float) -> None:
        """Count a snapshot."""
        self._published.add((policy,))
        self._publishes.observe((), seconds)

    def collect(self) -> Iterator[Metric]:
        """Yield all counts; those that belong together are read in the worker's loop."""
        yield self._steps.family()
        yield self._restores.family()
        yield self._publishes.family()
        yield self._stalls.family()
        yield GaugeMetricFamily(
            "pipeline_event_loop_longest_stall_seconds",
            "The longest of them since the worker began.",
            self._longest_stall_s,
        )
        yield from self._totals()
        if self._loop is None:
            yield from self._read()
        else:
            reading = asyncio.run_coroutine_threadsafe(self._read_in_loop(), self._loop)
            yield from reading.result(ANSWERED_WITHIN_S)

    async def _read_in_loop(self) -> list[Metric]:
        return self._read()

    def _totals(self) -> Iterator[Metric]:
        restored = CounterMetricFamily(
            "pipeline_restored_records", "Changelog records read to restore a partition.", labels=["table"]
        )
        for table, count in list(self._restored.items()):
            restored.add_metric([table], count)
        yield restored
        rebuilt = CounterMetricFamily(
            "pipeline_state_rebuilt",
            "State folders that were built anew from their changelog, by the reason.",
            labels=["table", "reason"],
        )
        for words, count in list(self._rebuilt.items()):
            rebuilt.add_metric(words, count)
        yield rebuilt
        gone = CounterMetricFamily(
            "pipeline_offsets_gone",
            "Offsets that a topic held no more when they were to be read: its retention is shorter than the delay was.",
            labels=["topic", "partition"],
        )
        for (topic, number), count in list(self._gone.items()):
            gone.add_metric([topic, str(number)], count)
        yield gone
        checkpoints = GaugeMetricFamily(
            "pipeline_checkpoint_offset",
            "Ledger offset of the last checkpoint that this worker wrote.",
            labels=["partition"],
        )
        for number, offset in list(self._checkpoints.items()):
            checkpoints.add_metric([str(number)], offset)
        yield checkpoints
        failed = GaugeMetricFamily(
            "pipeline_failed_lanes",
            "1 where a partition of a stage has failed again and again, and stands still.",
            labels=["stage", "partition"],
        )
        for (stage, number), has_failed in list(self._failed_lanes.items()):
            failed.add_metric([stage, str(number)], has_failed)
        yield failed
        published = CounterMetricFamily(
            "pipeline_snapshots_published", "Snapshots published by this worker.", labels=["policy"]
        )
        for labels, count in self._published:
            published.add_metric(labels, count)
        yield published

    def _read(self) -> list[Metric]:
        return [*self._conservation(), *self._stages(), *self._snapshots(), *self._monitors()]

    def _conservation(self) -> list[Metric]:
        records = GaugeMetricFamily(
            "pipeline_records",
            "Records of a stream by their fate; those read are all the others together.",
            labels=["stream", "fate", "partition"],
        )
        totals = CounterMetricFamily(
            "pipeline_stream_records",
            "Records of a stream by a fate that is for good, and those read; to take rates of.",
            labels=["stream", "fate", "partition"],
        )
        unaccounted = GaugeMetricFamily(
            "pipeline_records_unaccounted", "Read, less all other fates: always 0.", labels=["stream", "partition"]
        )
        undecodable = CounterMetricFamily(
            "pipeline_undecodable_decisions",
            "Decisions whose context gave no vector: told in the ledger, and not learned from.",
            labels=["reason", "partition"],
        )
        opened = GaugeMetricFamily("pipeline_open_actions", "Decisions not settled yet.", labels=["partition"])
        lag = GaugeMetricFamily(
            "pipeline_event_time_lag_seconds", "The clock, less a partition's event time.", labels=["partition"]
        )
        marks = GaugeMetricFamily(
            "pipeline_watermark_timestamp_seconds",
            "Highest event time of each stream, since 1970.",
            labels=["stream", "partition"],
        )
        waits = GaugeMetricFamily(
            "pipeline_waits_for_registry",
            "1 where a partition's records wait for a schema that the registry has not told yet.",
            labels=["partition"],
        )
        refused = CounterMetricFamily(
            "pipeline_policy_records_refused", "Records of `policies` that were passed over.", self._refused()
        )
        now_ms = _now_ms()
        for partition in self._join_partitions:
            number, progress = str(partition.held.number), partition.progress
            for name, count in progress.counts.items():
                if name.startswith(UNDECODABLE):
                    undecodable.add_metric([name.removeprefix(UNDECODABLE), number], count)
                    continue
                stream, _, fate = name.partition(".")
                records.add_metric([stream, fate, number], count)
                if fate not in NO_RATE:
                    totals.add_metric([stream, fate, number], count)
            for stream in STREAMS:
                unaccounted.add_metric([stream, number], imbalance(progress.counts, stream))
                if progress.watermarks_ms[stream] != NOT_YET_MS:
                    marks.add_metric([stream, number], progress.watermarks_ms[stream] / 1000.0)
            opened.add_metric([number], progress.counts["decisions.open"])
            waits.add_metric([number], partition.waits_for_registry)
            if progress.event_time_ms != NOT_YET_MS:
                lag.add_metric([number], (now_ms - progress.event_time_ms) / 1000.0)
        return [records, totals, unaccounted, undecodable, opened, lag, marks, waits, refused]

    def _stages(self) -> list[Metric]:
        labels = ["stage", "topic", "partition"]
        lag = GaugeMetricFamily(
            "pipeline_lag_records", "Offsets up to a log's stable end that are not in the stage's state.", labels=labels
        )
        age = GaugeMetricFamily(
            "pipeline_lag_seconds",
            "0 without a lag; else how long ago the broker took the newest record that the stage has handled (before "
            "the first: since the partition was opened).",
            labels=labels,
        )
        waiting = GaugeMetricFamily(
            "pipeline_fetched_waiting_bytes", "Fetched for a stage that has not come to it yet.", labels=labels
        )
        handled = CounterMetricFamily(
            "pipeline_handled_records", "Records that a stage has handled.", labels=["stage", "topic"]
        )
        opened = GaugeMetricFamily(
            "pipeline_claimed_partitions",
            "Partitions of a stage that are claimed, restored and read.",
            labels=["stage"],
        )
        now_ms = _now_ms()
        for lanes in self._lanes:
            stage, standings = lanes.stage.name, lanes.standings()
            for each in standings:
                place = [stage, each.topic, str(each.partition)]
                lag.add_metric(place, each.lag_records)
                age.add_metric(place, each.lag_ms(now_ms) / 1000.0)
                waiting.add_metric(place, each.waiting_bytes)
            opened.add_metric([stage], len({each.partition for each in standings}))
            for topic, count in lanes.handled.items():
                handled.add_metric([stage, topic], count)
        owed = GaugeMetricFamily(
            "pipeline_statistics_owed",
            "From how many partitions of the ledger a partition of `statistics` has not taken what is learned.",
            labels=["partition"],
        )
        for number, count in self._owed().items():
            owed.add_metric([str(number)], count)
        return [lag, age, waiting, handled, opened, owed]

    def _snapshots(self) -> list[Metric]:
        version = GaugeMetricFamily(
            "pipeline_published_version", "Number of a policy's last snapshot.", labels=["policy"]
        )
        held = GaugeMetricFamily(
            "pipeline_held_policies", "1 where what is learned waits for `unpin`.", labels=["policy"]
        )
        told = 0
        for partition in self._publish_partitions:
            for policy, last in partition.published.items():
                if (told := told + 1) > MOST_POLICIES:
                    break
                version.add_metric([policy], last.version)
                held.add_metric([policy], partition.is_held(policy))
        return [version, held]

    def _monitors(self) -> list[Metric]:
        ratio = GaugeMetricFamily(
            "pipeline_label_rate_ratio",
            "Rewards that came in the last look, over what its decisions were worth by all before.",
            labels=["policy"],
        )
        alarm = GaugeMetricFamily(
            "pipeline_label_rate_alarm", "1 where outcomes have stopped, or jump.", labels=["policy", "state"]
        )
        held = GaugeMetricFamily(
            "pipeline_publishing_held", "1 where publishing waits until outcomes are as they were.", labels=["policy"]
        )
        coverage = GaugeMetricFamily(
            "pipeline_arm_coverage_ratio",
            "Share of the arms on offer that had 1 % of the last thousand decisions or more.",
            labels=["policy"],
        )
        entropy = GaugeMetricFamily(
            "pipeline_arm_entropy_ratio",
            "Entropy of the arms shown in them, over that of a uniform draw: 0 where one arm is left.",
            labels=["policy"],
        )
        told = _Told()
        for policy, watched in islice(self._watched, MOST_POLICIES):
            told.add(policy, watched)
            rate = watched.label_rate
            for state in ("stopped", "jumped"):
                alarm.add_metric([policy, state], rate.state == state)
            held.add_metric([policy], watched.is_held)
            if rate.last is not None and rate.last.expected:
                ratio.add_metric([policy], rate.last.came / rate.last.expected)
            if watched.mix is not None:
                coverage.add_metric([policy], watched.mix.coverage)
                entropy.add_metric([policy], watched.mix.entropy)
        return [ratio, alarm, held, coverage, entropy, *told.families]


class _Told:
    """What the last look of all monitors said. Which features and arms are named is bounded by each monitor."""

    def __init__(self) -> None:
        self._figure = GaugeMetricFamily(
            "pipeline_monitor_figure",
            "A figure of a monitor, as it was at its last look; `of` is the feature or the like that it is of.",
            labels=["policy", "monitor", "figure", "of"],
        )
        self._alarm = GaugeMetricFamily(
            "pipeline_monitor_alarm", "1 where a monitor's threshold is passed.", labels=["policy", "monitor"]
        )
        self._withheld = GaugeMetricFamily(
            "pipeline_monitor_withheld",
            "1 where a monitor says nothing, and why.",
            labels=["policy", "monitor", "reason"],
        )
        self.families = (self._figure, self._alarm, self._withheld)

    def add(self, policy: str, watched: Watched) -> None:
        """Tell of one policy."""
        for name, reading in watched.readings.items():
            if reading.withheld:
                self._withheld.add_metric([policy, name, reading.withheld], 1)
                continue
            self._alarm.add_metric([policy, name], reading.is_red)
            for one in reading.figures:
                self._figure.add_metric([policy, name, one.name, one.of], one.value)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
