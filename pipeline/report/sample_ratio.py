"""Are as many subjects held out as were to be? A test that may be looked at every day, under shares that change. Pure.

Subject i is held out with the share p_i that was in force when it first came. Were the chance another one, its odds
would be e^δ times as large, and what was seen e^{δ h} / Π (1 - p_i + p_i e^δ) times as likely, with h held out. Mixed
over δ ~ N(0, 0.1²) that is a martingale of mean 1 while the shares are right, so

    P(it ever reaches 1/α) <= α        (Ville 1939; Lindon & Malek 2022, "Anytime-valid inference for multinomial count
                                        data", for a fixed share)

and 1 over it is a p-value at any look. The exact p-value of this one look (the binomial test) stands beside it where
all subjects had the same share.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from pipeline.models.model import Floats

DEVIATION = 0.1
"""Of δ: odds that are some 10 % off are found the soonest."""
_POINTS = 4_001
_REACH = 12.0  # deviations of what is integrated


class Split(NamedTuple):
    """Subjects that came under one declared share."""

    subjects: int
    held_out: int


def always_p_value(splits: Mapping[float, Split]) -> float:
    """Return the p-value that holds at any look; splits by declared share in (0, 1).

    >>> round(always_p_value({0.5: Split(1000, 500)}), 3), always_p_value({0.05: Split(2400, 1200)}) < 1e-6
    (1.0, True)
    """
    held = sum(split.held_out for split in splits.values())
    shares = np.array(list(splits))
    sizes = np.array([split.subjects for split in splits.values()], np.float64)

    def log_likelihood(delta: Floats) -> Floats:
        likelihood: Floats = held * delta - np.log1p(shares * np.expm1(delta)[:, None]) @ sizes
        return likelihood

    # The integrand is log-concave: it lies around its mode, found on ever finer grids.
    low, high = -30.0, 30.0
    for _ in range(8):
        grid = np.linspace(low, high, 201)
        best = grid[np.argmax(log_likelihood(grid) - 0.5 * (grid / DEVIATION) ** 2)]
        low, high = best - (high - low) / 50.0, best + (high - low) / 50.0
    tilted = shares * np.exp(best) / (1.0 - shares + shares * np.exp(best))
    width = (1.0 / DEVIATION**2 + float(sizes @ (tilted * (1.0 - tilted)))) ** -0.5
    delta = np.linspace(best - _REACH * width, best + _REACH * width, _POINTS)
    logs = log_likelihood(delta) - 0.5 * (delta / DEVIATION) ** 2 - np.log(DEVIATION * np.sqrt(2.0 * np.pi))
    peak = float(logs.max())
    log_evidence = peak + float(np.log(np.trapezoid(np.exp(logs - peak), delta)))
    return float(min(1.0, np.exp(-log_evidence)))


def p_value_now(splits: Mapping[float, Split]) -> float | None:
    """Return the binomial test's p-value of this look; None where the share has changed."""
    if len(splits) != 1:
        return None
    ((share, split),) = splits.items()
    from scipy.stats import binomtest  # noqa: PLC0415  half a second to import, and few commands need it

    return float(binomtest(split.held_out, split.subjects, share).pvalue)
