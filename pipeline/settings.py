"""What an operator sets, validated whole before anything is connected."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from pipeline.errors import ConfigError
from pipeline.registry.settings import RegistrySettings
from pipeline.stream.log.continuity import Accepted
from pipeline.stream.security import Address, servers_of

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")

LogFormat: TypeAlias = Literal["text", "json"]

SESSION_TIMEOUT_S = (6.0, 300.0)
"""The broker's own bounds, unless its operator has set others: `group.min.session.timeout.ms`."""
COMMIT_INTERVAL_S = (0.05, 60.0)
"""What is committed is what a restart does not read again: a minute of it is a restart's work."""
ORPHAN_HOLD_MS = (0, 30 * 86_400_000)
"""Up to the longest window."""
CLOCK_SKEW_MS = (0, 86_400_000)
CHECKPOINT_EVERY_S = 0.0
"""None, until somebody asks for them. Six hours suit: a proof folds a quarter of a day, and four heads are nothing."""
MOST_CHECKPOINT_EVERY_S = 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """A worker process."""

    broker: Address
    """Bootstrap servers, `host:port[,host:port]`."""
    state_dir: Path
    """Where RocksDB lives; one worker process a folder."""
    app_id: str = "pipeline"
    """Consumer group, and prefix of the changelog topics."""
    partitions: int = 4
    """Partitions of every topic that carries events."""
    declare_topics: bool = True
    """Whether missing topics are created; the embedded broker can't."""
    session_timeout_s: float = 10.0
    """How long the broker waits for a silent worker before its partitions move."""
    commit_interval_s: float = 0.5
    """How often source offsets are committed."""
    flush_after_s: float = 900.0
    """How long rows are in RocksDB's memory and in the changelog alone, at the most."""
    checkpoint_every_s: float = CHECKPOINT_EVERY_S
    """How often LEARN's state is written to `checkpoints`; 0: never."""
    idle_after_s: float = 2.0
    """Wall-clock silence after which an idle partition's event time moves on."""
    orphan_hold_ms: int = 3_600_000
    """Event time that an outcome waits for its decision."""
    max_clock_skew_ms: int = 300_000
    """How far an event may be ahead of the broker's clock."""
    accepted_logs: dict[str, Accepted] = field(default_factory=dict)
    """By topic: a log that is another than the one that was read, and is to be read all the same."""
    registry: RegistrySettings = field(default_factory=RegistrySettings)
    """Where the schemas of records in a registry's frame are."""
    metrics_host: str = "127.0.0.1"
    """Address that Prometheus asks at."""
    metrics_port: int | None = None
    """Its port, 0 for a free one; None: nobody asks."""
    snapshot_signing_key: Path | None = None
    """PEM file of the Ed25519 key that published snapshots are signed with; None: they are not."""
    log_level: str = "INFO"
    log_format: LogFormat = "text"
    """Of this process's log."""
    ends_on_failed_lane: bool = False
    """Whether the process ends (75) when one partition of one stage can't go on; if not, the others do."""
    failpoint: str = ""
    """Where a fault test ends the process (`stream/failpoints.py`)."""

    def __post_init__(self) -> None:
        faults = []
        if any(":" not in server for server in servers_of(self.broker)):
            faults.append(f"broker: {str(self.broker)!r} is not host:port[,host:port]")
        if not _NAME.fullmatch(self.app_id):
            faults.append(f"app_id: {self.app_id!r} does not match {_NAME.pattern}")
        if not 1 <= self.partitions <= 10_000:
            faults.append(f"partitions: {self.partitions} is not within 1 to 10000")
        faults += [
            f"{name}: {seen} is not within {low:g} to {high:g}"
            for name, seen, low, high in (
                ("session_timeout_s", self.session_timeout_s, *SESSION_TIMEOUT_S),
                ("commit_interval_s", self.commit_interval_s, *COMMIT_INTERVAL_S),
                ("flush_after_s", self.flush_after_s, 0.0, 3_600.0),
                ("checkpoint_every_s", self.checkpoint_every_s, 0.0, MOST_CHECKPOINT_EVERY_S),
                ("orphan_hold_ms", self.orphan_hold_ms, *ORPHAN_HOLD_MS),
                ("max_clock_skew_ms", self.max_clock_skew_ms, *CLOCK_SKEW_MS),
            )
            if not low <= seen <= high
        ]
        if self.metrics_port is not None and not 0 <= self.metrics_port <= 65_535:
            faults.append(f"metrics_port: {self.metrics_port} is not within 0 to 65535")
        if faults:
            raise ConfigError("worker settings", faults)
