"""What a play of visitors came to."""

from __future__ import annotations

from typing import Any, NamedTuple

from pipeline.demo.freshness import FreshnessReport
from pipeline.demo.visitors import Floats


class Curves(NamedTuple):
    """Cumulative regret after each visitor, (N,) each, all on the same visitors."""

    policy: Floats
    uniform: Floats
    ab_test: Floats


class ArmRow(NamedTuple):
    """One arm of one segment."""

    segment: str
    arm: str
    is_best: bool
    """By the true means."""
    share: float
    """Of the last third of the segment's visitors."""
    true_mean: float
    mean: float
    """Posterior mean; `low` and `high` are its central 95 %."""
    low: float
    high: float


class VisitorsReport(NamedTuple):
    """The whole."""

    visitors: int
    """How many were to come; fewer did where the loop could not take them in time."""
    decisions: int
    settled: int
    rejected: int
    seconds: float
    """From the first visitor to the snapshot that holds everything."""
    arms: list[ArmRow]
    """Segment by segment."""
    curves: Curves
    freshness: FreshnessReport
    snapshot: dict[str, str | int]

    @property
    def best_arm_share(self) -> dict[str, float]:
        """How much of the last third of each segment's visitors saw its best arm."""
        return {row.segment: row.share for row in self.arms if row.is_best}

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that programs read."""
        policy, uniform, ab_test = (round(float(curve[-1]), 3) for curve in self.curves)
        return {
            "decisions": self.decisions,
            "regret": policy,
            "regret_uniform": uniform,
            "regret_ab": ab_test,
            "freshness_ms": {"p50": round(self.freshness.p50_ms, 1), "p99": round(self.freshness.p99_ms, 1)},
            "best_arm_share": {segment: round(share, 4) for segment, share in self.best_arm_share.items()},
            "snapshot": self.snapshot,
            "settled": self.settled,
            "rejected": self.rejected,
            "seconds": self.seconds,
        }

    def faults(self) -> list[str]:
        """Say in words what a policy that has learned would not do."""
        faults = []
        policy, uniform = float(self.curves.policy[-1]), float(self.curves.uniform[-1])
        if policy >= uniform / 2:
            faults.append(f"its regret of {policy:.0f} is not below half of chance's {uniform:.0f}")
        for best in (row for row in self.arms if row.is_best):
            shares = {row.arm: row.share for row in self.arms if row.segment == best.segment}
            most = max(shares, key=lambda arm: shares[arm])
            if most != best.arm:
                faults.append(f"segment {best.segment} was shown {most} most, its best arm is {best.arm}")
        return faults
