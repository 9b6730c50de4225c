"""A bootstrapped ensemble of ridge regressions per arm (Eckles & Kaptein 2014; Osband, Aslanides & Cassirer 2018).

Each of 30 members has seen half of the arm's decisions twice and the rest not at all (`groups.py`), and begins with
coefficients of its own:

    θ_m = (λI + Σ_g w_mg A_g)⁻¹ (Σ_g w_mg b_g + λ θ0_m),    w_mg ∈ {0, 2},   θ0_m ~ N(0, spread² I)

so that members differ by what decisions leave open and, before there are any, as the prior says. What a reward is
off its prediction by is not asked for: the members' spread measures it, and also where noise depends on the context,
or no line follows what is learned.

An arm is drawn by the chance that one of its members, taken at random, says more than one of every other arm's, each
taken at random as well. Decisions are of one arm each, so members of different arms have nothing in common, and the
chance is counted out exactly over all combinations of members, 30^K, not over 30. Equal ones share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import ClassVar

import numpy as np

from pipeline.errors import StateError
from pipeline.models.grid import FEATURE_BITS, Grid
from pipeline.models.model import NORMAL_975, AlgorithmInfo, Estimates, Floats, Parameter, Posterior, Sums
from pipeline.models.regressions.linear import RIDGE, solve
from pipeline.models.sums.groups import MEMBERS, GroupSums, halves


@dataclass(frozen=True)
class LinearEnsemble:
    """See the module."""

    name: ClassVar[str] = "linear_ensemble"

    ridge: float
    """λ: how many observations of each feature at 1 a member's beginning is worth."""
    spread: float
    """Standard deviation of a coefficient over members that have seen nothing, in reward units a feature unit."""

    def posterior(self, statistics: Sequence[Sums], grid: Grid) -> Posterior:
        """Return the coefficients of each member, (K, members, d); O(K members d³).

        Raises StateError where decisions were not counted by group.
        """
        return Posterior({"members": np.stack([self._members(sums, grid) for sums in statistics])})

    def probabilities(self, posterior: Posterior, context: Floats | None) -> Floats:
        """Return the chance that a member of the arm says most; O(K² members), exact."""
        return best_of_members(said(posterior, context))

    def estimates(self, posterior: Posterior, context: Floats | None) -> Estimates:
        """Return the mean over members, ± 1.96 times their standard deviation."""
        rewards = said(posterior, context)
        mean = rewards.mean(axis=1)
        reach = NORMAL_975 * rewards.std(axis=1)
        return Estimates(mean, mean - reach, mean + reach)

    def _members(self, sums: Sums, grid: Grid) -> Floats:
        if not isinstance(sums, GroupSums):
            raise StateError(f"{self.name} wants decisions counted by group, seen sums of {sums.n} decisions")
        A, b = _scaled(sums.before, grid)
        d = len(b)
        precision = np.repeat((self.ridge * np.eye(d) + A)[None], MEMBERS, axis=0)
        target = b + self.ridge * self.spread * beginnings(d)
        # Group by group: sums in the order written are the same bytes on every machine.
        for group, taken in zip(sums.groups, halves().T, strict=True):
            A, b = _scaled(group, grid)
            precision += taken[:, None, None] * A
            target += taken[:, None] * b
        return solve(precision, target, self.ridge).theta


def said(posterior: Posterior, context: Floats | None) -> Floats:
    """Return what each member of each arm predicts, (K, members). Raises ValueError without context."""
    members = posterior.parameters["members"]
    if context is None or context.shape != members.shape[2:]:
        seen = None if context is None else context.shape
        raise ValueError(f"a linear model needs a context vector of shape {members.shape[2:]}: seen {seen}")
    rewards: Floats = members @ context
    return rewards


def best_of_members(rewards: Floats) -> Floats:
    """Return the chance that an arm's value is the largest when each arm's is one of its own at random: (K, m) → (K,).

    Of equal values the one of each arm comes first half of the time; what that leaves out where several arms are
    equal is shared in proportion.

    >>> best_of_members(np.array([[1.0, 3.0], [2.0, 2.0]])).tolist()
    [0.5, 0.5]
    """
    K, m = rewards.shape
    values = rewards.ravel()
    order = values.argsort(kind="stable")
    ranked, owners = values[order], order // m
    # How many of each arm's values come before a place in that order, for every place and the end.
    before = np.zeros((K, K * m + 1))
    before[owners, np.arange(1, K * m + 1)] = 1.0
    before.cumsum(axis=1, out=before)
    is_new = np.append(True, ranked[1:] != ranked[:-1])
    start = is_new.nonzero()[0]
    run = is_new.cumsum() - 1
    below = (before[:, start] + before[:, np.append(start[1:], K * m)])[:, run]
    below /= 2.0 * m
    below[owners, np.arange(K * m)] = 1.0  # an arm is not held against itself
    chances = np.bincount(owners, below.prod(axis=0), K)
    shared: Floats = chances / chances.sum()
    return shared


@lru_cache(8)
def beginnings(dimension: int) -> Floats:
    """Return θ0 of each member for a spread of 1: (members, d), all but normal; read-only.

    Whole numbers from a hash, twelve uniform ones a coefficient (Irwin & Hall): the same in every process and release
    of numpy. A member and the one that has seen the other half are opposites, so their mean is 0.
    """
    points = np.empty((MEMBERS // 2, dimension))
    for member in range(MEMBERS // 2):
        for entry in range(dimension):
            drawn = np.frombuffer(blake2b(b"%d,%d" % (member, entry), digest_size=24).digest(), "<u2")
            points[member, entry] = (int(drawn.sum(dtype=np.int64)) + 6) / 2**16 - 6.0
    both = np.concatenate((points, -points))
    both.setflags(write=False)
    return both


def _scaled(sums: Sums, grid: Grid) -> tuple[Floats, Floats]:
    """Return the moments in units of features and rewards."""
    A, b = sums.moments()
    exponent = -FEATURE_BITS - grid.reward_exponent
    return np.ldexp(A.astype(np.float64), -2 * FEATURE_BITS), np.ldexp(b.astype(np.float64), exponent)


INFO = AlgorithmInfo(
    parameters={
        "ridge": RIDGE,
        "spread": Parameter(0.25, 0.0, 1e6, "standard deviation of a coefficient before anything was seen"),
    },
    needs_context=True,
    needs_unit_reward=False,
    counts_groups=True,
    build=LinearEnsemble,
)
