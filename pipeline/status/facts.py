"""What was seen of a deployment; nothing here judges. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

STAGES = {"join": ("decisions", "outcomes"), "learn": ("rewards",), "publish": ("statistics",)}
"""By stage, what it reads."""


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """One topic."""

    partitions: int
    end: int
    """All partitions' stable ends together."""
    rate_per_s: float
    """Offsets that it grew by, while it was looked at."""
    lag_records: int | None
    """Offsets that the group has not committed; None: it has committed nothing, or the broker does not tell."""


@dataclass(frozen=True, slots=True)
class StageFacts:
    """One stage, over all workers that answered."""

    lag_records: int = 0
    lag_s: float = 0.0
    """Of the partition that is furthest behind."""
    handled: int = 0
    """Records, since the workers began."""
    claimed: int = 0
    """Partitions that are claimed, restored and read."""
    failed: Sequence[str] = ()
    """Partitions that stand still."""


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """Decisions or outcomes: conservation (law 5), over all workers that answered."""

    fates: Mapping[str, int]
    """Records by what became of them, `read` among them."""
    unaccounted: int
    """Read, less all other fates."""
    watermark_ms: int | None
    """The smallest of all partitions that have one."""


@dataclass(frozen=True, slots=True)
class FigureFacts:
    """One number of a monitor."""

    name: str
    of: str
    """The feature or the like that it is of; empty: of the policy."""
    value: float


@dataclass(frozen=True, slots=True)
class MonitorFacts:
    """What a monitor said at its last look."""

    is_red: bool = False
    figures: Sequence[FigureFacts] = ()
    withheld: str = ""
    """Why it says nothing, by a word of `monitor/reading.py`."""


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """One worker that was asked."""

    url: str
    fault: str = ""
    """Why there is nothing else of it."""
    stages: Mapping[str, StageFacts] = field(default_factory=dict)
    streams: Mapping[str, StreamFacts] = field(default_factory=dict)
    event_time_lag_s: float | None = None
    """Of the partition that is furthest behind the clock."""
    open_actions: int = 0
    """Decisions that are not settled."""
    published: Mapping[str, int] = field(default_factory=dict)
    """By policy, the last version."""
    held: Sequence[str] = ()
    """Policies that an operator holds."""
    alarms: Mapping[str, str] = field(default_factory=dict)
    """By policy whose outcomes are not as they were: stopped, or jumped."""
    waiting: Sequence[str] = ()
    """Policies that are not published while they are so."""
    label_rates: Mapping[str, float] = field(default_factory=dict)
    """By policy, what came in the last look over what was expected."""
    monitors: Mapping[str, Mapping[str, MonitorFacts]] = field(default_factory=dict)
    """By policy and monitor."""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One serving node that was asked."""

    url: str
    fault: str = ""
    """Why there is nothing else of it."""
    status: str = ""
    """By its own words: ok, degraded, no-snapshot."""
    versions: Mapping[str, int] | None = None
    """By policy, which decides; None: it tells operators alone."""
    undelivered: int | None = None
    """Records that wait for the broker; None: it tells operators alone."""
    dropped: int | None = None
    """Records that were shed; likewise."""


@dataclass(frozen=True, slots=True)
class DeploymentFacts:
    """All of it."""

    topics: Mapping[str, TopicFacts]
    members: Mapping[str, int]
    """By worker of the group, how many partitions of `decisions` it has; empty where the broker does not tell."""
    claims: Mapping[str, str | None] | None
    """By owner name, producer id and epoch; None: nobody's; None for all: they can't be seen."""
    workers: Sequence[WorkerFacts]
    nodes: Sequence[NodeFacts]
