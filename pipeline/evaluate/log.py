"""A log of decisions, column by column: what was shown, how likely that was, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.evaluate.folds import folds_of
from pipeline.models.model import Floats

Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]


By = Literal["subject", "action", "subject, else action"]


class Clusters(NamedTuple):
    """What varies independently."""

    unit: Indices
    """(N,) which one each decision belongs to."""
    how_many: int
    by: By
    without_subject: int
    """Decisions that stand for themselves: nobody is known who they were made for."""


@dataclass(frozen=True, eq=False)
class DecisionLog:
    """N decisions among K arms, in order of time."""

    arms: tuple[str, ...]
    """Every arm that was offered."""
    segments: tuple[str, ...]
    """Every segment that occurs."""
    arm: Indices
    """(N,) index into `arms`: what was shown."""
    segment: Indices
    """(N,) index into `segments`."""
    reward: Floats
    """(N,) what it earned."""
    propensity: Floats
    """(N,) how likely the arm shown was, in (0, 1]."""
    contexts: Sequence[Mapping[str, object]]
    """N raw contexts."""
    decided_at_ms: Indices
    """(N,) when it was shown, epoch milliseconds."""
    offer: Indices
    """(N,) index into `offered` and `possible`."""
    offered: Mask
    """(offers, K) which arms could have been shown to this visitor."""
    possible: Mask
    """(offers, K) which of those the logging policy gave a propensity above 0, as far as is known."""
    bounds: tuple[float, float]
    """Smallest and largest reward."""
    weight_bound_known: bool
    """Whether every decision's whole probability vector was logged."""
    least_propensity: Floats
    """(N,) the smallest propensity above 0 that an arm had; of the arm shown, where the vector was not logged."""

    actions: Sequence[str] = ()
    """N names of the decisions; empty: their numbers."""
    subjects: Sequence[str | None] = ()
    """N persons, hashed, None where nobody is known; empty: nobody is."""

    def __post_init__(self) -> None:
        if not len(self):
            raise ConfigError("the log", ["holds no decision to evaluate from"])
        low, high = self.bounds
        outside = (self.reward < low) | (self.reward > high)
        if outside.any():
            seen = float(self.reward[outside][0])
            raise ConfigError("the log", [f"reward {seen!r} lies outside its bounds {low!r} to {high!r}"])
        wrong = ~((self.propensity > 0.0) & (self.propensity <= 1.0))
        if wrong.any():
            seen = float(self.propensity[wrong][0])
            raise ConfigError("the log", [f"propensity {seen!r} of decision {int(wrong.argmax())} is not in (0, 1]"])

    def __len__(self) -> int:
        return len(self.arm)

    def take(self, places: Indices) -> DecisionLog:
        """Return the decisions at some places, in their order."""
        columns = ("arm", "segment", "reward", "propensity", "decided_at_ms", "offer", "least_propensity")
        chosen = {name: getattr(self, name)[places] for name in columns}
        listed = places.tolist()
        return replace(
            self,
            contexts=[self.contexts[place] for place in listed],
            actions=[self.action_of(place) for place in listed],
            subjects=[self.subject_of(place) for place in listed],
            **chosen,
        )

    def action_of(self, place: int) -> str:
        """Name a decision."""
        return self.actions[place] if self.actions else str(place)

    def subject_of(self, place: int) -> str | None:
        """Return whom a decision was made for, hashed."""
        return self.subjects[place] if self.subjects else None

    @cached_property
    def units(self) -> tuple[str, ...]:
        """N names of what varies independently: the subject, or the action where there is none."""
        seen: set[str] = set()
        names = []
        for place in range(len(self)):
            subject = self.subject_of(place)
            name = subject or f"action {self.action_of(place)}"
            if subject is None:
                if name in seen:  # an id that came again is another decision
                    name = f"{name} at {self.decided_at_ms[place]}"
                seen.add(name)
            names.append(name)
        return tuple(names)

    @cached_property
    def clusters(self) -> Clusters:
        """Return the subjects, and beside them the actions that have none."""
        codes: dict[str, int] = {}
        unit = np.array([codes.setdefault(name, len(codes)) for name in self.units], np.int64)
        without = sum(self.subject_of(place) is None for place in range(len(self)))
        by: By = "action" if without == len(self) else "subject, else action" if without else "subject"
        return Clusters(unit, len(codes), by, without)

    @cached_property
    def folds(self) -> Indices:
        """(N,) the fold of each decision."""
        return folds_of(self.units)

    @cached_property
    def choices(self) -> tuple[tuple[str, ...], ...]:
        """Names of the arms on offer, by offer."""
        return tuple(tuple(self.arms[arm] for arm in np.flatnonzero(offered).tolist()) for offered in self.offered)

    @property
    def mean_reward(self) -> float:
        """What the logging policy earned a decision."""
        return float(self.reward.mean())
