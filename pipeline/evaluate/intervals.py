"""How far an estimate may be off: a Bayesian bootstrap by subject, and the empirical Bernstein bound.

**Bayesian bootstrap** (Rubin 1981) with one subject more that was not seen: at each end the worst one that could have
been. Subjects' parts are weighed by independent exponentials, and the ends are quantiles of

    low   Σ g_i x_i + g_0 x_least     over the same of the denominators
    high  Σ g_i x_i + g_0 x_most

(Gaffke 2005; Learned-Miller & Thomas 2019, arXiv:1905.06208). Of independent decisions that pay 0 or 1 this is the
exact interval of Clopper and Pearson, whatever the number of successes: with one, or with none, it still holds, where
a bootstrap of what was seen has nothing to draw from. For many decisions it is the usual one. A subject's decisions
are one part, since they are alike.

**Empirical Bernstein** holds for every N, without any assumption but the bounds, and is wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log, sqrt
from typing import NamedTuple

import numpy as np

from pipeline.evaluate.estimators import Parts
from pipeline.models.model import Floats

_CHUNK = 4_000_000
"""Exponentials held at once."""


class Interval(NamedTuple):
    """A range that holds the value with the confidence asked for."""

    low: float
    high: float


def bootstrap(parts: Sequence[Parts], rng: np.random.Generator, resamples: int, confidence: float) -> list[Interval]:
    """Return each estimator's interval, all from the same weights; costs resamples × subjects × estimators."""
    ends = [_unseen(part) for part in parts]
    table = np.stack([part.numerator for part in parts] + [part.denominator for part in parts], axis=1)
    n, width = len(table), len(parts)
    sums = np.empty((resamples, 2 * width))
    step = max(_CHUNK // n, 1)
    for start in range(0, resamples, step):
        stop = min(start + step, resamples)
        sums[start:stop] = rng.standard_exponential((stop - start, n)) @ table
    unseen = rng.standard_exponential((resamples, 1))
    tail = (1.0 - confidence) / 2.0
    quantiles = []
    for end, level in enumerate((tail, 1.0 - tail)):
        numerators, denominators = (np.array([one[end][place] for one in ends]) for place in (0, 1))
        above, below = sums[:, :width] + unseen * numerators, sums[:, width:] + unseen * denominators
        ratios = np.divide(above, below, out=np.zeros_like(above), where=below != 0.0)
        found = np.quantile(ratios, level, axis=0)
        quantiles.append(np.where(below.any(axis=0), found, np.nan))
    return [Interval(float(low), float(high)) for low, high in zip(*quantiles, strict=True)]


def _unseen(part: Parts) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the numerator and denominator of the subjects not seen that would pull the value down, and up, the most.

    One decision that earned as little or as much as any did, or another subject like the most extreme one.
    """
    value = part.estimate if np.isfinite(part.estimate) else 0.0
    pull = part.numerator - value * part.denominator
    least, most = int(pull.argmin()), int(pull.argmax())
    found = []
    for sign, place, one in ((-1.0, least, part.least), (1.0, most, part.most)):
        seen = float(part.numerator[place]), float(part.denominator[place])
        found.append(max(seen, one, key=lambda end, sign=sign: sign * (end[0] - value * end[1])))  # type: ignore[misc]
    return found[0], found[1]


def empirical_bernstein(values: Floats, width: float, confidence: float) -> Interval:
    """Return an interval that holds for every N, not only for large ones (Maurer & Pontil 2009, theorem 4).

        |mean - E| <= sqrt(2 V ln(4/δ) / n) + 7 b ln(4/δ) / (3 (n - 1))

    each side with δ/2, where no two values can differ by more than b = `width`.
    """
    n = len(values)
    if n < 2:
        return Interval(float("-inf"), float("inf"))
    logarithm = log(4.0 / (1.0 - confidence))
    mean = float(values.mean())
    variance = float(values.var(ddof=1))
    reach = sqrt(2.0 * variance * logarithm / n) + 7.0 * width * logarithm / (3.0 * (n - 1))
    return Interval(mean - reach, mean + reach)
