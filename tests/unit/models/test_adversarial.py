"""The policies that an adversary can't fool: EXP3, Tsallis-INF."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import brentq, minimize

from pipeline.errors import StateError
from pipeline.models import model_for
from pipeline.models.grid import Grid
from pipeline.models.model import Model, Posterior
from pipeline.models.sums.importance import entries, weigh_importance
from pipeline.models.sums.objectives import Weights
from pipeline.models.sums.statistics import Statistics, contributions
from pipeline.models.sums.weighted import ArmPrior, weigh

NAMES = ["exp3", "tsallis_inf"]
GRID = Grid(15)
ONE = 2**15
NO_CONTEXT = np.zeros((0, 0), np.int16)


def known(n: list[float], mean: list[float], drawn: list[float], earned: list[float]) -> Posterior:
    given = {"n": n, "mean": mean, "variance": [m * (1 - m) for m in mean], "drawn": drawn, "earned": earned}
    arrays = {name: np.array(array, np.float64) for name, array in given.items()}
    return Posterior({**arrays, "standard_error": np.full(len(n), 0.1)})


# 1,000 decisions of which 300 earned 1: c = 0.3; arms were on offer about 1,000 times.
SEEN = known([500, 300, 200], [0.4, 0.2, 0.2], [1010.0, 980.0, 1005.0], [404.0, 190.0, 210.0])
ABOVE = np.array([404.0 - 303.0, 190.0 - 294.0, 210.0 - 301.5])


def test_exp3_is_the_paper_s_formula():
    # γ = sqrt(3 ln 3 / ((e - 1) 404)), η = γ / 3.
    share = math.sqrt(3 * math.log(3) / ((math.e - 1) * 404.0))
    weights = [math.exp(share / 3 * gain) for gain in ABOVE]
    expected = [(1 - share) * weight / sum(weights) + share / 3 for weight in weights]
    assert model_for("exp3", {}).probabilities(SEEN, None) == pytest.approx(np.array(expected), rel=1e-12)


def test_exp3_explores_alike_until_something_was_earned():
    nothing = known([10, 20], [0.0, 0.0], [30.0, 30.0], [0.0, 0.0])
    assert model_for("exp3", {}).probabilities(nothing, None).tolist() == [0.5, 0.5]


def tsallis_rate(posterior: Posterior, c: float) -> float:
    n, mean, variance = (posterior.parameters[name] for name in ("n", "mean", "variance"))
    t = n.sum()
    s = math.sqrt((float((n * (variance + (mean - c) ** 2)).sum()) + 0.25) / (t + 1))
    return 1 / (s * math.sqrt(t))


def test_tsallis_inf_is_the_root_that_the_paper_says():
    eta = tsallis_rate(SEEN, 0.3)
    top = ABOVE.max()
    x = brentq(lambda x: (4 / (eta * (x - ABOVE)) ** 2).sum() - 1, top + 1 / eta, top + 4 / eta, xtol=1e-14, rtol=1e-15)
    found = model_for("tsallis_inf", {}).probabilities(SEEN, None)
    assert found == pytest.approx(4 / (eta * (x - ABOVE)) ** 2, rel=1e-9)


def test_tsallis_inf_is_the_largest_of_what_it_regularises():
    eta = tsallis_rate(SEEN, 0.3)
    found = model_for("tsallis_inf", {}).probabilities(SEEN, None)

    def loss(root: np.ndarray) -> float:
        w = root**2 / (root**2).sum()
        return -float(w @ ABOVE + 4 / eta * (np.sqrt(w) - w / 2).sum())

    root = minimize(loss, np.ones(3), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}).x
    assert found == pytest.approx(root**2 / (root**2).sum(), abs=1e-5)  # at its top it is flat


def test_s_of_coins_is_a_half_and_the_rate_the_paper_s():
    coins = known([200, 200], [0.5, 0.5], [400.0, 400.0], [205.0, 195.0])
    # η = 2 / sqrt(400) and gains of ±5: the root of 4 / (0.1 (x - 5))² + 4 / (0.1 (x + 5))² = 1.
    x = brentq(lambda x: 400 / (x - 5) ** 2 + 400 / (x + 5) ** 2 - 1, 6, 100, xtol=1e-12)
    found = model_for("tsallis_inf", {}).probabilities(coins, None)
    assert found == pytest.approx([400 / (x - 5) ** 2, 400 / (x + 5) ** 2], rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_an_arm_that_has_just_come_begins_as_good_as_the_average(name):
    # The old arms have earned as much as each other, and so as the average.
    found = model_for(name, {}).probabilities(known([500, 500, 0], [0.3, 0.3, 0.0], [1e3, 1e3, 0], [300, 300, 0]), None)
    assert found == pytest.approx([1 / 3, 1 / 3, 1 / 3], rel=1e-9)


def posterior_of(name: str, of_arms: list[list[tuple[float, float]]], prior: ArmPrior | None = None) -> Posterior:
    """Give the posterior of arms, each (propensity, reward) of its decisions; the prior is that of the first."""
    rows = []
    for decisions in of_arms:
        known_before = prior if not rows else None
        counted = np.zeros(2, np.int64)
        for p, reward in decisions:
            counted += entries(p, [round(reward * ONE)])
        rewards = np.array([round(reward * ONE) for _, reward in decisions], np.int64)
        sums = Statistics(0, contributions(np.zeros((len(rewards), 0), np.int16), rewards))
        merged = weigh([(1.0, sums)], 0, 15, known_before)
        told = [(1.0, 1.0, Statistics(-2, counted))]
        rows.append(weigh_importance(told, merged, Weights((1,), 0), known_before, 15))
    return model_for(name, {}).posterior(rows, GRID)


@pytest.mark.parametrize("name", NAMES)
def test_the_posterior_has_what_an_arm_would_have_earned_shown_every_time(name):
    found = posterior_of(name, [[(0.25, 1.0), (0.5, 0.5)], [(0.75, 0.0)]]).parameters
    # 1/0.25 + 0.5/0.5 = 5 of 6 times; 0 of 4/3.
    assert found["earned"] == pytest.approx([5.0, 0.0], abs=1e-4)
    assert found["drawn"] == pytest.approx([6.0, 4 / 3], abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_prior_above_the_average_is_a_start(name):
    alike = [[(0.5, 1.0), (0.5, 0.0)]] * 2
    model = model_for(name, {})
    ahead = model.probabilities(posterior_of(name, alike, ArmPrior(0.9, 20.0, 0.09)), None)
    assert model.probabilities(posterior_of(name, alike), None) == pytest.approx([0.5, 0.5])
    assert ahead[0] > 0.5


@pytest.mark.parametrize("name", NAMES)
def test_sums_without_propensities_are_refused(name):
    with pytest.raises(StateError, match="wants decisions counted by propensity"):
        model_for(name, {}).posterior([Statistics.zero(0)], GRID)


def earned_against_an_adversary(model: Model, counts: bool, rounds: int = 2_000) -> float:
    """Play against someone who knows the policy: of two arms the likelier one earns nothing, the other 1."""
    rng = np.random.default_rng(3)
    sums = np.zeros((2, 3), np.int64)
    drawn = np.zeros((2, 2), np.int64)
    total = 0.0
    for _ in range(rounds):
        rows = [Statistics(0, row) for row in sums]
        told = [
            weigh_importance([(1.0, 1.0, Statistics(-2, d))], s, Weights((1,), 0))
            for s, d in zip(rows, drawn, strict=True)
        ]
        chances = model.probabilities(model.posterior(told if counts else rows, GRID), None)
        arm = int(rng.random() >= chances[0])
        reward = ONE if arm != int(chances.argmax()) else 0
        sums[arm] += (1, reward, reward**2)
        drawn[arm] += entries(float(chances[arm]), [reward])
        total += reward / ONE
    return total / rounds


def test_who_names_one_arm_is_fooled_and_who_draws_is_not():
    # Each arm would have earned 1 in about half of the rounds, so the best of them a little more.
    assert earned_against_an_adversary(model_for("ucb1", {}), counts=False) < 0.05
    for name in NAMES:
        assert earned_against_an_adversary(model_for(name, {}), counts=True) > 0.45
