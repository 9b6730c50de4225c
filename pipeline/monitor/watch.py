"""Of each policy, what was seen so far. Pure: the moment is given, and what is to be told is returned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pipeline.monitor.label_rate import LabelRate, Look, State
from pipeline.monitor.mix import Mix, mix_of
from pipeline.monitor.reading import Reading
from pipeline.monitor.totals import Totals
from pipeline.policy.definition import PolicyDefinition

MIXED_AFTER = 1_000
"""Decisions that a mix is of, at the least."""


@dataclass(slots=True)
class Watched:
    """One policy, in one generation."""

    counts_as: tuple[object, ...]
    """What a reward is, and when it counts: with another one, what was seen says nothing."""
    label_rate: LabelRate
    is_held: bool = False
    """Whether publishing waits."""
    mix: Mix | None = None
    readings: Mapping[str, Reading] = field(default_factory=dict)
    """By monitor, what the last look said."""
    looked_at_s: float | None = None
    _mixed: Totals | None = None

    def see_mix(self, totals: Totals, definition: PolicyDefinition) -> None:
        """Take in the sums of a moment."""
        if self._mixed is None or totals.count < self._mixed.count:
            self._mixed = totals
        elif totals.count - self._mixed.count >= MIXED_AFTER:
            on_offer = [arm.name for arm in definition.arms if not arm.retired]
            self.mix, self._mixed = mix_of(totals.since(self._mixed), on_offer), totals


@dataclass(slots=True)
class Change:
    """What of a policy's outcomes is another way than it was."""

    before: State
    look: Look
    is_held: bool


@dataclass(slots=True)
class Watch:
    """All policies of a worker."""

    _watched: dict[str, Watched] = field(default_factory=dict)

    def see(self, now_s: float, definition: PolicyDefinition, totals: Totals) -> Change | None:
        """Take in what is about to be published; return what has changed with it."""
        watched = self._watched.get(definition.name)
        reward = definition.reward
        counts_as = (definition.generation, reward, definition.attribution)
        if watched is None or watched.counts_as != counts_as:
            rate = LabelRate(reward.low, reward.high, definition.window_ms / 1000.0)
            watched = self._watched[definition.name] = Watched(counts_as, rate)
        watched.see_mix(totals, definition)
        rule, before = definition.monitors.label_rate, watched.label_rate.state
        look = watched.label_rate.see(now_s, totals, rule)
        watched.is_held = rule.holds and watched.label_rate.state != "ok"
        if look is None or look.state == before:
            return None
        return Change(before, look, watched.is_held)

    def is_due(self, now_s: float, definition: PolicyDefinition) -> bool:
        """Whether it is time for another look by all monitors."""
        watched = self._watched.get(definition.name)
        if watched is None:
            return False
        look_s = definition.monitors.label_rate.look_ms / 1000.0
        return watched.looked_at_s is None or now_s - watched.looked_at_s >= look_s

    def note(self, now_s: float, policy: str, readings: Mapping[str, Reading]) -> list[str]:
        """Take in what they said; return which are red that were not, or no more."""
        watched = self._watched[policy]
        before, watched.readings, watched.looked_at_s = watched.readings, readings, now_s
        was = {name for name, one in before.items() if one.is_red}
        return sorted(was ^ {name for name, one in readings.items() if one.is_red})

    def is_held(self, policy: str) -> bool:
        """Whether a policy's publishing waits until its outcomes are as they were."""
        watched = self._watched.get(policy)
        return watched is not None and watched.is_held

    def __iter__(self) -> Iterator[tuple[str, Watched]]:
        """Yield what is known of each policy."""
        return iter(list(self._watched.items()))
