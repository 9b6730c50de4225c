"""The worker's wiring, top to bottom: topic → agent → topic.

decisions, outcomes ─ JOIN ─▶ rewards ─ LEARN ─▶ statistics ─ PUBLISH ─▶ snapshots
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any

import faust
import rocksdict
from faust.types import TP
from mode import Service

from pipeline.doctor.watch import ClusterWatch
from pipeline.join.agent import JoinAgent
from pipeline.join.step import Limits
from pipeline.join.stored_row import due_of
from pipeline.learn.agent import LearnAgent
from pipeline.learn.memory import expires_of
from pipeline.policy.definition import PolicyDefinition
from pipeline.publish.agent import PublishAgent
from pipeline.publish.signing import read_signer
from pipeline.publish.versions import last_published
from pipeline.registry.lookup import Schemas
from pipeline.settings import WorkerSettings
from pipeline.stream.credentials import faust_credentials
from pipeline.stream.failpoints import failpoint
from pipeline.stream.log import topics
from pipeline.stream.log.fetch import BatchTransport
from pipeline.stream.log.outbox import Outbox
from pipeline.stream.log.shell import consume, keep_running
from pipeline.stream.log.watch import LogWatch
from pipeline.stream.metrics import WorkerMetrics
from pipeline.stream.policies import Policies
from pipeline.stream.security import servers_of
from pipeline.stream.state.durable import DurablePartition
from pipeline.stream.state.restore import Opener
from pipeline.stream.state.tables import BLOCK_CACHE_BYTES, IndexOf, StateTable

log = logging.getLogger(__name__)

# Events are whole fetched batches of up to a megabyte: a handful a stage keeps it fed.
BUFFERED_BATCHES = 8
PUBLISH_POLL_S = 0.02
"""How soon a new definition or directive is seen; what is learned says so itself."""
JOIN_PACE_S = 0.08
"""Of a partition, JOIN begins no step sooner after the one before. What outcomes wait for it, half of it in the mean,
is paid back in CPU: with 0.05 there were 1.6 times the steps. Single runs do not tell 0.06 from 0.1. A record that
comes alone does not wait (ops/decisions/0024-pace.md)."""
LEARN_PACE_S = 0.25
"""LEARN's, at most: it hands over statistics four times as often as the most eager policy publishes."""
TICK_POLL_S = 0.5


class WorkerApp(faust.App):
    """Faust's app, with this worker's own connections opened before its agents and closed after them."""

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(
            settings.app_id,
            broker=[f"kafka://{server}" for server in servers_of(settings.broker)],
            broker_credentials=faust_credentials(settings.broker),
            datadir=settings.state_dir,
            store="rocksdb://",
            stream_buffer_maxsize=BUFFERED_BATCHES,
            consumer_auto_offset_reset="earliest",
            broker_commit_interval=settings.commit_interval_s,
            broker_session_timeout=settings.session_timeout_s,
            broker_heartbeat_interval=settings.session_timeout_s / 4,
            table_standby_replicas=0,
            # Topics are made by `pipeline topics create`, with the settings that the stages count on.
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
            worker_redirect_stdouts=False,
        )
        self.transport = BatchTransport(self.conf.broker, self)
        self._settings = settings
        self.metrics = WorkerMetrics()
        self.reach = failpoint(settings.failpoint)
        self.outbox = Outbox(settings.broker)
        self.policies = Policies(settings.broker)
        self.schemas = Schemas(settings.registry)
        self.between_rebalances = asyncio.Lock()
        """Held by what works on owned partitions by itself, and by what gives partitions back."""

    async def on_start(self) -> None:
        """Connect before anything is consumed."""
        await self.outbox.start()
        await self.policies.start()
        if self._settings.metrics_port is not None:
            port = self.metrics.start(self._settings.metrics_host, self._settings.metrics_port)
            log.info("metrics url=http://%s:%s/metrics", self._settings.metrics_host, port)
        await super().on_start()

    async def on_shutdown(self) -> None:
        """Disconnect after everything has stopped."""
        await super().on_shutdown()
        await self.metrics.stop()
        await self.policies.stop()
        await self.schemas.close()
        await self.outbox.stop()

    @Service.task
    async def _watch_cluster(self) -> None:
        settings = self._settings
        await keep_running(ClusterWatch(settings.broker, settings.app_id, settings.partitions).run)

    @property
    def is_ready(self) -> bool:
        """Whether partitions are assigned, and nothing is being moved."""
        return bool(self.tables.actives_ready) and not self.rebalancing

    def whenever(
        self, pause: Callable[[], Awaitable[None]], topic: str, work: Callable[[int], Awaitable[None]]
    ) -> Callable[[], Awaitable[None]]:
        """Return a loop that works on each owned partition of a topic, after each pause."""

        async def loop() -> None:
            while True:
                await pause()
                for number in self.owned(topic) if self.is_ready else ():
                    async with self.between_rebalances:
                        if self.is_ready and number in self.owned(topic):
                            await work(number)

        return loop

    def owned(self, topic: str) -> Sequence[int]:
        """Return the partitions of a topic that are assigned to this worker."""
        return sorted(tp.partition for tp in self.assignor.assigned_actives() if tp.topic == topic)

    async def rewind(self, topic: str, partition: int, offset: int) -> None:
        """Read a partition from `offset` on."""
        await self.consumer.rewind(TP(topic, partition), offset)

    def caught_up(self, topic: str, partition: int, position: int, since_ms: int) -> bool:
        """Return whether `position` is the end of a partition, by a fetch answered at `since_ms` or later."""
        tp = TP(topic, partition)
        highwater = self.consumer.highwater(tp)
        return highwater is not None and position >= highwater and self.consumer.fetched_at_ms(tp) >= since_ms


def build_app(settings: WorkerSettings) -> WorkerApp:
    """Return a worker, not yet started; nothing is connected before it is."""
    app = WorkerApp(settings)
    limits = Limits(settings.orphan_hold_ms, settings.max_clock_skew_ms, app.schemas)
    cache = rocksdict.Cache(BLOCK_CACHE_BYTES)

    def opener(name: str, index: IndexOf | None) -> Opener:
        table = StateTable(app, name=name, key_type=bytes, value_type=bytes, partitions=settings.partitions)
        app.tables.add(table)
        return Opener(
            table,
            settings.broker,
            app_id=settings.app_id,
            cache=cache,
            index=index,
            reach=app.reach,
            flush_after_s=settings.flush_after_s,
            on_restored=app.metrics.note_restore,
            on_rebuilt=app.metrics.note_rebuilt,
            on_gone=app.metrics.note_gone,
            rewind=app.rewind,
            accepted=settings.accepted_logs,
        )

    join = JoinAgent(
        opener(topics.JOIN_TABLE, due_of),
        app.outbox,
        app.policies,
        app.caught_up,
        limits,
        app.schemas if settings.registry.urls else None,
    )
    learn = LearnAgent(opener(topics.LEARN_TABLE, expires_of), app.outbox)
    signer = None if settings.snapshot_signing_key is None else read_signer(settings.snapshot_signing_key)
    publish = PublishAgent(
        opener(topics.PUBLISH_TABLE, None),
        app.outbox,
        app.policies,
        app.reach,
        signer,
        partial(last_published, app.outbox),
    )
    stages = (join, learn, publish)
    app.metrics.watch(join.partitions)
    app.metrics.count_refused(lambda: app.policies.refused_count)
    steps = app.metrics.steps

    @app.agent(_source(app, topics.DECISIONS, topics.OUTCOMES), name="join")
    async def join_events(stream: Any) -> None:
        await consume(stream, app.consumer, join, steps.labels("join").observe, lambda: JOIN_PACE_S)

    @app.agent(_source(app, topics.REWARDS), name="learn")
    async def fold_ledger(stream: Any) -> None:
        pace_s = partial(learn_pace_s, app.policies.book)
        await consume(stream, app.consumer, learn, steps.labels("learn").observe, pace_s)

    @app.agent(_source(app, topics.STATISTICS), name="publish")
    async def gather_statistics(stream: Any) -> None:
        await consume(stream, app.consumer, publish, steps.labels("publish").observe)

    @app.task
    async def follow_policies() -> None:
        await keep_running(app.policies.follow)

    @app.task
    async def publish_snapshots() -> None:
        pause = partial(publish.until_due, PUBLISH_POLL_S)
        await keep_running(app.whenever(pause, topics.STATISTICS, publish.publish_due))

    @app.task
    async def tick_idle_partitions() -> None:
        await keep_running(
            app.whenever(
                partial(asyncio.sleep, TICK_POLL_S),
                topics.DECISIONS,
                lambda number: join.tick(number, settings.idle_after_s),
            )
        )

    @app.on_partitions_revoked.connect
    async def give_back(*_: Any, **__: Any) -> None:
        async with app.between_rebalances:
            for stage in stages:
                await stage.partitions.close()

    app.on_partitions_assigned.connect(give_back)
    _look_after(app, settings, lambda: [one.held for stage in stages for one in stage.partitions])
    return app


def _look_after(app: WorkerApp, settings: WorkerSettings, opened: Callable[[], Sequence[DurablePartition]]) -> None:
    """Do what time alone asks for, whether anything is read or not."""
    watch = LogWatch(settings.broker, opened)

    @app.task
    async def watch_logs() -> None:
        await keep_running(watch.run)


def learn_pace_s(book: Iterable[PolicyDefinition]) -> float:
    """Return how soon LEARN makes its next step of a partition: what is handed over more often is not published."""
    return min([LEARN_PACE_S, *(definition.publish_interval_ms / 4_000 for definition in book)])


def _source(app: faust.App, *names: str) -> Any:
    """Return topics whose events are batches: bytes go through as they are."""
    return app.topic(*names, schema=faust.Schema(key_serializer="raw", value_serializer="raw"))
