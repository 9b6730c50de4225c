"""P(an arm is the r-th best): what a policy shows that fills its positions with the best draws, in order.

    P(k at rank r) = ∫ f_k(t) P(exactly r - 1 of the others are above t) dt

for independent beta arms. The number of others above t is a sum of unequal coins, counted arm by arm from both
ends, so that one arm is left out without dividing. The integral is taken over y = log(t / (1 - t)) by the
trapezoidal rule on a fine grid from the lowest arm's 1e-9 quantile to the highest's; for densities as smooth as these
its error is far below 1e-6, unless arms differ in width by more than some hundred times.
"""

from __future__ import annotations

import numpy as np
from scipy.special import betainc, betaincc, betaincinv, betaln, expit

from pipeline.models.model import Floats

POINTS = 8_192
_TAIL = 1e-9


def beta_ranks(alpha: Floats, beta: Floats, ranks: int) -> Floats:
    """Return (ranks, K): P(arm k's draw is the r-th largest), each row summing to 1; O(K POINTS ranks²).

    Raises ValueError where there are more ranks than arms.
    """
    K = len(alpha)
    if not 1 <= ranks <= K:
        raise ValueError(f"{K} arms fill 1 to {K} positions: seen {ranks}")
    low, rest = betaincinv(alpha, beta, _TAIL), betaincinv(beta, alpha, _TAIL)
    start = float((np.log(low) - np.log1p(-low)).min())
    stop = float((np.log1p(-rest) - np.log(rest)).max())
    y = np.linspace(start, stop, POINTS)
    a, b = alpha[:, None], beta[:, None]
    # t**α (1 - t)**β dy is t**(α - 1) (1 - t)**(β - 1) dt
    density = np.exp(-a * np.logaddexp(0.0, -y) - b * np.logaddexp(0.0, y) - betaln(a, b))
    t = expit(y)
    below, above = (np.asarray(side(a, b, t), np.float64) for side in (betainc, betaincc))
    before = _counted(below, above, ranks)
    after = _counted(below[::-1], above[::-1], ranks)[::-1]
    chances = np.empty((ranks, K))
    for r in range(ranks):
        # exactly r of the others above: i of those before k and r - i of those behind it
        exactly = sum(before[:K, i] * after[1:, r - i] for i in range(r + 1))
        chances[r] = np.trapezoid(density * exactly, y, axis=1)
    normalised: Floats = chances / chances.sum(axis=1, keepdims=True)
    return normalised


def _counted(below: Floats, above: Floats, ranks: int) -> Floats:
    """Return (K + 1, ranks, points): P(exactly i of the first k arms are above)."""
    counted = np.zeros((len(below) + 1, ranks, below.shape[1]))
    counted[0, 0] = 1.0
    for k in range(len(below)):
        counted[k + 1] = counted[k] * below[k]
        counted[k + 1, 1:] += counted[k, :-1] * above[k]
    return counted
