"""How far an estimate may be off: percentile bootstrap, and the empirical Bernstein bound."""

from __future__ import annotations

from collections.abc import Sequence
from math import log, sqrt
from typing import NamedTuple

import numpy as np

from pipeline.evaluate.estimators import Parts
from pipeline.models.model import Floats

_CHUNK = 4_000_000
"""Resampled places held at once."""


class Interval(NamedTuple):
    """A range that holds the value with the confidence asked for."""

    low: float
    high: float


def bootstrap(parts: Sequence[Parts], rng: np.random.Generator, resamples: int, confidence: float) -> list[Interval]:
    """Return each estimator's percentile interval, all from the same resamples (Efron & Tibshirani 1993, chapter 13).

    Costs resamples × N × estimators.
    """
    n = len(parts[0].numerator)
    columns = [part.numerator for part in parts] + [
        np.ones(n) if p.denominator is None else p.denominator for p in parts
    ]
    table = np.stack(columns, axis=1)
    sums = np.empty((resamples, len(columns)))
    step = max(_CHUNK // n, 1)
    for start in range(0, resamples, step):
        stop = min(start + step, resamples)
        places = rng.integers(n, size=(stop - start, n))
        for row, chosen in enumerate(places, start):
            # A resample is how often each decision was drawn: counting is cheaper than gathering every column.
            sums[row] = np.bincount(chosen, minlength=n) @ table
    above, below = sums[:, : len(parts)], sums[:, len(parts) :]
    ratios = np.divide(above, below, out=np.full_like(above, np.nan), where=below != 0.0)
    tail = (1.0 - confidence) / 2.0
    low, high = np.nanquantile(ratios, [tail, 1.0 - tail], axis=0)
    return [Interval(float(a), float(b)) for a, b in zip(low, high, strict=True)]


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
