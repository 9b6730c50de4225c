"""The topics, and how they are made: explicitly, with equal partition counts where events are co-partitioned."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from pipeline.errors import ConfigError, NotAllowedError, UnavailableError
from pipeline.stream.refusals import unavailable
from pipeline.stream.security import Address, client_options

DECISIONS = "decisions"
OUTCOMES = "outcomes"
REWARDS = "rewards"
STATISTICS = "statistics"
SNAPSHOTS = "snapshots"
SNAPSHOT_HISTORY = "snapshot-history"
POLICIES = "policies"
DEAD_LETTERS = "dead-letters"
ERASURES = "erasures"
SHADOW_DECISIONS = "shadow-decisions"
AUDIT = "audit"
DEPLOYMENTS = "deployments"
CHECKPOINTS = "checkpoints"
HISTORY_DECISIONS = "history-decisions"
HISTORY_OUTCOMES = "history-outcomes"

JOIN_TABLE = "join"
LEARN_TABLE = "learn"
PUBLISH_TABLE = "publish"

# A producer may send a record that is too large to be used (it becomes a dead letter, whole); steps of a stage
# are written as one record batch, so that a changelog never holds half of one.
MAX_BATCH_BYTES = 8 << 20
DAY_MS = 86_400_000
MAX_REPLICATION = 3
SEEN_WITHIN_S = 15.0
SEEN_EVERY_S = 0.1
AUDIT_KEPT_DAYS = 400
"""A year and a month: whoever audits a year does so after it."""
# What a compacted topic takes on disk, and what of it is read to restore (ops/decisions/0014-compaction.md).
TOMBSTONES_KEPT_MS = 2 * 3_600_000
"""In a changelog; local state that is older has to be built anew (`stream/state/restore.py`). Every decision leaves a
tombstone when its row goes, so a day of them is many times the rows that are open."""
SEGMENT_BYTES = 32 << 20
"""Only closed segments are compacted: at the broker's 1 GiB, a slow partition would not be for weeks."""
SEGMENT_MS = 600_000
"""And a slower one closes its segment after so long."""
COMPACTED_WITHIN_MS = 3_600_000
"""After a write at the latest, however little there is to gain: so long an erased person's row stays on the disk."""
DIRTY_SHARE = 0.3
"""Compacted when so much of it is new; the broker's 0.5 doubles the disk, less rewrites the old more often."""


DEFAULT_PARTITIONS = 4
CO_PARTITIONED = (DECISIONS, OUTCOMES, REWARDS, STATISTICS)
"""And the changelogs: an action's records lie in one partition number of each."""


class TopicSpec(NamedTuple):
    """A topic to be."""

    name: str
    partitions: int
    config: Mapping[str, str]


def changelog_topic(app_id: str, table: str) -> str:
    """Return the name that Faust gives a table's changelog."""
    return f"{app_id}-{table}-changelog"


def partition_for(name: str, partitions: int) -> int:
    """Return the partition of a topic that is keyed by policy name.

    >>> partition_for("homepage", 4)
    2
    """
    return zlib.crc32(name.encode()) % partitions


def topic_specs(app_id: str, partitions: int, *, retention_days: int = 30) -> Sequence[TopicSpec]:
    """Return every topic of a deployment."""
    large = {"max.message.bytes": str(MAX_BATCH_BYTES)}
    kept = {**large, "retention.ms": str(retention_days * DAY_MS)}
    compacted = {
        **large,
        "cleanup.policy": "compact",
        "segment.bytes": str(SEGMENT_BYTES),
        "segment.ms": str(SEGMENT_MS),
        "max.compaction.lag.ms": str(COMPACTED_WITHIN_MS),
        "min.cleanable.dirty.ratio": str(DIRTY_SHARE),
    }
    changelog = {**compacted, "delete.retention.ms": str(TOMBSTONES_KEPT_MS)}
    # The broker's own clock on what producers send: the one clock that far-future event times are held against.
    arriving = {**kept, "message.timestamp.type": "LogAppendTime"}
    tables = [changelog_topic(app_id, table) for table in (JOIN_TABLE, LEARN_TABLE, PUBLISH_TABLE)]
    return [
        TopicSpec(DECISIONS, partitions, arriving),
        TopicSpec(OUTCOMES, partitions, arriving),
        TopicSpec(HISTORY_DECISIONS, partitions, arriving),
        TopicSpec(HISTORY_OUTCOMES, partitions, arriving),
        TopicSpec(REWARDS, partitions, {**kept, "retention.ms": "-1"}),
        TopicSpec(STATISTICS, partitions, compacted),
        TopicSpec(SNAPSHOTS, partitions, compacted),
        TopicSpec(SNAPSHOT_HISTORY, partitions, kept),
        TopicSpec(POLICIES, 1, compacted),
        # Keyed by where a record was read: `pipeline forget` replaces one, and compaction removes what stood there.
        TopicSpec(DEAD_LETTERS, partitions, {**compacted, **kept, "cleanup.policy": "compact,delete"}),
        TopicSpec(ERASURES, 1, {**large, "retention.ms": "-1"}),
        TopicSpec(SHADOW_DECISIONS, partitions, kept),
        TopicSpec(AUDIT, 1, {**kept, "cleanup.policy": "delete", "retention.ms": str(AUDIT_KEPT_DAYS * DAY_MS)}),
        TopicSpec(DEPLOYMENTS, 1, compacted),
        TopicSpec(CHECKPOINTS, partitions, compacted),
        *(TopicSpec(table, partitions, changelog) for table in tables),
    ]


async def create_topics(
    broker: Address, specs: Sequence[TopicSpec], *, replication: int | None = None, in_sync: int | None = None
) -> list[str]:
    """Create the topics that are missing; return their names.

    Args:
        broker: bootstrap servers.
        specs: the topics that are to be there.
        replication: on how many brokers each partition lies; three, or all brokers where there are fewer.
        in_sync: how many of them must have a write before it is acknowledged; one fewer, so that one may be away.

    Raises:
        UnavailableError: the broker refuses.
        ConfigError: a topic exists with another number of partitions, or there are not so many brokers.
    """
    async with _admin(broker) as admin:
        existing = await partition_counts(admin, [spec.name for spec in specs])
        faults = [
            f"topic {spec.name} has {existing[spec.name]} partitions, expected {spec.partitions}: "
            f"start with --partitions {existing[spec.name]}, or use another broker"
            for spec in specs
            if existing.get(spec.name, spec.partitions) != spec.partitions
        ]
        if faults:
            raise ConfigError("topics", faults)
        missing = [spec for spec in specs if spec.name not in existing]
        if missing:
            await _create(admin, missing, replication, in_sync)
            await seen(admin, [spec.name for spec in missing])
        return [spec.name for spec in missing]


async def existing_topics(broker: Address) -> set[str]:
    """Return the names of all topics that this user may see.

    Raises:
        UnavailableError: the broker does not answer.
    """
    async with _admin(broker) as admin:
        return set(await admin.list_topics())


async def deployed_partitions(broker: Address) -> int | None:
    """Return how many partitions the topics have that carry events; None where there are none yet.

    Raises:
        ConfigError: they differ. UnavailableError: the broker does not answer.
    """
    async with _admin(broker) as admin:
        return common_partitions(await partition_counts(admin, CO_PARTITIONED))


def common_partitions(counts: Mapping[str, int]) -> int | None:
    """Return the number of partitions that topics have in common; None where there is no topic.

    >>> common_partitions({"decisions": 12, "outcomes": 12})
    12

    Raises:
        ConfigError: they differ.
    """
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} has {count}" for name, count in counts.items())
        fault = f"partitions: {told}; expected the same of all, or an action's records do not meet: `pipeline doctor`"
        raise ConfigError("topics", [fault])
    return next(iter(counts.values()), None)


async def partition_counts(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, int]:
    """Return the number of partitions of each topic that exists."""
    # A broker that makes topics by itself would make those that are asked for by name, with its own defaults.
    there = set(await admin.list_topics())
    if not (known := [name for name in names if name in there]):
        return {}  # none asked for would be told as all
    described = await admin.describe_topics(known)
    return {
        topic["topic"]: len(topic["partitions"])
        for topic in described
        if topic["error_code"] == 0 and topic["partitions"]
    }


async def seen(admin: AIOKafkaAdminClient, names: Sequence[str]) -> None:
    """Wait until the brokers tell of topics that the controller has just made: whoever comes next needs them.

    Not for ever: a user who may create topics need not be one who may see them.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(SEEN_WITHIN_S):
            while True:
                if len(await partition_counts(admin, names)) == len(names):
                    return
                await asyncio.sleep(SEEN_EVERY_S)


@asynccontextmanager
async def _admin(broker: Address) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**client_options(broker))
    try:
        await admin.start()
        yield admin
    except KafkaError as error:
        raise unavailable(f"no broker answers at {broker}", error, "Describe") from error
    finally:
        await admin.close()


async def _create(
    admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec], replication: int | None, in_sync: int | None
) -> None:
    brokers = len((await admin.describe_cluster())["brokers"])
    copies = min(MAX_REPLICATION, brokers) if replication is None else replication
    needed = max(1, copies - 1) if in_sync is None else in_sync
    faults = []
    if copies > brokers:
        faults.append(f"--replication: {copies}, but there are {brokers} brokers")
    if needed > copies:
        faults.append(
            f"--min-insync-replicas: {needed}, but each partition lies on {copies} brokers: no write would do"
        )
    if faults:
        raise ConfigError("topics", faults)
    # What was acknowledged stays: a broker that lacks it never becomes the leader.
    durable = {"min.insync.replicas": str(needed), "unclean.leader.election.enable": "false"}
    response = await admin.create_topics(
        [NewTopic(spec.name, spec.partitions, copies, topic_configs={**durable, **spec.config}) for spec in specs]
    )
    for name, code, message in response.topic_errors:
        if code not in (0, TopicAlreadyExistsError.errno):
            what = f"the broker did not create topic {name}"
            refused = unavailable(what, for_code(code)(), "Create", name)
            raise (
                refused
                if isinstance(refused, NotAllowedError)
                else UnavailableError(f"{what}: {for_code(code).__name__} {message}")
            )
