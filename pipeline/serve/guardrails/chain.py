"""The guardrails between a model's weights and the vector that is drawn from, for one snapshot. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from math import inf
from typing import NamedTuple

import numpy as np

from pipeline.models.chances.floor import apply_floors, falling_floors, fit_floors
from pipeline.models.model import Floats
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.guardrails import ExposureCap
from pipeline.serve.guardrails.budget import afford, affordable
from pipeline.serve.guardrails.cap import SOFT, cap, ceiling
from pipeline.serve.guardrails.diversity import spread

KEPT_OFFERS = 256

Guarded = tuple[Floats, tuple[str, ...]]
"""Propensities, and the names of the guardrails that changed something."""


class Exposures(NamedTuple):
    """How often each arm was shown in one window, as a snapshot reports it."""

    window_ms: int
    until_ms: int
    """The latest event time that is in; 0 before the first."""
    counts: Mapping[str, int]
    """By arm."""


class Offer(NamedTuple):
    """What is the same for all decisions between the same arms of a segment."""

    floors: Floats
    """(K,), with those of new arms as far as they fit."""
    has_new: bool
    """Whether any floor is raised for a new arm."""
    costs: Floats
    """(K,), 0 where an arm costs nothing."""
    caps: tuple[tuple[int, ExposureCap], ...]
    """Places of the capped arms, with their caps."""
    rest: float
    """What the floors leave."""


class Guards:
    """A policy's guardrails with the counts of one snapshot."""

    def __init__(
        self, definition: PolicyDefinition, counts: Mapping[str, Mapping[str, int]], exposures: Sequence[Exposures]
    ) -> None:
        self._definition = definition
        self._counts = counts
        self._exposures = {one.window_ms: one for one in exposures}
        self._wait_ms = definition.window_ms if definition.attribution.settle == "wait" else 0
        rails = definition.guardrails
        self._is_plain = rails.diversity <= 1.0 and rails.budget is None and not rails.caps
        self.is_timeless = rails.budget is None and not rails.caps
        """Whether the same weights give the same vector at any time."""
        self.shape_uniform = not self.is_timeless or not definition.floors.are_uniform
        """Whether a uniform vector may come out as another."""
        self._spent = self._cost_so_far()
        self.offer = lru_cache(KEPT_OFFERS)(self._offer)

    def apply(self, segment: str, arms: tuple[str, ...], weights: Floats, now_ms: int) -> Guarded:
        """Return the vector to draw from: a distribution, every floor and ceiling kept as the modules say."""
        offer = self.offer(segment, arms)
        if self._is_plain:
            return offer.floors + offer.rest * weights, NEW_ARMS if offer.has_new else ()
        acted = list(NEW_ARMS) if offer.has_new else []
        weights = self._spread(weights, acted)
        weights, floors = self._afford(weights, offer, now_ms, acted)
        propensities = apply_floors(weights, floors)
        return self._cap(propensities, floors, offer, now_ms, acted), tuple(acted)

    def apply_many(
        self, segment: str, arms: tuple[str, ...], weights: Floats, times_ms: Sequence[int]
    ) -> list[tuple[list[float], tuple[str, ...]]]:
        """Do what `apply` does to each row of weights (m, K) at its time."""
        if not self._is_plain:
            guarded = map(partial(self.apply, segment, arms), weights, times_ms)
            return [(propensities.tolist(), acted) for propensities, acted in guarded]
        offer = self.offer(segment, arms)
        acted = NEW_ARMS if offer.has_new else ()
        return [(row, acted) for row in (offer.floors + offer.rest * weights).tolist()]

    def _spread(self, weights: Floats, acted: list[str]) -> Floats:
        more = spread(weights, self._definition.guardrails.diversity)
        if more is not weights:
            acted.append("diversity")
        return more

    def _afford(self, weights: Floats, offer: Offer, now_ms: int, acted: list[str]) -> tuple[Floats, Floats]:
        budget = self._definition.guardrails.budget
        if budget is None or not offer.costs.any():
            return weights, offer.floors
        is_known = self._is_reported(budget.window_ms, budget.soft, now_ms)
        fraction = affordable(budget.amount, budget.soft, self._spent) if is_known else 0.0
        if fraction >= 1.0:
            return weights, offer.floors
        acted.append("budget" if is_known else "budget-unreported")
        return afford(weights, offer.floors, offer.costs, fraction)

    def _cap(self, propensities: Floats, floors: Floats, offer: Offer, now_ms: int, acted: list[str]) -> Floats:
        if not offer.caps:
            return propensities
        ceilings = np.ones(len(propensities))
        for place, rule in offer.caps:
            ceilings[place] = max(self._ceiling(rule, now_ms), floors[place])
        over = propensities > ceilings
        if not over.any():
            return propensities
        acted.extend(f"cap:{rule.arm}" for place, rule in offer.caps if over[place])
        return cap(propensities, ceilings)

    def _ceiling(self, rule: ExposureCap, now_ms: int) -> float:
        known = self._exposures.get(rule.window_ms)
        if known is None:
            return rule.share
        is_reported = self._is_reported(rule.window_ms, SOFT, now_ms)
        return ceiling(rule.share, known.counts.get(rule.arm, 0), sum(known.counts.values()), is_reported=is_reported)

    def _is_reported(self, window_ms: int, part: float, now_ms: int) -> bool:
        """Whether all but a part of the window's decisions are counted; before the first, none are missing."""
        known = self._exposures.get(window_ms)
        if known is None or known.until_ms <= 0:
            return True
        return now_ms - known.until_ms + self._wait_ms <= part * window_ms

    def _cost_so_far(self) -> float:
        budget = self._definition.guardrails.budget
        known = None if budget is None else self._exposures.get(budget.window_ms)
        if budget is None or known is None:
            return 0.0
        counted = sum(cost * known.counts.get(arm, 0) for arm, cost in sorted(budget.costs.items()))
        # The analysis group costs as the others do, and is in no count.
        analysis = self._definition.analysis
        return counted if analysis is None else counted / (1.0 - analysis.share)

    def _offer(self, segment: str, arms: tuple[str, ...]) -> Offer:
        definition = self._definition
        budget, caps = definition.guardrails.budget, {rule.arm: rule for rule in definition.guardrails.caps}
        costs = {} if budget is None else budget.costs
        floors, has_new = self._floors(segment, arms)
        return Offer(
            floors,
            has_new,
            np.array([costs.get(arm, 0.0) for arm in arms]),
            tuple((place, caps[arm]) for place, arm in enumerate(arms) if arm in caps),
            max(0.0, 1.0 - (len(arms) * floors[0] if (floors == floors[0]).all() else floors.sum())),
        )

    def _floors(self, segment: str, arms: tuple[str, ...]) -> tuple[Floats, bool]:
        definition = self._definition
        floors = definition.floors
        seen = self._counts.get(segment, {})
        # A candidate is never new: what is learned of one is learned of all.
        declared_arms = definition.arm_set if definition.candidates else frozenset(arms)
        tried = np.array([seen.get(arm, 0) if arm in declared_arms else inf for arm in arms], np.float64)
        general = np.full(len(arms), definition.floor)
        if floors.share is not None:
            general = falling_floors(floors.share, tried)
        declared = np.array([floors.floor_for(segment, arm, g) for arm, g in zip(arms, general.tolist(), strict=True)])
        if floors.new_arms is None:
            return fit_floors(declared, declared), False
        is_new = tried < floors.new_arms.until
        wanted = np.where(is_new, np.maximum(declared, floors.new_arms.floor), declared)
        return fit_floors(declared, wanted), bool((wanted > declared).any())


NEW_ARMS = ("new-arms",)
