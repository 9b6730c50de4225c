"""Any environment, its rewards and features measured in other units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

from pipeline.simulate.environment import Environment, Expecting, Setting


class Measured:
    """Rewards times c and plus d; of features each in turn in one of the units given."""

    def __init__(
        self, environment: Environment, times: float = 1.0, plus: float = 0.0, units: Sequence[tuple[float, float]] = ()
    ) -> None:
        """Take c and d, and (c, d) of features."""
        self._environment, self._times, self._plus = environment, times, plus
        setting: Setting = environment.setting
        names = [str(feature["name"]) for feature in setting.features]
        self._units = {name: units[place % len(units)] if units else (1.0, 0.0) for place, name in enumerate(names)}
        features = []
        for feature, (stretch, shift) in zip(setting.features, self._units.values(), strict=True):
            low, high = (stretch * cast("float", feature[end]) + shift for end in ("low", "high"))
            features.append({**feature, "low": low, "high": high})
        low, high = times * setting.low + plus, times * setting.high + plus
        self.setting = replace(setting, low=low, high=high, features=tuple(features))

    def reset(self, seed: int) -> None:
        """See `Environment`."""
        self._environment.reset(seed)

    def context(self, t: int) -> Mapping[str, object]:
        """See `Environment`."""
        context = self._environment.context(t)
        if not self._units:
            return context
        return {name: c * cast("float", context[name]) + d for name, (c, d) in self._units.items()}

    def reward(self, t: int, arm: int) -> float:
        """See `Environment`."""
        return self._times * cast("float", self._environment.reward(t, arm)) + self._plus

    def best(self, t: int) -> int | None:
        """See `Environment`."""
        return self._environment.best(t)

    def mean(self, t: int, arm: int) -> float:
        """See `Expecting`; where expectations aren't known, what is earned."""
        if isinstance(self._environment, Expecting):
            return self._times * self._environment.mean(t, arm) + self._plus
        return self.reward(t, arm)
