"""What deciding comes to: an arm with the record to log, or that there is nothing to show. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.events import Decision

Context = Mapping[str, object]
Fallback = Literal[
    "no-snapshot",
    "unencodable-context",
    "unknown-segment",
    "model-failed",
    "no-known-arm",
    "killed",
    "stale-snapshot",
]
Reason = Literal["policy", "fallback", "holdout"]


@dataclass(frozen=True, slots=True)
class Decided:
    """An answer, and the record to log."""

    decision: Decision
    """The record, complete."""
    ignored: int = 0
    """Arms of the caller's list that are unknown or retired."""
    fallback: Fallback | None = None
    """Why the model was not asked; None: it was."""
    detail: str = ""
    """The same in words."""
    shadows: tuple[Decision, ...] = ()
    """What policies in shadow mode would have shown: to be logged apart, never learned from as if it was shown."""

    @property
    def arm(self) -> str:
        """The arm to show."""
        return self.decision.arm

    @property
    def propensity(self) -> float:
        """P(arm | context, snapshot)."""
        return self.decision.propensity

    @property
    def probabilities(self) -> dict[str, float]:
        """Every eligible arm's propensity."""
        return dict(zip(self.decision.eligible, self.decision.probabilities, strict=True))

    @property
    def snapshot_version(self) -> int:
        """The snapshot that decided; 0 if none."""
        return self.decision.snapshot_version

    @property
    def reason(self) -> str:
        """Policy, fallback or holdout."""
        return self.decision.reason


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """There is nothing that could be shown."""

    reason: Literal["no-snapshot", "no-eligible-arm", "no-subject"]
    """One of a closed set."""
    detail: str
    """What was seen, what to do."""
