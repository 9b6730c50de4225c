"""What an arm's rewards were like: the posterior of the models without context that assume nothing.

    n,   mean = Σr / n,   variance = Σr² / n - mean²

and of an arm that nobody has tried 0, 0, 0. The standard error counts one pseudo-decision of the largest variance
that rewards on this grid can have, so that an arm that has seen little is never thought certain:

    standard_error² = (n variance + widest²) / (n + 1) / max(n, 1)

Invariant: the same sums give the same bytes on every machine; n variance is taken from exact integers where the sums
are exact, so nothing cancels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pipeline.errors import StateError
from pipeline.models.grid import REWARD_LIMIT, Grid, reward_from_grid
from pipeline.models.model import NORMAL_975, Estimates, Floats, Posterior, Sums


def empirical_posterior(statistics: Sequence[Sums], grid: Grid) -> Posterior:
    """Return n, mean, variance and standard_error, (K,) each. Raises StateError where an arm has n < 0."""
    n, mean, variance = np.array([_moments(sums, grid) for sums in statistics]).reshape(-1, 3).T
    widest = reward_from_grid(REWARD_LIMIT, grid.reward_exponent)
    error = np.sqrt((n * variance + widest * widest) / (n + 1.0) / np.maximum(n, 1.0))
    return Posterior({"n": n, "mean": mean, "variance": variance, "standard_error": error})


def empirical_estimates(posterior: Posterior) -> Estimates:
    """Return the mean ± 1.96 standard errors."""
    mean, error = posterior.parameters["mean"], posterior.parameters["standard_error"]
    return Estimates(mean, mean - NORMAL_975 * error, mean + NORMAL_975 * error)


def decisions(posterior: Posterior) -> float:
    """Return t = Σ n over the arms, the same in whatever order they stand."""
    return math.fsum(posterior.parameters["n"])


def unshown(n: Floats) -> Floats:
    """Return which part of the largest variance that rewards can have n of them may not have shown yet, (K,).

    (n + 1)^-1.5: with 1 in place of 1.5 it outlives small noise a hundredfold; with 2 rare large rewards stay unseen.
    """
    return 1.0 / ((n + 1.0) * np.sqrt(n + 1.0))


def _moments(sums: Sums, grid: Grid) -> tuple[float, float, float]:
    """Return n, mean and variance."""
    n, total, squares = sums.n, sums.reward_sum, sums.reward_square_sum
    if n < 0:
        raise StateError(f"statistics of fewer than no decisions: n = {n}")
    if n == 0:
        return 0.0, 0.0, 0.0
    mean = reward_from_grid(total / n, grid.reward_exponent)
    # Python's whole numbers have no bound, and their quotient is the nearest float64.
    variance = max((n * squares - total * total) / (n * n), 0.0)
    return float(n), mean, reward_from_grid(variance, 2 * grid.reward_exponent)
