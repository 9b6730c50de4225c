"""What a worker exports to Prometheus: JOIN's conservation counts (law 5), event time, steps, restores.

Prometheus asks in a thread of its own; the counts are read in the worker's loop, between two steps, where they balance.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from pipeline.errors import ConfigError
from pipeline.join.agent import JoinPartition
from pipeline.join.progress import NOT_YET_MS, imbalance

BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0)
ANSWERED_WITHIN_S = 5.0
STREAMS = ("decisions", "outcomes")


class WorkerMetrics(Collector):
    """A worker's counts as metrics, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.steps = Histogram(
            "pipeline_step_seconds",
            "Time to handle a fetched batch, until all that came of it was durable.",
            ["stage"],
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self._restores = Histogram(
            "pipeline_restore_seconds",
            "Time to bring a partition's rows up to its changelog.",
            ["table"],
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self._restored = Counter(
            "pipeline_restored_records", "Changelog records read to do so.", ["table"], registry=self.registry
        )
        self._rebuilt = Counter(
            "pipeline_state_rebuilt",
            "State folders that were built anew from their changelog, by the reason.",
            ["table", "reason"],
            registry=self.registry,
        )
        self._gone = Counter(
            "pipeline_offsets_gone",
            "Offsets that a topic held no more when they were to be read: its retention is shorter than the delay was.",
            ["topic", "partition"],
            registry=self.registry,
        )
        self._failed_lanes = Gauge(
            "pipeline_failed_lanes",
            "1 where a partition of a stage has failed again and again, and stands still.",
            ["stage", "partition"],
            registry=self.registry,
        )
        self._join_partitions: Iterable[JoinPartition] = ()
        self._refused: Callable[[], int] = int
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: Any = None
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def watch(self, join_partitions: Iterable[JoinPartition]) -> None:
        """Tell of these partitions, whichever they are when somebody asks."""
        self._join_partitions = join_partitions

    def count_refused(self, refused: Callable[[], int]) -> None:
        """Tell how many records of `policies` were passed over."""
        self._refused = refused

    def start(self, host: str, port: int) -> int:
        """Listen, from a running loop; return the port. Raises ConfigError where that is taken."""
        self._loop = asyncio.get_running_loop()
        try:
            self._server, _ = start_http_server(port, host, self.registry)
        except OSError as error:
            raise ConfigError("metrics", [f"{host}:{port} can't be listened on ({error}); choose another"]) from error
        return int(self._server.server_port)

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            # Not in the loop: an answer on its way waits for the loop.
            await asyncio.to_thread(self._server.shutdown)
            self._server.server_close()
            self._server = None

    def note_lane(self, stage: str, partition: int, *, has_failed: bool) -> None:
        """Show whether a lane has stopped for good."""
        self._failed_lanes.labels(stage, partition).set(has_failed)

    def note_restore(self, table: str, records: int, seconds: float) -> None:
        """Count a partition that was restored."""
        self._restores.labels(table).observe(seconds)
        self._restored.labels(table).inc(records)

    def note_rebuilt(self, table: str, reason: str) -> None:
        """Count a state folder that was of no use."""
        self._rebuilt.labels(table, reason).inc()

    def note_gone(self, topic: str, partition: int, count: int) -> None:
        """Count offsets that nobody will ever read."""
        self._gone.labels(topic, str(partition)).inc(count)

    def collect(self) -> Iterator[Metric]:
        """Yield JOIN's counts, read in the worker's loop."""
        if self._loop is not None:
            reading = asyncio.run_coroutine_threadsafe(self._read(), self._loop)
            yield from reading.result(ANSWERED_WITHIN_S)

    async def _read(self) -> list[Metric]:
        records = GaugeMetricFamily(
            "pipeline_records",
            "Records of a stream by their fate; those read are all the others together.",
            labels=["stream", "fate", "partition"],
        )
        unaccounted = GaugeMetricFamily(
            "pipeline_records_unaccounted", "Read, less all other fates: always 0.", labels=["stream", "partition"]
        )
        opened = GaugeMetricFamily("pipeline_open_actions", "Decisions not settled yet.", labels=["partition"])
        lag = GaugeMetricFamily(
            "pipeline_event_time_lag_seconds", "The clock, less a partition's event time.", labels=["partition"]
        )
        waits = GaugeMetricFamily(
            "pipeline_waits_for_registry",
            "1 where a partition's records wait for a schema that the registry has not told yet.",
            labels=["partition"],
        )
        refused = CounterMetricFamily(
            "pipeline_policy_records_refused", "Records of `policies` that were passed over.", self._refused()
        )
        now_ms = time.time_ns() // 1_000_000
        for partition in self._join_partitions:
            number, progress = str(partition.held.number), partition.progress
            for name, count in progress.counts.items():
                stream, _, fate = name.partition(".")
                records.add_metric([stream, fate, number], count)
            for stream in STREAMS:
                unaccounted.add_metric([stream, number], imbalance(progress.counts, stream))
            opened.add_metric([number], progress.counts["decisions.open"])
            waits.add_metric([number], partition.waits_for_registry)
            if progress.event_time_ms != NOT_YET_MS:
                lag.add_metric([number], (now_ms - progress.event_time_ms) / 1000.0)
        return [records, unaccounted, opened, lag, waits, refused]
