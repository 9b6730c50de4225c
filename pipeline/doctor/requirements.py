"""The declaration: what each topic's settings must be, and what each role must be allowed to do.

`pipeline topics create` makes topics that meet it. A cluster's defaults do not: records carry their producer's time, a
changelog loses rows after a week, a step of eight megabytes is refused. What breaks exactness is needed; the rest is
advised, with what it costs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from pipeline.stream.log import topics

Settings = Mapping[str, str]
Role = Literal["worker", "node", "operator", "producer", "analyst"]

WEEK_MS = 7 * topics.DAY_MS
YEAR_MS = 365 * topics.DAY_MS
FOREVER = "-1"


class Need(NamedTuple):
    """What a topic's setting must be."""

    setting: str
    """Kafka's name of it."""
    holds: Callable[[Settings], bool]
    """Whether it is so."""
    words: str
    """What is needed, for people."""
    value: str
    """What `pipeline doctor --fix` sets it to."""
    why: str
    """What happens otherwise."""
    is_strict: bool = True
    """Whether exactness breaks otherwise; a worker refuses to start then."""


def needs_of(app_id: str) -> dict[str, tuple[Need, ...]]:
    """Return the needs of each topic of a deployment, by name."""
    changelogs = [
        topics.changelog_topic(app_id, table) for table in (topics.JOIN_TABLE, topics.LEARN_TABLE, topics.PUBLISH_TABLE)
    ]
    kinds: list[tuple[tuple[str, ...], tuple[Need, ...]]] = [
        ((topics.DECISIONS, topics.OUTCOMES), (BROKERS_TIME, NOT_COMPACTED, LARGE, REACHES_BACK)),
        (
            (topics.HISTORY_DECISIONS, topics.HISTORY_OUTCOMES),
            tuple(need._replace(is_strict=False) for need in (BROKERS_TIME, NOT_COMPACTED, LARGE, REACHES_BACK)),
        ),
        ((topics.REWARDS, topics.ERASURES), (*KEPT_FOR_EVER, NOT_COMPACTED, LARGE)),
        ((topics.STATISTICS, topics.SNAPSHOTS, topics.POLICIES), (*COMPACTED, LARGE, ERASED_IN_TIME)),
        ((topics.DEPLOYMENTS,), COMPACTED),
        ((topics.CHECKPOINTS,), tuple(need._replace(is_strict=False) for need in (*COMPACTED, LARGE, ERASED_IN_TIME))),
        (tuple(changelogs), (*COMPACTED, LARGE, TOMBSTONES_KEPT, ERASED_IN_TIME)),
        ((topics.SNAPSHOT_HISTORY,), (NOT_COMPACTED, LARGE)),
        ((topics.DEAD_LETTERS,), (REPLACED_LETTERS_GO, ERASED_IN_TIME, LARGE)),
        ((topics.SHADOW_DECISIONS,), (LARGE._replace(is_strict=False),)),
        ((topics.AUDIT,), (NOT_COMPACTED._replace(is_strict=False), KEPT_A_YEAR)),
    ]
    return {name: (*needs, CLEAN_LEADERS) for names, needs in kinds for name in names}


def _number(settings: Settings, name: str, default: int) -> int:
    text = settings.get(name, "")
    return int(text) if text.lstrip("-").isdigit() else default


def _deletes(settings: Settings) -> bool:
    """Whether records go because they are old, or because there are many."""
    is_bounded = settings.get("retention.ms") != FOREVER or settings.get("retention.bytes", FOREVER) != FOREVER
    return "delete" in settings.get("cleanup.policy", "delete") and is_bounded


BROKERS_TIME = Need(
    "message.timestamp.type",
    lambda settings: settings.get("message.timestamp.type") == "LogAppendTime",
    "LogAppendTime",
    "LogAppendTime",
    "a producer's own clock would stand where the broker's is counted on, and close others' windows",
)
NOT_COMPACTED = Need(
    "cleanup.policy",
    lambda settings: "compact" not in settings.get("cleanup.policy", "delete"),
    "delete",
    "delete",
    "of several records with one key all but the last would go, and each of them counts",
)
REPLACED_LETTERS_GO = Need(
    "cleanup.policy",
    lambda settings: "compact" in settings.get("cleanup.policy", "delete"),
    "compact, beside delete",
    "compact,delete",
    "what `pipeline forget` replaces in it would stay until its retention is over",
    is_strict=False,
)
KEPT_FOR_EVER = (
    Need(
        "retention.ms",
        lambda settings: settings.get("retention.ms") == FOREVER,
        FOREVER,
        FOREVER,
        "every posterior is a function of all of it: what goes can't be proven or counted again",
    ),
    Need(
        "retention.bytes",
        lambda settings: settings.get("retention.bytes", FOREVER) == FOREVER,
        FOREVER,
        FOREVER,
        "every posterior is a function of all of it: what goes can't be proven or counted again",
    ),
)
COMPACTED = (
    Need(
        "cleanup.policy",
        lambda settings: not _deletes(settings),
        "compact",
        "compact",
        "a row that nothing has changed for the retention's time would be gone",
    ),
    Need(
        "cleanup.policy",
        lambda settings: settings.get("cleanup.policy") == "compact",
        "compact",
        "compact",
        "what was written over is never removed: the topic grows, and so does each restore",
        is_strict=False,
    ),
)
LARGE = Need(
    "max.message.bytes",
    lambda settings: _number(settings, "max.message.bytes", 0) >= topics.MAX_BATCH_BYTES,
    f"at least {topics.MAX_BATCH_BYTES}",
    str(topics.MAX_BATCH_BYTES),
    "a step of a stage is one batch of up to so many bytes, and the broker would refuse it",
)
TOMBSTONES_KEPT = Need(
    "delete.retention.ms",
    lambda settings: _number(settings, "delete.retention.ms", 0) >= topics.TOMBSTONES_KEPT_MS,
    f"at least {topics.TOMBSTONES_KEPT_MS}",
    str(topics.TOMBSTONES_KEPT_MS),
    "a worker that comes back later than that would have rows again that are gone",
)
CLEAN_LEADERS = Need(
    "unclean.leader.election.enable",
    lambda settings: settings.get("unclean.leader.election.enable", "false") == "false",
    "false",
    "false",
    "a broker that lacks records may lead, and what was acknowledged is gone",
)
REACHES_BACK = Need(
    "retention.ms",
    lambda settings: not 0 <= _number(settings, "retention.ms", WEEK_MS) < WEEK_MS,
    f"at least {WEEK_MS}",
    str(30 * topics.DAY_MS),
    "replay, forget and a worker that was away reach no further back",
    is_strict=False,
)
KEPT_A_YEAR = Need(
    "retention.ms",
    lambda settings: not 0 <= _number(settings, "retention.ms", WEEK_MS) < YEAR_MS,
    f"at least {YEAR_MS}",
    str(topics.AUDIT_KEPT_DAYS * topics.DAY_MS),
    "nobody can tell any more who did what",
    is_strict=False,
)
ERASED_IN_TIME = Need(
    "min.compaction.lag.ms",
    lambda settings: _number(settings, "min.compaction.lag.ms", 0) <= topics.COMPACTED_WITHIN_MS,
    f"at most {topics.COMPACTED_WITHIN_MS}",
    "0",
    "what was written over, an erased person's row too, stays on the brokers' disks for so long",
    is_strict=False,
)


class Grant(NamedTuple):
    """What a role must be allowed to do with one resource."""

    kind: Literal["topic", "group", "cluster"]
    """Of resource; transactional ids are seen by asking (`gather`)."""
    name: str
    """Of the resource."""
    operations: tuple[str, ...]
    """By Kafka's words. Read and Write bring Describe with them."""
    is_strict: bool = True
    """Whether the role can't do its work otherwise."""


def grants_of(role: Role, app_id: str) -> list[Grant]:
    """Return the grants of a role; docs/brokers.md, "Grants", says them for people."""
    every = sorted(needs_of(app_id))
    changelogs = [name for name in every if name.endswith("-changelog")]
    match role:
        case "worker":
            both = (topics.DECISIONS, topics.OUTCOMES, topics.REWARDS, topics.STATISTICS, topics.SNAPSHOTS, *changelogs)
            found = _on(both, "Read", "Write")
            found += _on((topics.SNAPSHOT_HISTORY, topics.DEAD_LETTERS), "Write") + _on((topics.POLICIES,), "Read")
            found += _on((topics.DEPLOYMENTS,), "Read", "Write")
            found.append(Grant("topic", topics.CHECKPOINTS, ("Read", "Write"), is_strict=False))
            found.append(Grant("group", app_id, ("Read",)))
        case "node":
            found = _on((topics.SNAPSHOTS, topics.POLICIES), "Read") + _on((topics.DECISIONS, topics.OUTCOMES), "Write")
            found.append(Grant("topic", topics.SHADOW_DECISIONS, ("Write",), is_strict=False))
        case "operator":
            written = (topics.POLICIES, topics.DECISIONS, topics.OUTCOMES, topics.STATISTICS, topics.ERASURES)
            loaded = (topics.HISTORY_DECISIONS, topics.HISTORY_OUTCOMES)
            found = _on(every, "Read") + _on((*written, *loaded, topics.DEAD_LETTERS, topics.AUDIT), "Write")
            found += [Grant("topic", name, ("DescribeConfigs", "AlterConfigs"), is_strict=False) for name in every]
            found += [Grant("group", app_id, ("Describe",)), Grant("cluster", "", ("Create",), is_strict=False)]
        case "producer":
            found = _on((topics.DECISIONS, topics.OUTCOMES), "Write")
        case "analyst":
            read = (topics.DECISIONS, topics.OUTCOMES, topics.REWARDS, topics.STATISTICS, topics.SNAPSHOTS)
            found = _on(
                (
                    *read,
                    topics.CHECKPOINTS,
                    topics.SNAPSHOT_HISTORY,
                    topics.POLICIES,
                    topics.DEAD_LETTERS,
                    topics.ERASURES,
                ),
                "Read",
            )
    return found


def transactional_ids(app_id: str, partitions: int) -> list[str]:
    """Return the names that a worker's stages claim: one for each partition of each table."""
    tables = (topics.JOIN_TABLE, topics.LEARN_TABLE, topics.PUBLISH_TABLE)
    return [f"{app_id}-{table}-{number}" for table in tables for number in range(partitions)]


def _on(names: tuple[str, ...] | list[str], *operations: str) -> list[Grant]:
    return [Grant("topic", name, operations) for name in names]
