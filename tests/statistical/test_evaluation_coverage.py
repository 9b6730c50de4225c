"""Logs whose truth is known: estimates are unbiased, and intervals cover as often as they say."""

from __future__ import annotations

import numpy as np

from pipeline.evaluate.estimators import Parts, Terms, all_parts
from pipeline.evaluate.intervals import bootstrap, empirical_bernstein
from pipeline.evaluate.reward_model import fit_reward_model, with_intercept

LOGS, N = 300, 500
LOGGING = np.array([0.6, 0.3, 0.1])
TARGET = np.array([0.1, 0.2, 0.7])
RATES = np.array([0.2, 0.4, 0.6])
TRUTH = float(TARGET @ RATES)
WEIGHT_BOUND = 7.0  # 0.7 / 0.1


def one_log(seed: int) -> Terms:
    rng = np.random.default_rng([9, seed])
    arm = rng.choice(3, N, p=LOGGING)
    reward = (rng.random(N) < RATES[arm]).astype(float)
    vectors = with_intercept(np.zeros((N, 0), np.int16))
    none = np.zeros(N, int)
    which = np.arange(N) % 5
    model = fit_reward_model(none, arm, reward, vectors, which, counts=(1, 3), bounds=(0.0, 1.0))
    q = model.predict(which, none, np.ones((N, 1)))
    return Terms(reward, (TARGET / LOGGING)[arm], q[np.arange(N), arm], q @ TARGET)


def parts_of(seed: int) -> list[Parts]:
    return all_parts(one_log(seed), clip=99.0, bounds=(0.0, 1.0), weight_bound=WEIGHT_BOUND)


def test_estimates_are_unbiased_and_intervals_cover_as_often_as_they_say():
    names = ("IPS", "SNIPS", "DR")
    values = {name: [] for name in names}
    covered = dict.fromkeys(names, 0)
    surely = 0
    for seed in range(LOGS):
        parts = [part for part in parts_of(seed) if part.name in names]
        for part, interval in zip(parts, bootstrap(parts, np.random.default_rng(seed), 400, 0.95), strict=True):
            values[part.name].append(part.estimate)
            covered[part.name] += interval.low <= TRUTH <= interval.high
            if part.width is not None:
                low, high = empirical_bernstein(part.numerator, part.width, 0.95)
                surely += low <= TRUTH <= high
    for name in names:
        error = np.std(values[name], ddof=1) / np.sqrt(LOGS)
        assert abs(np.mean(values[name]) - TRUTH) < 4 * error, name
        # 95 % of 300 is 285, with a standard deviation of 3.8; of skewed parts, a bootstrap covers a little less.
        assert covered[name] >= 285 - 5 * 3.8, name
    assert surely >= 2 * (285 - 5 * 3.8)


def test_the_doubly_robust_estimate_varies_least():
    found = [{part.name: part.estimate for part in parts_of(seed)} for seed in range(100)]
    spread = {name: np.std([one[name] for one in found]) for name in ("IPS", "DR")}
    assert spread["DR"] < spread["IPS"]
