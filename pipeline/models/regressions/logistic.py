"""Logistic regression: the mode of its posterior and Laplace's approximation there, from counts by context.

With the prior θ ~ N(0, I/λ), p = 1 / (1 + exp(-θᵀx)) and s successes of n in each context,

    gradient  Σ (s (1 - p) - (n - s) p) x - λ θ        H = Σ n p (1 - p) x xᵀ + λ I

Newton's steps from 0 lead to the mode θ̂, and the posterior there is all but N(θ̂, H⁻¹) (MacKay 1992; Bishop 2006,
section 4.5; Chapelle & Li 2011, algorithm 3, has its diagonal).

Invariant: the same counts in the same order give the same bytes on every machine, as in `linear.py`. So sums over
contexts are taken pairwise, in a tree that only their number decides, and the exponential is + and * as well: numpy's
own differs between processors in its last bit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.models.model import Floats, Parameter
from pipeline.models.regressions.linear import solve

RIDGE = Parameter(0.3, 1e-6, 1e6, "the inverse variance of a coefficient, in log-odds, beforehand")
_STEPS = 60
_HALVINGS = 40
_CLOSE = 2.0**-44
"""Of a step, as a part of θ's size: beyond it rounding is all that moves."""
_BLOCK_ROWS = 4_096
_LOG2_E = 1.4426950408889634
_LN2_HIGH = float.fromhex("0x1.62e42feep-1")
"""ln 2 to 32 bits, so that its product with a small whole number is exact."""
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
_TERMS = 14
_FARTHEST = 700.0
"""exp of it is still a float64."""


class Mode(NamedTuple):
    """A normal distribution of one arm's coefficients."""

    theta: Floats
    """(d,), log-odds a feature unit."""
    covariance: Floats
    """(d, d), exactly symmetric."""


def laplace(contexts: Floats, successes: Floats, failures: Floats, ridge: float) -> Mode:
    """Return θ̂ and H⁻¹ from m contexts (m, d) and their counts (m,); O(m d²) a step, of about ten."""
    theta = np.zeros(contexts.shape[1])
    for _ in range(_STEPS):
        gradient = slope(contexts, successes, failures, theta, ridge)
        H = curvature(contexts, successes + failures, theta, ridge)
        step = solve(H[None], gradient[None], ridge).theta[0]
        theta = theta + _damped(contexts, successes, failures, theta, step, gradient, ridge)
        if np.abs(step).max() <= _CLOSE * (1.0 + np.abs(theta).max()):
            break
    H = curvature(contexts, successes + failures, theta, ridge)
    return Mode(theta, solve(H[None], np.zeros((1, len(theta))), ridge).covariance[0])


def chance(odds: Floats) -> Floats:
    """Return 1 / (1 + exp(-log-odds)), with all its digits at either end; any shape.

    >>> chance(np.array([0.0, -2.0, 800.0])).round(4).tolist()
    [0.5, 0.1192, 1.0]
    """
    e = _exp(-np.minimum(np.abs(odds), _FARTHEST))
    far: Floats = np.where(odds >= 0.0, 1.0, e) / (1.0 + e)
    return far


def _damped(
    contexts: Floats, successes: Floats, failures: Floats, theta: Floats, step: Floats, gradient: Floats, ridge: float
) -> Floats:
    """Halve a step until the way does not lead steeply down again at its end: what is climbed is concave."""
    rise = _dot(gradient, step)
    for _ in range(_HALVINGS):
        end = _dot(slope(contexts, successes, failures, theta + step, ridge), step)
        if end >= -0.5 * rise:
            break
        step = step / 2.0
        rise /= 2.0
    return step


def slope(contexts: Floats, successes: Floats, failures: Floats, theta: Floats, ridge: float) -> Floats:
    """Return the gradient at θ, (d,)."""
    odds = _odds(contexts, theta)
    rest = successes * chance(-odds) - failures * chance(odds)
    return _total(contexts * rest[:, None]) - ridge * theta


def curvature(contexts: Floats, counts: Floats, theta: Floats, ridge: float) -> Floats:
    """Return H at θ, (d, d), exactly symmetric."""
    odds = _odds(contexts, theta)
    weight = counts * (chance(odds) * chance(-odds))
    d = contexts.shape[1]
    H = ridge * np.eye(d)
    for start in range(0, len(contexts), _BLOCK_ROWS):
        X = contexts[start : start + _BLOCK_ROWS]
        weighted = X * weight[start : start + _BLOCK_ROWS, None]
        H = H + _total((weighted[:, :, None] * X[:, None, :]).reshape(len(X), -1)).reshape(d, d)
    # x_i (w x_j) and (w x_i) x_j may differ in the last bit.
    lower = np.tril(H)
    symmetric: Floats = lower + np.tril(H, -1).T
    return symmetric


def _odds(contexts: Floats, theta: Floats) -> Floats:
    """Return θᵀx of each context, (m,)."""
    return _total((contexts * theta).T)


def _dot(a: Floats, b: Floats) -> float:
    return float(_total(a * b))


def _total(terms: Floats) -> Floats:
    """Sum over the first axis, neighbours first: a tree."""
    if not len(terms):
        return np.zeros(terms.shape[1:])
    while len(terms) > 1:
        pairs = len(terms) // 2
        summed = terms[: 2 * pairs : 2] + terms[1 : 2 * pairs : 2]
        terms = summed if 2 * pairs == len(terms) else np.concatenate((summed, terms[-1:]))
    total: Floats = terms[0]
    return total


def _exp(x: Floats) -> Floats:
    """Return e^x for |x| <= 700, to an ulp or two: e^x = 2^k e^r with |r| <= ln 2 / 2, e^r by its series."""
    k = np.rint(x * _LOG2_E)
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    series = np.ones_like(r)
    for term in range(_TERMS, 0, -1):
        series = 1.0 + series * r / term
    scaled: Floats = np.ldexp(series, k.astype(np.int64))
    return scaled
