"""What an analysis has found, as plain values that JSON, tables and pictures are made of. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.analyze.convergence import Personalise, Wait
from pipeline.analyze.groups import Audit
from pipeline.evaluate.log import By
from pipeline.models.advice import Advice


class Estimated(NamedTuple):
    """A mean a decision, with its interval by subject."""

    value: float
    low: float
    high: float


class Level(NamedTuple):
    """Visitors of one level of a field."""

    level: str
    decisions: int
    shown: dict[str, float]
    """Which arms the rule by context shows them, the most frequent first, with their shares."""
    means: dict[str, float]
    """What each arm earns with them."""
    standard_errors: dict[str, float]


class Effect(NamedTuple):
    """Whether the arms' effects differ by a field."""

    field: str
    p_value: float
    adjusted: float
    """Holm's, of all fields."""
    worth: Estimated
    """What the rule by context loses without it."""
    levels: list[Level]


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """All that was found."""

    decisions: int
    """That were compared."""
    subjects: int
    by: By
    arms: tuple[str, ...]
    """That were compared."""
    confidence: float
    personalise: Personalise
    gain: Estimated
    """Of the rule by context, as it was learned, over the best arm for all, a decision."""
    most_gain: float
    """Upper limit of what any rule by these fields gains."""
    least_gain: float
    """Below which a gain is not worth it."""
    values: dict[str, Estimated]
    """By rule."""
    regret: dict[str, Estimated]
    """Of the log against each rule, a decision."""
    effects: list[Effect]
    leader: str
    """Of the arms for all."""
    advice: Advice
    """On the arms for all."""
    arm_values: dict[str, Estimated]
    context_wait: Wait
    """Until context is surely worth it, or surely not."""
    arm_wait: Wait
    """Until one arm for all may be chosen."""
    traffic_per_day: float | None
    groups: Audit | None
    left_out: list[str]
    doubts: list[str]

    def to_plain(self) -> dict[str, Any]:
        """Give the JSON value."""
        return {
            "decisions": self.decisions,
            "subjects": self.subjects,
            "by": self.by,
            "confidence": self.confidence,
            "arms": list(self.arms),
            "personalise": self.personalise,
            "gain": self.gain._asdict(),
            "most_gain": self.most_gain,
            "least_gain": self.least_gain,
            "values": {name: one._asdict() for name, one in self.values.items()},
            "regret": {name: one._asdict() for name, one in self.regret.items()},
            "effects": [
                effect._asdict()
                | {"worth": effect.worth._asdict(), "levels": [level._asdict() for level in effect.levels]}
                for effect in self.effects
            ],
            "one_arm": {
                "leader": self.leader,
                "may_stop": self.advice.may_stop,
                "is_sure": self.advice.is_sure,
                "arms": {
                    arm: value._asdict() | {"p_best": best, "expected_loss": loss}
                    for (arm, value), best, loss in zip(
                        self.arm_values.items(), self.advice.best.tolist(), self.advice.losses.tolist(), strict=True
                    )
                },
            },
            "convergence": {
                "decisions_per_day": self.traffic_per_day,
                "context": self.context_wait._asdict(),
                "one_arm": self.arm_wait._asdict(),
            },
            "groups": None
            if self.groups is None
            else {"shown": [one._asdict() for one in self.groups.shown], "withheld": self.groups.withheld},
            "left_out": self.left_out,
            "doubts": self.doubts,
        }
