from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from pipeline.models import model_for
from pipeline.models.advice import Rule, advise, expected_losses, losses_of
from pipeline.models.beliefs import BetaBeliefs, GammaBeliefs, NormalBeliefs, StudentBeliefs, beliefs_of
from pipeline.models.grid import Grid
from pipeline.models.model import Posterior
from pipeline.models.sums.statistics import Statistics

ONE = 2**15


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float64)


def test_losses_of_two_normal_arms_are_those_of_the_closed_form():
    # Clark 1961: E max = μ1 Φ(d/s) + μ2 Φ(-d/s) + s φ(d/s), d = μ1 - μ2, s² = σ1² + σ2²
    d, s = -0.02, np.hypot(0.01, 0.02)
    largest = 0.1 * norm.cdf(d / s) + 0.12 * norm.cdf(-d / s) + s * norm.pdf(d / s)
    found = expected_losses(NormalBeliefs(floats(0.1, 0.12), floats(0.01, 0.02)))
    np.testing.assert_allclose(found, [largest - 0.1, largest - 0.12], rtol=1e-6)


@pytest.mark.parametrize(
    ("beliefs", "draw"),
    [
        (BetaBeliefs(floats(30, 40, 5), floats(300, 310, 40)), lambda rng, b, m: rng.beta(b.alpha, b.beta, (m, 3))),
        (GammaBeliefs(floats(3, 4), floats(3, 5)), lambda rng, b, m: rng.gamma(b.shape, 1 / b.rate, (m, 2))),
        (
            StudentBeliefs(floats(0.5, 1.0), floats(0.1, 0.4), floats(5, 9)),
            lambda rng, b, m: b.location + b.scale * rng.standard_t(b.freedom, (m, 2)),
        ),
    ],
)
def test_losses_and_shares_are_those_of_a_simulation(beliefs, draw):
    draws = draw(np.random.default_rng(3), beliefs, 400_000)
    regrets = draws.max(axis=1)[:, None] - draws
    error = regrets.std(axis=0) / np.sqrt(len(draws))
    assert (np.abs(expected_losses(beliefs) - regrets.mean(axis=0)) < 5 * error).all()
    share = np.bincount(draws.argmax(axis=1)) / len(draws)
    assert (np.abs(beliefs.best() - share) < 5 * np.sqrt(share * (1 - share) / len(draws))).all()
    np.testing.assert_allclose(beliefs.mean(), draws.mean(axis=0), rtol=0.01)


def test_more_evidence_of_the_same_kind_keeps_the_mean_and_narrows_by_its_root():
    for beliefs in (
        BetaBeliefs(floats(30, 40), floats(300, 310)),
        GammaBeliefs(floats(3, 4), floats(3, 5)),
        StudentBeliefs(floats(0.5, 1.0), floats(0.1, 0.4), floats(5, 9)),
        NormalBeliefs(floats(0.1, 0.12), floats(0.01, 0.02)),
    ):
        grown = beliefs.grown(4.0)
        np.testing.assert_allclose(grown.mean(), beliefs.mean(), rtol=1e-12)
        # A Beta's variance goes by its size and one more.
        np.testing.assert_allclose(grown.deviation(), beliefs.deviation() / 2, rtol=0.002)


def test_an_arm_that_is_far_ahead_may_be_chosen():
    advice = advise(BetaBeliefs(floats(200, 900), floats(9800, 9100)), [10_000, 10_000], Rule())
    assert (advice.leader, advice.is_sure, advice.may_stop, advice.growth) == (1, True, True, 1.0)


def test_of_two_equal_arms_either_may_be_chosen_and_neither_is_the_best():
    advice = advise(BetaBeliefs(floats(1e5, 1e5), floats(1e6, 1e6)), [10**6, 10**6], Rule())
    assert (advice.is_sure, advice.may_stop) == (False, True)


def test_too_few_decisions_of_an_arm_are_told_whatever_it_looks_like():
    # 80 of 100 decisions: 1.25 times the evidence.
    advice = advise(BetaBeliefs(floats(1, 900), floats(80, 100)), [80, 1000], Rule(decisions=100))
    assert advice.is_sure
    assert not advice.may_stop
    assert advice.growth == pytest.approx(1.25)


def test_an_arm_nobody_tried_leaves_it_open_how_long_it_takes():
    assert advise(BetaBeliefs(floats(1, 30), floats(1, 300)), [0, 330], Rule()).growth is None


def test_the_growth_told_is_what_it_takes():
    beliefs, rule = BetaBeliefs(floats(30, 36), floats(300, 310)), Rule()
    growth = advise(beliefs, [330, 346], rule).growth
    assert growth is not None
    for factor, is_enough in ((growth * 1.001, True), (growth / 1.02, False)):
        grown = beliefs.grown(factor)
        assert (losses_of(grown)[1] <= 0.01 * grown.mean()[1]) == is_enough


@pytest.mark.parametrize(
    "name", ["beta_thompson", "gaussian_thompson", "poisson_thompson", "kl_ucb", "epsilon_greedy", "fixed_split"]
)
def test_every_kind_of_posterior_without_context_can_be_advised_on(name):
    model = model_for(name, {})
    rows = [Statistics(0, np.array([n, r * ONE, r * ONE * ONE], np.int64)) for n, r in ((1000, 100), (1000, 200))]
    posterior = model.posterior(rows, Grid(15))
    advice = advise(beliefs_of(posterior), [1000, 1000], Rule())
    assert advice.leader == 1
    assert advice.best[1] > 0.999
    np.testing.assert_allclose(beliefs_of(posterior).mean(), model.estimates(posterior, None).mean, rtol=1e-12)


def test_a_posterior_that_needs_its_context_is_refused():
    with pytest.raises(ValueError, match="say nothing of an arm without its context"):
        beliefs_of(Posterior({"theta": np.ones((2, 3))}))
