"""A log as an environment, by rejection: where a player chooses what the log showed, it's known what comes of it.

(Li, Chu, Langford & Wang 2011.) Unbiased for logs that were drawn uniformly. Others are thinned first, so that every
row is kept with a chance of (the least propensity) / (its own); many rows are lost so.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline.demo.logged import read_log
from pipeline.simulate.environment import Setting


class OpenBandit:
    """An Open Bandit campaign: items are arms, positions segments; rows come in an order of the seed's."""

    def __init__(self, data: str) -> None:
        """Take the campaign's folder."""
        self._log = read_log(Path(data))
        items = sorted({row.item for row in self._log}, key=int)
        place = {item: i for i, item in enumerate(items)}
        self._arms = np.array([place[row.item] for row in self._log])
        self._propensities = np.array([row.propensity for row in self._log])
        positions = sorted({row.position for row in self._log})
        rules = [{"name": str(position), "when": {"position": {"equals": position}}} for position in positions]
        self.setting = Setting(tuple(items), segments={"default": "other", "rules": rules}, decisions=len(self._log))
        self.reset(0)

    def reset(self, seed: int) -> None:
        """See `Environment`."""
        rng = np.random.default_rng((seed, 0))
        self._order = rng.permutation(len(self._log))
        self._is_kept = rng.random(len(self._log)) * self._propensities <= self._propensities.min()

    def context(self, t: int) -> Mapping[str, object]:
        """See `Environment`."""
        return {"position": self._log[self._row(t)].position}

    def reward(self, t: int, arm: int) -> float | None:
        """See `Environment`."""
        row = self._row(t)
        if arm != self._arms[row] or not self._is_kept[row]:
            return None
        return float(self._log[row].is_clicked)

    def best(self, t: int) -> None:
        """Nobody knows."""
        del t

    def _row(self, t: int) -> int:
        return int(self._order[t % len(self._order)])
