"""What was seen; nothing here judges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

Operations = frozenset[str]
"""What Kafka lets this user do with a resource, by Kafka's words: Read, Write, Describe."""


class Topic(NamedTuple):
    """One topic."""

    partitions: int
    """How many it has."""
    replicas: int
    """On how many brokers its least replicated partition lies."""
    in_sync: int
    """How many brokers have all of the partition that fewest have all of."""
    settings: Mapping[str, str] | None
    """Its configuration; None: this user may not see it."""
    operations: Operations | None
    """What this user may do; None: the broker does not tell."""


class Cluster(NamedTuple):
    """The brokers and what they hold for a deployment."""

    brokers: int
    """How many are up."""
    topics: Mapping[str, Topic | None]
    """By name, of those that were asked for; None: it is there, but this user may not see it. Others are absent."""
    cluster_operations: Operations | None = None
    """What this user may do with the cluster."""
    group_operations: Operations | None = None
    """What this user may do with the consumer group; empty: not even see it."""
    refused_ids: tuple[str, ...] = ()
    """Transactional ids that this user may not write under."""
    is_askable: bool = True
    """Whether the broker answers such questions; the embedded one does not."""


class Sample(NamedTuple):
    """The last records of one source topic."""

    keyed: int
    """How many had a key and were no tick."""
    murmur2: int
    """How many of them lie where Java's partitioner puts their key."""
    crc32: int
    """How many lie where librdkafka's default puts it."""
    newest_ms: int | None
    """The broker's time of the newest record; None: there is none."""
    ahead_ms: int
    """How far the furthest event is ahead of the broker's time of its record."""
    codecs: tuple[str, ...] = ()
    """That the topic or its producers compress with, as far as it can be told."""


class Claimed(NamedTuple):
    """Who may write under a transactional id: whoever took it last."""

    state: str
    """Of its last transaction, by Kafka's words: Empty, Ongoing, CompleteCommit."""
    producer_id: int
    """That the owner writes by."""
    epoch: int
    """Goes up by one with every owner."""
    started_at_ms: int
    """When an open transaction began; -1: none is open."""
    timeout_ms: int
    """After which the broker aborts it."""


class Deployment(NamedTuple):
    """What goes on in a running one."""

    lag: Mapping[str, int | None]
    """By topic that a stage reads, how many records are not read yet; None: nobody has committed anything."""
    members: int
    """Workers of the consumer group."""
    owned: int
    """Partitions of `decisions` that a worker has."""
    samples: Mapping[str, Sample]
    """By source topic."""
    holders: Mapping[str, int] = {}
    """By worker, how many partitions of `decisions` it has."""


class StateFolder(NamedTuple):
    """Where a worker's RocksDB lies."""

    path: str
    """Its place."""
    is_writable: bool
    """Whether this user may write there."""
    free_bytes: int
    """On its disk."""
    held_bytes: int
    """By what is in it."""
    broken: tuple[str, ...] = ()
    """Databases that are marked as broken; they are built anew."""
