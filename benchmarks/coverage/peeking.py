"""`pipeline report` at A/A data, looked at every day for sixty days."""

from __future__ import annotations

import numpy as np

from benchmarks.coverage.entries import gathered
from benchmarks.coverage.figures import Said
from benchmarks.coverage.reporting import report
from benchmarks.coverage.sample import Sample, Truth

DAYS = 60


def peek(rng: np.random.Generator, *, a_day: int = 10, share: float = 0.2, come_back: bool = False) -> dict[str, Said]:
    """Say which figures that are meant for any look were right at every one; arms are alike, a fifth is held out.

    Args:
        rng: draws what happens.
        a_day: decisions.
        share: of the holdout.
        come_back: whether the decisions are of people who come thirty times each, or each of another subject.
    """
    count = DAYS * a_day
    day = np.arange(count) // a_day
    people = count // 30 if come_back else count
    subject = rng.integers(people, size=count) if come_back else np.arange(count)
    held = (rng.random(people) < share)[subject]
    rate = 0.25 * (rng.choice([0.1, 1.9], people) if come_back else np.ones(people))[subject]
    chances = np.where(held[:, None], [1.0, 0.0], [0.5, 0.5])
    arm = (rng.random(count) < chances[:, 1]).astype(np.int64)
    reward = (rng.random(count) < rate).astype(np.float64)
    right: dict[str, bool] = {}
    for days in range(1, DAYS + 1):
        so_far = slice(0, days * a_day)
        sample = Sample(
            Truth(lift=0.0),
            subject[so_far],
            held[so_far],
            chances[so_far],
            arm[so_far],
            reward[so_far],
            shares={1: share},
            day=day[so_far],
        )
        for name, said in report(sample, gathered(sample)).items():
            if name.endswith("at any look"):
                right[name] = right.get(name, True) and said.is_right is not False
    return {name: Said(is_right) for name, is_right in right.items()}
