"""Bernoulli Thompson sampling from the random logs of the "women" campaign, by the public estimators' formulas.

Written plainly after the Open Bandit Pipeline's definitions: action distributions by Monte Carlo from the production's
prior; IPW, SNIPW, DR and Switch-DR as means over rounds. Only the reward model is the package's.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from pipeline.demo.logged import read_log
from pipeline.evaluate.estimators import Terms
from pipeline.evaluate.evaluate import Evaluation, Settings, evaluate, prepare, terms_of
from pipeline.evaluate.open_bandit import log_of, ranked_thompson
from pipeline.evaluate.production_prior import ALPHA, BETA
from pipeline.policy.features import FeatureSchema
from tests.open_bandit import real_campaign

SIMULATIONS = 100_000  # the public examples' number


def columns(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return item, position from 0, click and pscore, in order of time."""
    with (folder / "women.csv").open(encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: (row["timestamp"][:23], int(row[""])))
    item, position = (np.array([int(row[name]) for row in rows]) for name in ("item_id", "position"))
    click = np.array([float(row["click"]) for row in rows])
    return item, position - 1, click, np.array([float(row["propensity_score"]) for row in rows])


def monte_carlo_distribution(seed: int) -> np.ndarray:
    """Return (items, positions): draw for every item, show the three largest in order, count."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((46, 3))
    for _ in range(10):
        order = rng.beta(ALPHA, BETA, (SIMULATIONS // 10, 46)).argsort(axis=1)[:, ::-1]
        for place in range(3):
            counts[:, place] += np.bincount(order[:, place], minlength=46)
    return counts / SIMULATIONS


@pytest.fixture(scope="module")
def evaluated() -> tuple[Evaluation, Terms, np.ndarray]:
    log = log_of(read_log(real_campaign("random/women")))
    prepared = prepare(log, FeatureSchema())
    target = ranked_thompson("bts", log, np.array(ALPHA, float), np.array(BETA, float))
    found = evaluate(prepared, target, Settings(), np.random.default_rng(0))
    q = prepared.model.predict(log.folds, log.segment, prepared.x)
    return found, terms_of(prepared, target)[0], q


def test_the_public_formulas_give_the_same_values(evaluated):
    found, _, q = evaluated
    item, position, reward, pscore = columns(real_campaign("random/women"))
    rounds = np.arange(len(item))
    distribution = monte_carlo_distribution(seed=1)
    iw = distribution[item, position] / pscore
    dm = (distribution.T[position] * q).sum(axis=1)
    public = {
        "IPS": (reward * iw).mean(),
        "SNIPS": (reward * iw).sum() / iw.sum(),
        "DM": dm.mean(),
        "DR": (dm + iw * (reward - q[rounds, item])).mean(),
        "Switch-DR": (dm + (iw <= found.clip) * iw * (reward - q[rounds, item])).mean(),
    }
    # A share of 100,000 simulations is off by 0.0016 at most (one standard error), weights by 46 times that; 46 clicks
    # of 10,000 rounds then move the mean by 46 sqrt(46) 0.0016 / 10,000 = 5e-5. Three of these.
    for name, value in public.items():
        assert found.of(name).value == pytest.approx(value, abs=1.5e-4), name


def test_the_estimators_are_the_public_formulas_to_the_last_digits_given_one_distribution(evaluated):
    found, terms, q = evaluated
    item, position, reward, pscore = columns(real_campaign("random/women"))
    table = np.zeros((46, 3))
    table[item, position] = terms.weight * pscore  # every item was shown at every position
    iw = table[item, position] / pscore
    dm = (table.T[position] * q).sum(axis=1)
    own = q[np.arange(len(item)), item]
    assert (reward == terms.reward).all()
    assert found.of("IPS").value == pytest.approx((reward * iw).mean(), rel=1e-12)
    assert found.of("SNIPS").value == pytest.approx((reward * iw / iw.mean()).mean(), rel=1e-12)
    assert found.of("DM").value == pytest.approx(dm.mean(), rel=1e-12)
    assert found.of("DR").value == pytest.approx((dm + iw * (reward - own)).mean(), rel=1e-12)


def test_the_intervals_cover_what_the_policy_earned_when_it_ran(evaluated):
    found, _, _ = evaluated
    on_policy = columns(real_campaign("bts/women"))[2].mean()
    for estimate in found.estimates:
        for interval in (estimate.bootstrap, estimate.bernstein):
            if interval is not None:
                assert interval.low <= on_policy <= interval.high, estimate.estimator


def test_production_drew_with_the_chances_that_are_computed():
    # It learned on, so its propensities moved away; in the first twenty impressions they are those of the prior still.
    item, position, _, pscore = (column[:20] for column in columns(real_campaign("bts/women")))
    log = log_of(read_log(real_campaign("random/women")))
    table = ranked_thompson("bts", log, np.array(ALPHA, float), np.array(BETA, float)).table
    computed = table[position, item]
    assert np.median(np.abs(computed / pscore - 1.0)) < 0.03
