"""What is watched while a policy learns, and from where on it is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.policy.durations import duration_text


@dataclass(frozen=True, slots=True)
class LabelRateRule:
    """When outcomes have stopped, or jump."""

    low: float = 0.2
    """Less than this of what is expected is a stop; expectations that are off by less are life."""
    high: float = 5.0
    """More than this of it is a jump."""
    look_ms: int = 600_000
    """How long is looked at the least; longer where too little is expected to tell."""
    holds: bool = False
    """Whether publishing waits until it is over; if not, it is told alone."""

    def to_plain(self) -> dict[str, object]:
        """Give the JSON value."""
        return {"low": self.low, "high": self.high, "look": duration_text(self.look_ms), "hold": self.holds}


@dataclass(frozen=True, slots=True)
class Monitors:
    """All of them."""

    label_rate: LabelRateRule = field(default_factory=LabelRateRule)
    """Of outcomes, weighed by their worth."""

    def to_plain(self) -> dict[str, object]:
        """Give the JSON value; what was never said is left out."""
        return {} if self == Monitors() else {"label_rate": self.label_rate.to_plain()}
