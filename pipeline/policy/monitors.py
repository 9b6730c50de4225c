"""What is watched while a policy learns, and from where on it is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from pipeline.policy.durations import duration_text


class Threshold(NamedTuple):
    """From where on a monitor is red, where the policy does not say."""

    default: float
    highest: float
    """That may be declared."""
    of: str
    """What is held against it."""
    source: str
    """Where the default is from."""


THRESHOLDS: Mapping[str, Threshold] = MappingProxyType(
    {
        "reward": Threshold(
            0.2, 100.0, "share by which mean, spread, p5 or p95 of rewards moved", "a fifth: what owners act on"
        ),
        "features": Threshold(
            0.2, 100.0, "population stability index of a feature", "Siddiqi 2006: below 0.1 none, from 0.25 on large"
        ),
        "unusual": Threshold(
            0.05, 1.0, "points by which missing, unknown or out-of-bounds values became more", "a value in twenty"
        ),
        "association": Threshold(
            0.2, 2.0, "change of a feature's correlation with rewards", "Cohen 1988: halfway from small to medium"
        ),
        "calibration": Threshold(
            0.2, 100.0, "share by which rewards differ from what contexts foretold", "a fifth, as for rewards"
        ),
        "regret": Threshold(
            0.2, 1.0, "share of the best arms' rewards that was certainly forgone", "a fifth, as for rewards"
        ),
        "draws": Threshold(
            0.01, 1.0, "chance in a month of a false alarm, looked at whenever", "Lindon & Malek 2022, with its level"
        ),
        "propensities": Threshold(
            0.1, 100.0, "share by which arms were drawn more or less often than by their propensity", "a tenth"
        ),
        "log": Threshold(
            100.0, 1e9, "effective decisions for the evaluation of a uniform policy, at the least", "Owen 2013, ch. 9"
        ),
        "fallbacks": Threshold(0.01, 1.0, "share of decisions that no model made", "as the alert on nodes"),
        "holdout": Threshold(
            0.25, 100.0, "share by which decisions held out differ from the declared ones", "a quarter of them"
        ),
        "delays": Threshold(0.2, 100.0, "population stability index of how late outcomes come", "as for features"),
    }
)
"""By monitor: `[monitors] thresholds = { reward = 0.3 }` in a policy."""


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
    sample: float = 0.0
    """Share of decisions of which draws, delays and the like are counted beside the sums."""
    declared: tuple[tuple[str, float], ...] = ()
    """Thresholds that are others than the defaults, sorted."""

    def threshold(self, monitor: str) -> float:
        """Return from where on a monitor is red."""
        return dict(self.declared).get(monitor, THRESHOLDS[monitor].default)

    def to_plain(self) -> dict[str, object]:
        """Give the JSON value; what was never said is left out."""
        parts: dict[str, object] = {}
        if self.label_rate != LabelRateRule():
            parts["label_rate"] = self.label_rate.to_plain()
        if self.sample:
            parts["sample"] = self.sample
        if self.declared:
            parts["thresholds"] = dict(self.declared)
        return parts
