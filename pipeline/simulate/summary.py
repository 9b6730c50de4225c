"""Many runs of one player → means and standard errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.models.model import Floats
from pipeline.simulate.run import Run

CURVE_POINTS = 200


@dataclass(frozen=True, eq=False)
class Summary:
    """What a player did in an environment, over R runs of N decisions."""

    environment: str
    player: str
    decisions: int
    regrets: Floats
    """(R,) cumulative regret at the end; NaN where nobody knows."""
    rewards: Floats
    """(R,) reward a decision."""
    best_shares: Floats
    """(R,) share of the best arm in the last tenth; NaN where nobody knows."""
    known: int
    """Decisions of all runs whose reward is known: of a log, those that it could answer."""
    at: Floats
    """(points,) after how many decisions the curve is told."""
    curves: Floats
    """(R, points) cumulative regret up to there."""
    kinds: Mapping[str, Floats] = field(default_factory=dict)
    """(R,) how much of each kind came a decision, where the environment tells."""
    left_out: tuple[str, ...] = ()
    """What of the policy the environment can't be asked about."""
    fallbacks: Mapping[str, int] = field(default_factory=dict)
    """In how many decisions of all runs the model was not asked, by why."""

    @property
    def regret(self) -> float:
        """Mean cumulative regret."""
        return float(self.regrets.mean())

    @property
    def regret_error(self) -> float:
        """Its standard error; 0 of a single run."""
        return standard_error(self.regrets)

    @property
    def has_regret(self) -> bool:
        """Whether anybody knows what would have been best."""
        return bool(np.isfinite(self.regrets).all())

    def to_plain(self) -> dict[str, Any]:
        """Give the JSON value."""
        regret = {"regret": self.regret, "regret_error": self.regret_error, "regrets": self.regrets.tolist()}
        return {
            "environment": self.environment,
            "policy": self.player,
            "decisions": self.decisions,
            "repetitions": len(self.regrets),
            **(regret if self.has_regret else {"regret": None, "regret_error": None}),
            "reward": float(self.rewards.mean()),
            "reward_error": standard_error(self.rewards),
            "best_share": float(self.best_shares.mean()) if self.has_regret else None,
            "known": self.known,
            "left_out": list(self.left_out),
            "fallbacks": dict(self.fallbacks),
            **({"kinds": {kind: _with_error(means) for kind, means in self.kinds.items()}} if self.kinds else {}),
        }


def summarise(
    environment: str,
    player: str,
    runs: Sequence[Run],
    *,
    left_out: tuple[str, ...] = (),
    fallbacks: Mapping[str, int] | None = None,
) -> Summary:
    """Sum up runs of equal length."""
    n = len(runs[0].arms)
    places = np.unique(np.linspace(0, n - 1, min(n, CURVE_POINTS)).astype(np.int64))
    last = slice(n - max(n // 10, 1), n)
    return Summary(
        environment=environment,
        player=player,
        decisions=n,
        regrets=np.array([one.total_regret for one in runs]),
        rewards=np.array([one.mean_reward for one in runs]),
        best_shares=np.array([float(one.is_best[last].mean()) for one in runs]),
        known=sum(int((~np.isnan(one.rewards)).sum()) for one in runs),
        at=(places + 1).astype(np.float64),
        curves=np.stack([one.regrets.cumsum()[places] for one in runs]),
        kinds={kind: np.array([float(one.kinds[kind].mean()) for one in runs]) for kind in runs[0].kinds},
        left_out=left_out,
        fallbacks=fallbacks or {},
    )


def _with_error(means: Floats) -> dict[str, float]:
    return {"mean": float(means.mean()), "error": standard_error(means)}


def standard_error(values: Floats) -> float:
    """Return the standard error of a mean; 0 for one value.

    >>> standard_error(np.array([1.0, 3.0]))
    1.0
    """
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
