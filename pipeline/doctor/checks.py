"""Facts → findings, purely: what is right, what is worth knowing, what is wrong and which command mends it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from pipeline.doctor.facts import Cluster, Deployment, Operations, Sample, StateFolder, Topic
from pipeline.doctor.requirements import Grant, Need, Role, grants_of, needs_of
from pipeline.stream.log import topics

Status = Literal["ok", "warn", "fail"]

CLOCK_APART_MS = 5_000
"""More than a network and a batch take."""
AHEAD_MS = 300_000
"""What a worker takes by default (`--max-clock-skew-ms`)."""
MISPLACED = 0.01
"""Of keys. A few lie elsewhere after a change of producer; more are a partitioner's."""
FULL_BYTES = 1 << 30
OPTIONAL = (
    topics.ERASURES,
    topics.SHADOW_DECISIONS,
    topics.AUDIT,
    topics.HISTORY_DECISIONS,
    topics.HISTORY_OUTCOMES,
)
"""What workers write to none of: `pipeline forget`, nodes in shadow and operators do."""


class Change(NamedTuple):
    """What `--fix` may do: nothing that loses a record."""

    topic: str
    """Its topic."""
    setting: str
    """What is set; empty: the topic is made."""
    value: str
    """To what."""


class Finding(NamedTuple):
    """One thing that was looked at."""

    status: Status
    """ok, worth knowing, or wrong."""
    what: str
    """Was looked at: `topic decisions`."""
    seen: str
    """Was seen."""
    needed: str = ""
    """Had to be seen, and why."""
    mend: str = ""
    """The command that mends it, or what to do."""
    change: Change | None = None
    """The same, for `--fix`."""
    passes: bool = False
    """Whether it is over when the brokers say so: what waits for that partition waits, and nobody stops for it."""

    @property
    def refuses(self) -> bool:
        """Whether nobody may begin, or go on."""
        return self.status == "fail" and not self.passes

    @property
    def is_told(self) -> bool:
        """Whether it is to be logged by whoever begins or goes on."""
        return self.status == "warn" or (self.status == "fail" and self.passes)

    def in_words(self) -> str:
        """Return one line for a log or an error."""
        parts = [f"{self.what}: {self.seen}"]
        parts += [f"needed: {self.needed}"] if self.needed else []
        parts += [f"mend it by: {self.mend}"] if self.mend else []
        return "; ".join(parts)


def topic_findings(cluster: Cluster, app_id: str, partitions: int | None, broker: str) -> Iterator[Finding]:
    """Look at each topic's existence, settings and replication, and at the partition counts of all."""
    if not cluster.is_askable:
        yield Finding(
            "warn", "topics", "this broker tells nothing of them", "Apache Kafka, or one that speaks as it does"
        )
        return
    for name, needs in needs_of(app_id).items():
        if name not in cluster.topics:
            mend = f"pipeline topics create --broker {broker}"
            status: Status = "warn" if name in OPTIONAL else "fail"
            yield Finding(status, f"topic {name}", "is not there", mend=mend, change=Change(name, "", ""))
        elif (topic := cluster.topics[name]) is not None:
            yield from _setting_findings(name, topic, needs, broker)
    yield from _replication_findings(cluster, broker)
    counts = {name: topic.partitions for name, topic in cluster.topics.items() if topic is not None}
    yield from partition_findings(counts, app_id, partitions)


def _setting_findings(name: str, topic: Topic, needs: tuple[Need, ...], broker: str) -> Iterator[Finding]:
    if topic.settings is None:
        seen, needed = "its settings can't be seen", "the grant DescribeConfigs on it, or nobody can tell what is wrong"
        yield Finding("warn", f"topic {name}", seen, needed, grant_command("topic", name, "DescribeConfigs", broker))
        return
    broken: set[str] = set()
    for need in needs:
        if need.holds(topic.settings) or need.setting in broken:
            continue
        broken.add(need.setting)
        yield Finding(
            "fail" if need.is_strict else "warn",
            f"topic {name}",
            f"{need.setting} = {topic.settings.get(need.setting, 'not told')}",
            f"{need.words}, as otherwise {need.why}",
            f"pipeline doctor --fix --broker {broker}",
            Change(name, need.setting, need.value),
        )
    if not broken:
        yield Finding("ok", f"topic {name}", f"{topic.partitions} partitions, settings as needed")


def _replication_findings(cluster: Cluster, broker: str) -> Iterator[Finding]:
    """Say how many brokers hold what, and how many may be lost; topics that are alike in one finding."""
    alike: dict[tuple[int, int, int | None], list[str]] = {}
    for name, topic in cluster.topics.items():
        if topic is not None:
            needed = None if topic.settings is None else int(topic.settings.get("min.insync.replicas", "1"))
            alike.setdefault((topic.replicas, topic.in_sync, needed), []).append(name)
    for (replicas, in_sync, needed), names in alike.items():
        what = "replication of " + (", ".join(names) if len(alike) > 1 else "all topics")
        if in_sync < (needed or 1):
            seen = f"{in_sync} of {replicas} brokers have all of it"
            mend = "bring the brokers back that are away"
            yield Finding("fail", what, seen, f"{needed}, or no write is taken", mend, passes=True)
        elif replicas == 1:
            seen = "1: a broker that is lost takes it along"
            many = cluster.brokers > 1
            mend = "move it with kafka-reassign-partitions.sh" if many else "add brokers; one is for trying things out"
            yield Finding("warn", what, seen, "3", mend)
        elif needed is not None and needed < 2:
            seen = f"{replicas}, min.insync.replicas = {needed}: one broker's word is enough for a write"
            mend = f"pipeline doctor --fix --broker {broker}"
            for name in names:
                yield Finding(
                    "warn", f"replication of {name}", seen, "2", mend, Change(name, "min.insync.replicas", "2")
                )
        else:
            yield Finding("ok", what, f"{replicas}; {replicas - (needed or 1)} brokers may be lost, and writes go on")


def partition_findings(all_counts: Mapping[str, int], app_id: str, partitions: int | None) -> Iterator[Finding]:
    """Look whether all topics have equal partition counts in which an action's records must meet."""
    changelogs = [topics.changelog_topic(app_id, table) for table in (topics.JOIN_TABLE, topics.LEARN_TABLE)]
    changelogs.append(topics.changelog_topic(app_id, topics.PUBLISH_TABLE))
    counts = {name: all_counts[name] for name in (*topics.CO_PARTITIONED, *changelogs) if name in all_counts}
    # The ledger and the changelogs are written by workers alone: their count is that of what has been learned so far.
    expected = partitions or next((counts[name] for name in (topics.REWARDS, *changelogs) if name in counts), None)
    wrong = {name: count for name, count in counts.items() if count != expected}
    for name, count in wrong.items():
        yield Finding(
            "fail",
            f"partitions of {name}",
            str(count),
            f"{expected}, as the others have: else an action's records do not meet, and some are read by nobody",
            "ops/runbooks/partitions-added.md"
            if count > (expected or 0)
            else f"delete the topic if it is empty, and pipeline topics create --partitions {expected}",
        )
    if counts and not wrong:
        yield Finding("ok", "partitions", f"{expected} of every topic in which records meet")


def grant_findings(cluster: Cluster, role: Role, app_id: str, broker: str) -> Iterator[Finding]:
    """Look at everything that a role must be allowed to do."""
    if not cluster.is_askable:
        return
    lacking = 0
    for grant in grants_of(role, app_id):
        seen = _operations(cluster, grant)
        if seen is None:
            continue
        for operation in grant.operations:
            if operation in seen:
                continue
            lacking += 1
            what = f"{grant.kind} {grant.name}".strip()
            yield Finding(
                "fail" if grant.is_strict else "warn",
                f"grants: {role}",
                f"{operation} on {what} lacks",
                f"{operation} on {what}",
                grant_command(grant.kind, grant.name, operation, broker),
            )
    for name in cluster.refused_ids if role == "worker" else ():
        lacking += 1
        yield Finding(
            "fail",
            "grants: worker",
            f"Write on transactional id {name} lacks",
            f"Write on every transactional id that begins with {app_id}-: a stage claims its partitions by them",
            grant_command("transactional-id", f"{app_id}-", "Write", broker, is_prefix=True),
        )
    if not lacking:
        yield Finding("ok", f"grants: {role}", "all that it needs, as far as the brokers tell")


def _operations(cluster: Cluster, grant: Grant) -> Operations | None:
    match grant.kind:
        case "cluster":
            return cluster.cluster_operations
        case "group":
            return cluster.group_operations
        case "topic":
            if grant.name not in cluster.topics:
                return None  # a finding of its own
            topic = cluster.topics[grant.name]
            return frozenset() if topic is None else topic.operations


def grant_command(kind: str, name: str, operation: str, broker: str, *, is_prefix: bool = False) -> str:
    """Return the command of Kafka's own tool that gives a grant."""
    resource = "--cluster" if kind == "cluster" else f"--{kind} {name}"
    prefix = " --resource-pattern-type prefixed" if is_prefix else ""
    return (
        f"kafka-acls.sh --bootstrap-server {broker} --add --allow-principal User:NAME --operation {operation} "
        f"{resource}{prefix}"
    )


def deployment_findings(deployment: Deployment, cluster: Cluster, now_ms: int) -> Iterator[Finding]:
    """Look at what workers have read, who has which partitions, and what producers send."""
    for name, lag in deployment.lag.items():
        seen = "nobody has read it yet" if lag is None else f"{lag} records not read yet"
        yield Finding("ok" if not lag else "warn", f"lag of {name}", seen)
    decisions = cluster.topics.get(topics.DECISIONS)
    if decisions is not None:
        is_whole = deployment.owned == decisions.partitions
        seen = f"{deployment.members} workers have {deployment.owned} of {decisions.partitions} partitions"
        mend = "" if is_whole else "pipeline worker, or wait while they move"
        yield Finding("ok" if is_whole else "warn", "claims", seen, mend=mend)
    for name, sample in deployment.samples.items():
        yield from _sample_findings(name, sample, now_ms)


def _sample_findings(name: str, sample: Sample, now_ms: int) -> Iterator[Finding]:
    if sample.keyed:
        share = 1.0 - sample.murmur2 / sample.keyed
        seen = f"{sample.murmur2} of {sample.keyed} keys lie where murmur2 puts them, {sample.crc32} where crc32 does"
        if share > MISPLACED:
            needed = "murmur2, as Java's clients have it"
            mend = "set partitioner=murmur2_random in librdkafka's clients (C, Python, Go, .NET, Node)"
            yield Finding("warn", f"partitioner of {name}", seen, needed, mend)
        else:
            yield Finding("ok", f"partitioner of {name}", seen)
    if sample.newest_ms is not None:
        behind_ms = now_ms - sample.newest_ms
        seen = f"its newest record is {behind_ms / 1000:.1f} s old by this machine's clock"
        if behind_ms < -CLOCK_APART_MS:
            needed = "clocks that agree within seconds"
            yield Finding("warn", f"clock of {name}", seen, needed, "run NTP here and on the brokers")
        else:
            yield Finding("ok", f"clock of {name}", seen)
    if sample.ahead_ms > AHEAD_MS:
        seen = f"an event is {sample.ahead_ms / 1000:.0f} s ahead of the broker's clock"
        needed = f"at most {AHEAD_MS / 1000:.0f} s, or it is refused as far-future"
        yield Finding("warn", f"producers of {name}", seen, needed, "mend the producer's clock or unit (milliseconds)")
    if sample.codecs:
        yield Finding("ok", f"codec of {name}", f"{', '.join(sample.codecs)}; gzip, snappy, lz4 and zstd are all read")


def folder_finding(folder: StateFolder) -> Finding:
    """Look at where RocksDB lies."""
    what = f"state in {folder.path}"
    if not folder.is_writable:
        return Finding(
            "fail",
            what,
            "can't be written",
            "a folder that this user may write",
            "chown it, or choose another --state-dir",
        )
    seen = f"{folder.held_bytes >> 20} MiB, {folder.free_bytes >> 20} MiB free"
    if folder.free_bytes < FULL_BYTES:
        return Finding("warn", what, seen, "1 GiB free, or a worker soon ends", "ops/runbooks/disk-full.md")
    if folder.broken:
        told = f"{seen}; {', '.join(folder.broken)} broken"
        return Finding("warn", what, told, mend="pipeline worker builds them anew from their changelogs")
    return Finding("ok", what, seen)


def worst(findings: list[Finding]) -> Status:
    """Return the worst status.

    >>> worst([Finding("ok", "a", ""), Finding("warn", "b", "")])
    'warn'
    """
    order: Mapping[Status, int] = {"ok": 0, "warn": 1, "fail": 2}
    return max((finding.status for finding in findings), key=order.__getitem__, default="ok")


def worker_findings(cluster: Cluster, app_id: str, partitions: int, broker: str) -> Iterator[Finding]:
    """Return what a worker looks at before it starts."""
    yield from topic_findings(cluster, app_id, partitions, broker)
    yield from grant_findings(cluster, "worker", app_id, broker)
