"""The interval of the lift covers the truth as often as it says, though subjects differ and come back unequally."""

from __future__ import annotations

import numpy as np

from pipeline.report.lift import lift_of, mean_of

EXPERIMENTS = 2_000
SUBJECTS = 200


def group(rng: np.random.Generator, rate: float) -> list[tuple[int, float]]:
    """Subjects with 1 to 20 decisions, each with a taste of its own: rates spread as Beta around `rate`."""
    decisions = rng.geometric(0.3, SUBJECTS).clip(1, 20)
    taste = rng.beta(5 * rate, 5 * (1 - rate), SUBJECTS)
    return list(zip(decisions.tolist(), rng.binomial(decisions, taste).astype(float).tolist(), strict=True))


def test_intervals_cover_the_true_lift_ninety_five_times_in_a_hundred():
    rng = np.random.default_rng(8)
    difference = relative = naive = 0
    for _ in range(EXPERIMENTS):
        policy, holdout = group(rng, 0.24), group(rng, 0.2)
        lift = lift_of(mean_of(policy), mean_of(holdout))
        assert lift is not None
        assert lift.relative is not None
        difference += lift.difference.low <= 0.04 <= lift.difference.high
        relative += lift.relative.low <= 0.2 <= lift.relative.high
        apart = [[(1, 1.0)] * int(r) + [(1, 0.0)] * int(n - r) for n, r in (*policy, *holdout)]
        one, other = (mean_of(d for subject in half for d in subject) for half in (apart[:SUBJECTS], apart[SUBJECTS:]))
        as_if_apart = lift_of(one, other)
        assert as_if_apart is not None
        naive += as_if_apart.difference.low <= 0.04 <= as_if_apart.difference.high
    # Five standard errors: 5 · sqrt(0.95 · 0.05 / 2000) = 0.024.
    assert abs(difference / EXPERIMENTS - 0.95) < 0.024
    assert abs(relative / EXPERIMENTS - 0.95) < 0.024
    # What the clusters are for: decisions taken as independent promise too much.
    assert naive / EXPERIMENTS < 0.91
