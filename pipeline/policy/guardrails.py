"""What holds a policy's choices within bounds, as its file declares it; how each acts stands in `serve/guardrails`.

Parts that are not declared are not written: a policy without guardrails has the text, and so the hash, it always had.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pipeline.models.chances.floor import LEAST_PART
from pipeline.policy.durations import duration_text
from pipeline.policy.segments import Condition, are_met, conditions_to_plain

RolloutMode = Literal["serve", "shadow", "apprentice"]
Plain = dict[str, object]


@dataclass(frozen=True, slots=True)
class NewArms:
    """A floor for arms that little is known of."""

    floor: float
    """Their smallest propensity; as much of it as fits where many arms are new."""
    until: int
    """Observations in the segment from which an arm is no longer new."""

    def to_plain(self) -> Plain:
        """Give the JSON value."""
        return {"floor": self.floor, "until": self.until}


@dataclass(frozen=True, slots=True)
class Floors:
    """Where the exploration floor is another than the policy's."""

    arms: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Of an arm, in every segment."""
    segments: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Of a segment, for the arms without one of their own."""
    new_arms: NewArms | None = None
    """Of arms that little is known of, where it is higher."""
    share: float | None = None
    """What all arms without a floor of their own have together, at first; it falls as they are tried. None: the
    policy's floor is each arm's."""

    @property
    def go_by_counts(self) -> bool:
        """Whether they depend on how often an arm was tried."""
        return self.share is not None or self.new_arms is not None

    @property
    def are_uniform(self) -> bool:
        """Whether they leave a uniform vector as it is."""
        return not (self.arms or self.segments or self.new_arms)

    def floor_for(self, segment: str, arm: str, floor: float) -> float:
        """Return an arm's declared floor, given the policy's; whether the arm is new is not looked at."""
        return self.arms.get(arm, self.segments.get(segment, floor))

    def least(self, floor: float, arms: int) -> float:
        """Return what no arm of so many is drawn less often than, where none has a floor of its own."""
        return floor if self.share is None else self.share * LEAST_PART / max(arms, 1)

    def to_plain(self, floor: float) -> Plain:
        """Give the JSON value of `[exploration]`, given the policy's floor."""
        new_arms = None if self.new_arms is None else self.new_arms.to_plain()
        parts = {"arms": dict(self.arms), "segments": dict(self.segments), "new_arms": new_arms}
        return ({"floor": floor} if self.share is None else {"share": self.share}) | _declared(parts)


@dataclass(frozen=True, slots=True)
class EligibilityRule:
    """When some arms may be shown, by context."""

    arms: tuple[str, ...]
    """The arms it is about."""
    only_when: tuple[Condition, ...] = ()
    """All must be met, or the arms are not eligible; a missing field meets nothing."""
    never_when: tuple[Condition, ...] = ()
    """If there are any and all are met, the arms are not eligible."""

    def admits(self, context: Mapping[str, object]) -> bool:
        """Whether its arms may be shown in this context."""
        if not are_met(self.only_when, context):
            return False
        return not self.never_when or not are_met(self.never_when, context)

    def to_plain(self) -> Plain:
        """Give the JSON value."""
        parts = {"only_when": conditions_to_plain(self.only_when), "never_when": conditions_to_plain(self.never_when)}
        return {"arms": list(self.arms), **_declared(parts)}


@dataclass(frozen=True, slots=True)
class Holdout:
    """A share of subjects that the policy does not decide for, so that its lift can be measured."""

    share: float
    """Of subjects, in (0, 1)."""
    salt: str = ""
    """Another salt holds other subjects out."""

    def to_plain(self) -> Plain:
        """Give the JSON value."""
        return {"share": self.share, **_declared({"salt": self.salt})}


@dataclass(frozen=True, slots=True)
class FrequencyCap:
    """How often one subject is shown one arm."""

    shows: int
    """At most so many times."""
    window_ms: int
    """Within this long."""

    def to_plain(self) -> Plain:
        """Give the JSON value."""
        return {"shows": self.shows, "window": duration_text(self.window_ms)}


@dataclass(frozen=True, slots=True)
class ExposureCap:
    """An arm's largest share of the policy's decisions."""

    arm: str
    """The arm."""
    share: float
    """Of the decisions in the window, in (0, 1]."""
    window_ms: int
    """How far back decisions are counted, in whole buckets of statistics."""

    def to_plain(self) -> Plain:
        """Give the JSON value."""
        return {"arm": self.arm, "share": self.share, "window": duration_text(self.window_ms)}


@dataclass(frozen=True, slots=True)
class Budget:
    """What showing arms may cost."""

    amount: float
    """At most this much in a window, in the unit of `costs`."""
    window_ms: int
    """How far back costs are counted, in whole buckets of statistics."""
    costs: Mapping[str, float] = field(hash=False)
    """What showing an arm costs, for those that cost anything."""
    soft: float = 0.2
    """The last part of the amount, over which costly arms become rarer."""

    def to_plain(self) -> Plain:
        """Give the JSON value."""
        plain: Plain = {"amount": self.amount, "window": duration_text(self.window_ms), "costs": dict(self.costs)}
        return plain | {"soft": self.soft}


@dataclass(frozen=True, slots=True)
class Guardrails:
    """All of a policy's guardrails but the floors."""

    control: str = ""
    """What is shown to the holdout, and while the policy is killed or stale; empty: any eligible arm, uniformly."""
    diversity: float = 1.0
    """Least effective number of arms, 1/Σw²."""
    stale_after_ms: int = 0
    """Age from which a snapshot is not asked any more; 0: never."""
    eligibility: tuple[EligibilityRule, ...] = ()
    """An arm must be admitted by every rule that is about it."""
    holdout: Holdout | None = None
    """Who is not decided for."""
    frequency: FrequencyCap | None = None
    """How often a subject is shown an arm."""
    caps: tuple[ExposureCap, ...] = ()
    """Largest shares of arms, at most one an arm."""
    budget: Budget | None = None
    """What showing arms may cost."""

    @property
    def windows_ms(self) -> tuple[int, ...]:
        """Return the windows that decisions are counted over, shortest first."""
        budget = () if self.budget is None else (self.budget.window_ms,)
        return tuple(sorted({*(cap.window_ms for cap in self.caps), *budget}))

    def to_plain(self) -> Plain:
        """Give the JSON value."""
        return _declared(
            {
                "control": self.control,
                "diversity": None if self.diversity == 1.0 else self.diversity,
                "stale_after": duration_text(self.stale_after_ms) if self.stale_after_ms else None,
                "eligibility": [rule.to_plain() for rule in self.eligibility],
                "holdout": None if self.holdout is None else self.holdout.to_plain(),
                "frequency": None if self.frequency is None else self.frequency.to_plain(),
                "caps": [cap.to_plain() for cap in self.caps],
                "budget": None if self.budget is None else self.budget.to_plain(),
            }
        )


@dataclass(frozen=True, slots=True)
class Switches:
    """What an operator has switched off for now."""

    is_killed: bool = False
    """The model is not asked: control, or uniform."""
    arms: tuple[str, ...] = ()
    """Arms that are not shown, sorted."""

    def to_plain(self) -> Plain:
        """Give the JSON value."""
        return _declared({"policy": self.is_killed, "arms": list(self.arms)})


@dataclass(frozen=True, slots=True)
class Rollout:
    """A policy that is to follow another one, gradually."""

    of: str
    """The policy that is asked for."""
    share: float
    """Of its subjects, in [0, 1]: those whom this policy decides for."""
    mode: RolloutMode = "serve"
    """serve: its decisions are shown; shadow: it decides for them and logs, and the other is shown; apprentice: what
    the other decides is shown, and this policy learns from it."""
    salt: str = ""
    """Another salt begins with other subjects."""
    until: str = ""
    """Of an apprentice: the condition over figures that it is to meet before it is shown itself."""

    def to_plain(self) -> Plain:
        """Give the JSON value."""
        parts = _declared({"salt": self.salt, "until": self.until})
        return {"of": self.of, "share": self.share, "mode": self.mode, **parts}


def _declared(parts: Mapping[str, object]) -> Plain:
    return {key: part for key, part in parts.items() if part}
