"""Chapelle & Li 2011, table 1: ten Bernoulli arms that are replaced now and then, with feedback in batches.

    means drawn from Beta(4, 4); at each step one arm is replaced with a chance of 10^-3; T = 10^6;
    what has been earned is told after every 1, 10 or 100 steps

The flat prior is that of one who knows nothing. The informed one, Beta(4, 4), is the law that the means are drawn
from, as whoever has seen many arms come and go would know it (`prior_alpha`, `prior_beta`).

Their Thompson sampling has a regret of 9,105, 9,049 and 11,550. Runs are vectorised: R of them side by side. Arms are
drawn by one draw a posterior, which chooses each with the probability that `beta_thompson` computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

PUBLISHED = {1: 9_105.0, 10: 9_049.0, 100: 11_550.0}
"""Delay → their regret."""
PRIORS = {"flat": (1.0, 1.0), "informed": (4.0, 4.0)}
"""Name → successes and failures that are thought to have been seen."""
ARMS = 10
STEPS = 1_000_000
REPLACED = 1e-3
TOLERANCE = 0.06


@dataclass(frozen=True, slots=True)
class Result:
    """Regret at one delay, scaled to a million steps."""

    prior: str
    """One of `PRIORS`."""
    delay: int
    regrets: tuple[float, ...]
    """One a run."""

    @property
    def mean(self) -> float:
        """Return the figure to compare."""
        return float(np.mean(self.regrets))

    @property
    def error(self) -> float:
        """Return the standard error."""
        return float(np.std(self.regrets, ddof=1) / np.sqrt(len(self.regrets)))

    @property
    def ratio(self) -> float:
        """Return how much it is of what was published."""
        return self.mean / PUBLISHED[self.delay]

    @property
    def is_good(self) -> bool:
        """Return whether it is at most 6 % above what was published."""
        return self.ratio <= 1.0 + TOLERANCE


def measure(
    steps: int = STEPS, runs: int = 10, seed: int = 1, on_progress: Callable[[int, int], None] = lambda _d, _t: None
) -> Iterator[Result]:
    """Yield a result a prior and delay."""
    for name, prior in PRIORS.items():
        for delay in PUBLISHED:
            regrets = play(delay, steps, runs, np.random.default_rng((seed, delay)), on_progress, prior)
            yield Result(name, delay, tuple((regrets * STEPS / steps).tolist()))


def play(
    delay: int,
    steps: int,
    runs: int,
    rng: np.random.Generator,
    on_progress: Callable[[int, int], None] = lambda _d, _t: None,
    prior: tuple[float, float] = (1.0, 1.0),
) -> np.ndarray:
    """Return each run's cumulative regret, (runs,)."""
    means = rng.beta(4.0, 4.0, (runs, ARMS))
    successes, failures = np.full((runs, ARMS), prior[0]), np.full((runs, ARMS), prior[1])
    row = np.arange(runs)
    regret = np.zeros(runs)
    for start in range(0, steps, delay):
        count = min(delay, steps - start)
        is_replaced = rng.random((count, runs)) < REPLACED
        luck = rng.random((count, runs))
        # Where no arm is replaced, nothing that is known changes within the batch: one call draws for all its steps.
        chosen = None if is_replaced.any() else rng.beta(successes, failures, (count, runs, ARMS)).argmax(axis=2)
        won, lost = np.zeros((runs, ARMS)), np.zeros((runs, ARMS))
        for step in range(count):
            if chosen is None:
                for run in np.flatnonzero(is_replaced[step]):
                    arm = rng.integers(ARMS)
                    means[run, arm] = rng.beta(4.0, 4.0)
                    successes[run, arm], failures[run, arm] = prior
                    won[run, arm] = lost[run, arm] = 0.0
                arms = rng.beta(successes, failures).argmax(axis=1)
            else:
                arms = chosen[step]
            chance = means[row, arms]
            is_won = luck[step] < chance
            won[row, arms] += is_won
            lost[row, arms] += ~is_won
            regret += means.max(axis=1) - chance
        successes += won
        failures += lost
        if start % 10_000 < delay:
            on_progress(start, steps)
    return regret


def table(results: list[Result]) -> str:
    """Return the results as Markdown."""
    lines = ["| prior | delay | regret | published | of it |", "|---|---:|---:|---:|---:|"]
    for one in results:
        cells = (
            one.prior,
            str(one.delay),
            f"{one.mean:,.0f} ± {one.error:,.0f}",
            f"{PUBLISHED[one.delay]:,.0f}",
            f"{one.ratio:.0%}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\nChapelle & Li 2011, table 1:\n\n" + "\n".join(lines) + "\n"
