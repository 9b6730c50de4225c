"""The worker's wiring, top to bottom: topic → stage → topic.

decisions, outcomes ─ JOIN ─▶ rewards ─ LEARN ─▶ statistics ─ PUBLISH ─▶ snapshots

Faust's agents subscribe the group to the topics; of what the group gives to this worker, lanes read every partition
(`log/lanes.py`), from the end of a rebalance to the beginning of the next.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import faust
import rocksdict
from faust.types import TP
from mode import Service

from pipeline.checkpoint.write import Checkpoints
from pipeline.doctor.watch import ClusterWatch
from pipeline.errors import StateError
from pipeline.join.agent import JoinAgent
from pipeline.join.step import Limits
from pipeline.join.stored_row import due_of
from pipeline.learn.agent import LearnAgent
from pipeline.learn.memory import expires_of
from pipeline.metrics.listener import Listener
from pipeline.policy.definition import PolicyDefinition
from pipeline.publish.agent import PublishAgent
from pipeline.publish.signing import read_signer
from pipeline.publish.versions import last_published
from pipeline.registry.lookup import Schemas
from pipeline.settings import WorkerSettings
from pipeline.stream.credentials import faust_credentials
from pipeline.stream.event_loop import StallWatch
from pipeline.stream.failpoints import failpoint
from pipeline.stream.health import LaneHealth, WorkerHealth, health_pages, worker_health
from pipeline.stream.log import topics
from pipeline.stream.log.chores import Chores
from pipeline.stream.log.deployment import watch_deployment
from pipeline.stream.log.group import GroupTransport
from pipeline.stream.log.handover import Handover
from pipeline.stream.log.lanes import EXIT_CRASHED, EXIT_LANE_FAILED, Lanes, end_process, keep_running
from pipeline.stream.log.outbox import Outbox
from pipeline.stream.log.reader import LogReader
from pipeline.stream.log.watch import LogWatch
from pipeline.stream.metrics import WorkerMetrics
from pipeline.stream.policies import Policies
from pipeline.stream.security import servers_of
from pipeline.stream.state.durable import DurablePartition
from pipeline.stream.state.restore import Opener
from pipeline.stream.state.tables import BLOCK_CACHE_BYTES, IndexOf, StateTable
from pipeline.stream.timeouts import IDLE_CONNECTION_MS, METADATA_AGE_MS, REBALANCE_WITHIN_S, answer_within_s

log = logging.getLogger(__name__)

PUBLISH_POLL_S = 0.02
"""How soon a new definition or directive is seen; what is learned says so itself."""
JOIN_PACE_S = 0.08
"""Of a partition, JOIN begins no step sooner after the one before. What outcomes wait for it, half of it in the mean,
is paid back in CPU: with 0.05 there were 1.6 times the steps. Single runs do not tell 0.06 from 0.1. A record that
comes alone does not wait (ops/decisions/0024-pace.md)."""
LEARN_PACE_S = 0.25
"""LEARN's, at most: it hands over statistics four times as often as the most eager policy publishes."""
PAY_POLL_S = 0.1
TICK_POLL_S = 0.5
CHECKPOINT_POLL_S = 1.0


class WorkerApp(faust.App):
    """Faust's app, with this worker's own connections opened before its agents and closed after them."""

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(
            settings.app_id,
            broker=[f"kafka://{server}" for server in servers_of(settings.broker)],
            broker_credentials=faust_credentials(settings.broker),
            datadir=settings.state_dir,
            store="rocksdb://",
            consumer_auto_offset_reset="earliest",
            broker_commit_interval=settings.commit_interval_s,
            broker_session_timeout=settings.session_timeout_s,
            broker_heartbeat_interval=settings.session_timeout_s / 4,
            broker_rebalance_timeout=REBALANCE_WITHIN_S,
            broker_request_timeout=answer_within_s(settings.session_timeout_s),
            consumer_metadata_max_age_ms=METADATA_AGE_MS,
            consumer_connections_max_idle_ms=IDLE_CONNECTION_MS,
            producer_metadata_max_age_ms=METADATA_AGE_MS,
            producer_connections_max_idle_ms=IDLE_CONNECTION_MS,
            table_standby_replicas=0,
            stream_wait_empty=True,  # `log/group.py` says for what
            # Topics are made by `pipeline topics create`, with the settings that the stages count on.
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
            worker_redirect_stdouts=False,
        )
        self.transport = GroupTransport(self.conf.broker, self)
        self._settings = settings
        self.metrics = WorkerMetrics()
        self.reach = failpoint(settings.failpoint)
        self.outbox = Outbox(settings.broker)
        self.policies = Policies(settings.broker)
        self.schemas = Schemas(settings.registry)
        self.reader = LogReader(settings.broker)
        self.lanes: list[Lanes] = []
        """Of each stage."""
        self._handover = Handover()
        self._listener: Listener | None = None

    async def on_start(self) -> None:
        """Connect before anything is consumed."""
        await self.outbox.start()
        await self.policies.start()
        await self.reader.start()
        if self._settings.metrics_port is not None:
            self.metrics.belongs_to(asyncio.get_running_loop())
            self._listener = Listener(self._settings.metrics_host, self._settings.metrics_port)
            port = self._listener.start(self.metrics.registry, health_pages(self.health, asyncio.get_running_loop()))
            log.info("metrics url=http://%s:%s/metrics", self._settings.metrics_host, port)
        await super().on_start()

    async def on_shutdown(self) -> None:
        """Disconnect after everything has stopped."""
        await super().on_shutdown()
        if self._listener is not None:
            await self._listener.stop()
        await self.give_back()
        await self.reader.stop()
        await self.policies.stop()
        await self.schemas.close()
        await self.outbox.stop()

    @Service.task
    async def _watch_event_loop(self) -> None:
        await keep_running(StallWatch(self.metrics.note_stall).run)

    @Service.task
    async def _watch_cluster(self) -> None:
        settings = self._settings
        await keep_running(ClusterWatch(settings.broker, settings.app_id, settings.partitions).run)

    @Service.task
    async def _watch_deployment(self) -> None:
        await keep_running(partial(watch_deployment, self._settings.broker, self._settings.app_id))

    @property
    def is_ready(self) -> bool:
        """Whether partitions are assigned, and nothing is being moved."""
        return bool(self.tables.actives_ready) and not self.rebalancing

    def health(self) -> WorkerHealth:
        """Return how this worker is."""
        lanes = [
            LaneHealth(each.stage.name, number, each.is_open(number), has_failed)
            for each in self.lanes
            for number, has_failed in each.has_failed.items()
        ]
        standings = [standing for each in self.lanes for standing in each.standings()]
        return worker_health(time.time_ns() // 1_000_000, lanes, standings, is_assigned=self.is_ready)

    def on_rebalance_end(self) -> None:
        """Begin to read what is assigned."""
        super().on_rebalance_end()
        for lanes in self.lanes:
            lanes.start(self.owned(lanes.topics[0]))

    async def rest(self, *_: Any, **__: Any) -> None:
        """Read no more, and finish what is begun. What is open stays so: a rebalance may leave it here."""
        await asyncio.gather(*(lanes.rest() for lanes in self.lanes))

    async def hand_over(self, _: Any, assigned: Iterable[TP], **__: Any) -> None:
        """Close what was open and is not this worker's any more, or may have been another's meanwhile."""
        await self.rest()
        await self._handover.assigned(self.consumer_generation_id, assigned, self.lanes)

    async def give_back(self) -> None:
        """Read no more, and close what is open: rows that are in memory alone go to the disk."""
        await self.rest()
        for lanes in self.lanes:
            await lanes.stage.partitions.close_all()

    def note_lane(self, stage: str, number: int, has_failed: bool) -> None:
        """Show whether a lane has stopped for good; end the process where that was asked for, or where all have."""
        self.metrics.note_lane(stage, number, has_failed=has_failed)
        if has_failed and self._settings.ends_on_failed_lane:
            end_process(EXIT_LANE_FAILED)
        states = [state for lanes in self.lanes for state in lanes.has_failed.values()]
        if states and all(states):
            log.critical("all-lanes-stopped count=%s", len(states))
            end_process(EXIT_CRASHED)

    def ready(self, topic: str) -> Sequence[int]:
        """Return the partitions of a topic that may be worked on now."""
        return self.owned(topic) if self.is_ready else ()

    def owned(self, topic: str) -> Sequence[int]:
        """Return the partitions of a topic that are assigned to this worker."""
        return sorted(tp.partition for tp in self.assignor.assigned_actives() if tp.topic == topic)

    def caught_up(self, topic: str, partition: int, position: int, since_ms: int) -> bool:
        """Return whether `position` is the end of a partition, by a fetch answered at `since_ms` or later."""
        tp = TP(topic, partition)
        # When, before what: an end is never older than the time that was read before it.
        answered_at_ms = self.consumer.fetched_at_ms(tp)
        end = self.consumer.highwater(tp)
        return end is not None and position >= end and answered_at_ms >= since_ms


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
        app.metrics.note_published,
    )
    stages = (join, learn, publish)
    app.metrics.watch(join.partitions, publish.partitions, app.lanes, publish.watch)
    app.metrics.count_owed(learn.owed)
    app.metrics.count_refused(lambda: app.policies.refused_count)

    def lanes_of(stage: Any, *names: str, pace_s: Callable[[], float] = lambda: 0.0) -> Lanes:
        lanes = Lanes(
            stage,
            names,
            app.reader,
            lambda tp, offset: app.consumer.acknowledge(TP(*tp), offset),
            pace_s=pace_s,
            observe=app.metrics.observe_steps(stage.name),
            on_state=app.note_lane,
            reach=app.reach,
        )
        app.lanes.append(lanes)
        app.agent(_source(app, *names), name=stage.name)(_nothing)
        return lanes

    join_lanes = lanes_of(join, topics.DECISIONS, topics.OUTCOMES, pace_s=lambda: JOIN_PACE_S)
    learn_lanes = lanes_of(learn, topics.REWARDS, pace_s=partial(learn_pace_s, app.policies.book))
    join_lanes.downstream = learn_lanes
    publish_lanes = lanes_of(publish, topics.STATISTICS)
    due = partial(publish.until_due, PUBLISH_POLL_S)
    publishing = Chores(publish_lanes, partial(app.ready, topics.STATISTICS), due, publish.publish_due)
    paying = Chores(learn_lanes, partial(app.ready, topics.REWARDS), partial(asyncio.sleep, PAY_POLL_S), learn.pay)
    some_time = partial(asyncio.sleep, TICK_POLL_S)
    tick = partial(join.tick, idle_after_s=settings.idle_after_s)
    ticking = Chores(join_lanes, partial(app.ready, topics.DECISIONS), some_time, tick)

    checkpoints = Checkpoints(
        settings.broker,
        learn.rows_of,
        settings.checkpoint_every_s,
        lambda point: app.reach(f"checkpoint.{point}"),
        on_written=app.metrics.note_checkpoint,
    )
    at_times = partial(asyncio.sleep, CHECKPOINT_POLL_S)
    owned = partial(app.ready, topics.REWARDS)
    checkpointing = Chores(learn_lanes, owned, at_times, checkpoints.write_if_due, waits=False)

    @app.task
    async def follow_policies() -> None:
        await keep_running(app.policies.follow)

    @app.task
    async def publish_snapshots() -> None:
        await keep_running(publishing.run)

    @app.task
    async def pay_owed_statistics() -> None:
        await keep_running(paying.run)

    @app.task
    async def write_checkpoints() -> None:
        await keep_running(checkpointing.run)

    @app.task
    async def tick_idle_partitions() -> None:
        await keep_running(ticking.run)

    app.on_partitions_revoked.connect(app.rest)
    app.on_partitions_assigned.connect(app.hand_over)
    _look_after(app, settings, lambda: [one.held for stage in stages for one in stage.partitions])
    return app


def _look_after(app: WorkerApp, settings: WorkerSettings, opened: Callable[[], Sequence[DurablePartition]]) -> None:
    """Do what time alone asks for, whether anything is read or not."""
    watch = LogWatch(settings.broker, opened, [topics.POLICIES])

    @app.task
    async def watch_logs() -> None:
        await keep_running(watch.run)


def learn_pace_s(book: Iterable[PolicyDefinition]) -> float:
    """Return how soon LEARN makes its next step of a partition: what is handed over more often is not published."""
    return min([LEARN_PACE_S, *(definition.publish_interval_ms / 4_000 for definition in book)])


def _source(app: faust.App, *names: str) -> Any:
    return app.topic(*names, schema=faust.Schema(key_serializer="raw", value_serializer="raw"))


async def _nothing(stream: Any) -> None:
    """Stand by: the agent subscribes its topics, and lanes read them."""
    async for _ in stream:
        raise StateError("Faust has fetched a record: its consumer was not paused")
