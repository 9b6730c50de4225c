"""Vowpal Wabbit as a player: contextual bandits by `--cb_explore_adf`, with arms crossed with the context."""

from __future__ import annotations

import numpy as np
import vowpalwabbit

from benchmarks.peers.memory import Memory
from pipeline.simulate.environment import Setting
from pipeline.simulate.player import Choices, Moments, News

CONFIGURATIONS = {
    "eps 0.05": "--epsilon 0.05",
    "squarecb 10": "--squarecb --gamma_scale 10",
    "squarecb 100": "--squarecb --gamma_scale 100",
    "squarecb 10, pairs": "--squarecb --gamma_scale 10 --interactions xxa",
    "regcbopt": "--regcbopt --mellowness 0.01 --cb_min_cost -1 --cb_max_cost 0",
}


def configurations(setting: Setting) -> list[str]:
    """Return what it is tuned over in an environment."""
    del setting
    return list(CONFIGURATIONS)


class VowpalPlayer:
    """One configuration; learns what has settled, as it can't take anything back."""

    settle = "wait"

    def __init__(self, configuration: str, setting: Setting, seed: int) -> None:
        self.name = f"VW {configuration}"
        self._memory = Memory(setting)
        self._span = setting.high - setting.low
        self._offered: dict[int, tuple[int, ...]] = {}
        self._rng = np.random.default_rng((seed, 3))
        options = f"--cb_explore_adf --cb_type mtr -q xa {CONFIGURATIONS[configuration]} --quiet --random_seed {seed}"
        self._workspace = vowpalwabbit.Workspace(options)

    def choose(self, moments: Moments) -> Choices:
        """See `Player`."""
        self._memory.encode(moments)
        arms, propensities = [], []
        for place, u in zip(moments.places.tolist(), self._rng.random(len(moments.places)).tolist(), strict=True):
            chances = np.array(self._workspace.predict(self._lines(place, moments.eligible)))
            drawn = min(int(np.searchsorted(np.cumsum(chances), u * chances.sum(), side="right")), len(chances) - 1)
            arms.append(moments.eligible[drawn])
            propensities.append(float(chances[drawn] / chances.sum()))
            self._memory.arm[place], self._memory.propensity[place] = arms[-1], propensities[-1]
            self._offered[place] = moments.eligible
        return Choices(np.array(arms), np.array(propensities))

    def learn(self, news: News) -> None:
        """See `Player`."""
        places = news.places.tolist()
        for place, reward in zip(places, news.after.tolist(), strict=True):
            cost = -(reward - self._memory.low) / self._span
            eligible = self._offered.pop(place)
            chosen = eligible.index(self._memory.arm[place])
            self._workspace.learn(self._lines(place, eligible, (chosen, cost, self._memory.propensity[place])))
        self._memory.forget(places)

    def _lines(self, place: int, eligible: tuple[int, ...], label: tuple[int, float, float] | None = None) -> list[str]:
        x = self._memory.x[place].tolist()
        features = " ".join(f"f{i}:{value:.5g}" for i, value in enumerate(x)) or "constant"
        lines = [f"shared |x segment={self._memory.segment[place]} {features}", *(f"|a arm={arm}" for arm in eligible)]
        if label is not None:
            chosen, cost, propensity = label
            lines[1 + chosen] = f"0:{cost:.6g}:{propensity:.6g} {lines[1 + chosen]}"
        return lines
