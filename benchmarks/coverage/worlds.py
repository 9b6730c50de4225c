"""Kinds of data: who comes, what they are shown and what they do. Each gives a sample and what is true of it.

Everything is drawn from an `rng` and everything that is true comes from the parameters. Subjects are held out by a
coin with the declared share, as a hash does. Held-out subjects are shown arm 0.
"""

from __future__ import annotations

from math import exp, log

import numpy as np
from scipy.special import ndtr

from benchmarks.coverage.sample import Floats, Integers, Mask, Sample, Truth

RARELY, OFTEN = 0.1, 1.9
"""How much likelier than others two kinds of people are to do anything: half of the people each."""


def independent(rng: np.random.Generator, *, subjects: int = 600, share: float = 0.5) -> Sample:
    """One decision each; b is better by half, and is drawn in three of ten decisions."""
    rates, chances = np.array([0.10, 0.15]), np.array([0.7, 0.3])
    return _clicks(rng, np.arange(subjects), share, chances, rates, np.ones(subjects))


def alike(rng: np.random.Generator, *, subjects: int = 600, share: float = 0.5) -> Sample:
    """An A/A test: one decision each, both arms pay the same."""
    rates, chances = np.array([0.10, 0.10]), np.array([0.7, 0.3])
    return _clicks(rng, np.arange(subjects), share, chances, rates, np.ones(subjects))


def clustered(rng: np.random.Generator, *, people: int, visits: float, share: float = 0.5) -> Sample:
    """People who come back, half of them nearly always for nothing: each has a rate of their own."""
    likes = np.where(rng.random(people) < 0.5, RARELY, OFTEN)
    subject = np.repeat(np.arange(people), 1 + rng.poisson(visits - 1.0, people))
    rates, chances = np.array([0.25, 0.375]), np.array([0.7, 0.3])
    return _clicks(rng, subject, share, chances, rates, likes)


def rare(rng: np.random.Generator, *, expected: float, held_out: int = 200) -> Sample:
    """One decision each, a fifth held out, and so many successes expected among those: all arms pay the same."""
    rate = expected / held_out
    subjects = np.arange(5 * held_out)
    return _clicks(rng, subjects, 0.2, np.array([0.7, 0.3]), np.array([rate, rate]), np.ones(len(subjects)))


def revenue(rng: np.random.Generator, *, subjects: int = 1_000, sigma: float = 1.5) -> Sample:
    """One in twenty buys, for a lognormal amount; b sells to a fifth more."""
    high, centre = 10_000.0, 3.0
    rates, chances = np.array([0.05, 0.06]), np.array([0.7, 0.3])
    found = _clicks(rng, np.arange(subjects), 0.5, chances, rates, np.ones(subjects))
    amounts = np.minimum(rng.lognormal(centre, sigma, len(found)), high)
    # E[min(X, h)] of a lognormal X.
    cut = (log(high) - centre) / sigma
    mean = exp(centre + sigma * sigma / 2.0) * float(ndtr(cut - sigma)) + high * float(ndtr(-cut))
    truth = found.truth
    return Sample(
        Truth(*(mean * value for value in (truth.lift, truth.policy, truth.holdout, truth.target))),
        found.subject,
        found.held_out,
        found.chances,
        found.arm,
        found.reward * amounts,
        high=high,
        shares=found.shares,
    )


def adaptive(rng: np.random.Generator, *, subjects: int = 600, rates: tuple[float, float] = (0.10, 0.15)) -> Sample:
    """A policy that learns as it goes: shown is what has earned more so far, by Thompson's chances."""
    paid, batch, floor = np.array(rates), 60, 0.05
    held = rng.random(subjects) < 0.5
    arm = np.zeros(subjects, np.int64)
    chances = np.zeros((subjects, 2))
    reward = np.zeros(subjects)
    shown, won = np.ones(2) * 2.0, np.ones(2)
    for start in range(0, subjects, batch):
        rows = slice(start, start + batch)
        part = won / shown
        apart = (part[1] - part[0]) / np.sqrt((part * (1.0 - part) / shown).sum())
        b = floor + (1.0 - 2.0 * floor) * float(ndtr(apart))
        chances[rows] = np.where(held[rows, None], [1.0, 0.0], [1.0 - b, b])
        arm[rows] = rng.random(len(arm[rows])) < chances[rows, 1]
        reward[rows] = rng.random(len(arm[rows])) < paid[arm[rows]]
        learned = ~held[rows]
        shown += np.bincount(arm[rows][learned], minlength=2)
        won += np.bincount(arm[rows][learned], reward[rows][learned], minlength=2)
    # What it earned in expectation, by the chances that it had.
    policy = float((chances[~held] @ paid).mean())
    truth = Truth(policy - rates[0], policy, rates[0], float(paid.mean()))
    return Sample(truth, np.arange(subjects), held, chances, arm, reward)


def moving(rng: np.random.Generator, *, subjects: int = 800) -> Sample:
    """On the second day the level triples, the holdout grows from a twentieth to a half, b's share from .2 to .8."""
    day = (np.arange(subjects) >= subjects // 2).astype(np.int64)
    share, level, b = np.array([0.05, 0.5]), np.array([0.05, 0.15]), np.array([0.2, 0.8])
    better = 0.05
    held = rng.random(subjects) < share[day]
    chances = np.where(held[:, None], [1.0, 0.0], np.column_stack((1.0 - b[day], b[day])))
    arm = (rng.random(subjects) < chances[:, 1]).astype(np.int64)
    reward = (rng.random(subjects) < level[day] + better * arm).astype(np.float64)
    # Both days have as much traffic: what the policy earns more is told by day, and then of all that came.
    # An evaluation's log are the decisions of those who aren't held out: fewer of the second day.
    in_log = (1.0 - share) / (1.0 - share).sum()
    truth = Truth(lift=float(better * b.mean()), target=float(in_log @ level + better / 2.0))
    return Sample(
        truth,
        np.arange(subjects),
        held,
        chances,
        arm,
        reward,
        version=1 + day,
        shares=dict(enumerate(share.tolist(), start=1)),
        day=day,
    )


def guarded(rng: np.random.Generator, *, people: int = 250, visits: float = 2.5) -> Sample:
    """Three arms alike, shown to adults and minors; what they earn goes by arm and age."""
    subject = np.repeat(np.arange(people), 1 + rng.poisson(visits - 1.0, people))
    adult = (rng.random(people) < 0.5)[subject]
    count = len(subject)
    rates = np.array([GUARDED_MINORS, GUARDED_ADULTS])[adult.astype(np.int64)]
    chances = np.full((count, 3), 1.0 / 3.0)
    arm = rng.integers(3, size=count)
    reward = (rng.random(count) < rates[np.arange(count), arm]).astype(np.float64)
    # The target: one greedy arm with an ε of a tenth; minors may not see arm 2; three of ten held out, on arm 0.
    of_adults, of_minors = np.array([0.1, 0.1, 0.1]) / 3.0 + np.array([0, 0, 0.9]), np.array([0.05, 0.95, 0.0])
    decided = 0.5 * float(of_adults @ GUARDED_ADULTS) + 0.5 * float(of_minors @ GUARDED_MINORS)
    control = 0.5 * (GUARDED_ADULTS[0] + GUARDED_MINORS[0])
    truth = Truth(target=0.7 * decided + 0.3 * control)
    return Sample(truth, subject, np.zeros(count, np.bool_), chances, arm, reward, is_adult=adult, shares={1: 0.0})


GUARDED_ADULTS, GUARDED_MINORS = np.array([0.10, 0.20, 0.40]), np.array([0.15, 0.30, 0.50])


def _clicks(
    rng: np.random.Generator,
    subject: Integers,
    share: float,
    policy: Floats,
    rates: Floats,
    likes: Floats,
) -> Sample:
    """Show arms to subjects in order of chance; `likes` is how much likelier than others each is to pay."""
    subject = rng.permutation(subject)
    held: Mask = (rng.random(len(likes)) < share)[subject]
    chances = np.where(held[:, None], np.eye(len(rates))[0], policy)
    arm = (rng.random(len(subject))[:, None] > chances.cumsum(axis=1)[:, :-1]).sum(axis=1)
    reward = (rng.random(len(subject)) < rates[arm] * likes[subject]).astype(np.float64)
    policy_mean = float(policy @ rates)
    truth = Truth(policy_mean - float(rates[0]), policy_mean, float(rates[0]), float(rates.mean()))
    return Sample(truth, subject, held, chances, arm, reward, shares={1: share})
