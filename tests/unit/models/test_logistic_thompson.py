from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit, logit, ndtr

from pipeline.errors import StateError
from pipeline.models import model_for
from pipeline.models.grid import Grid
from pipeline.models.many_contexts import probabilities_many
from pipeline.models.model import Sums
from pipeline.models.sums.contexts import context_name, weigh_contexts
from pipeline.models.sums.statistics import Statistics
from pipeline.models.sums.weighted import ArmPrior

ONE = 2**15
GRID = Grid(15)
NOTHING = Statistics.zero(3)


def arm(rows: dict[tuple[int, ...], tuple[int, float]], prior: ArmPrior | None = None) -> Sums:
    """Give an arm from contexts in whole steps of 1/4: (n, Σr)."""
    named = [
        (1.0, 1.0, context_name(steps), Statistics(-2, np.array([n, round(earned * ONE)])))
        for steps, (n, earned) in rows.items()
    ]
    return weigh_contexts(named, NOTHING, 3, 2, 15, prior)


GOOD = arm({(4, 4, 0): (40, 30.0), (4, -4, 1): (50, 10.5)})
BAD = arm({(4, 4, 0): (60, 9.0), (4, 0, -3): (20, 4.0)})
NEW = arm({(4, 1, 1): (2, 1.0)})


@pytest.mark.parametrize("sharpness", [1.0, 9.0])
@pytest.mark.parametrize("x", [(1.0, 1.0, 0.0), (1.0, -1.0, 0.5), (1.0, 0.0, 0.0)])
def test_chances_are_those_of_a_fine_integration_over_the_chance_of_success(x: tuple, sharpness: float) -> None:
    model = model_for("logistic_thompson", {"sharpness": sharpness})
    posterior = model.posterior([GOOD, BAD, NEW], GRID)
    context = np.array(x)
    theta, covariance = posterior.parameters["theta"], posterior.parameters["covariance"]
    mean = theta @ context
    sd = np.sqrt(np.einsum("kij,i,j->k", covariance, context, context) / sharpness)

    # In p itself, where the model integrates over log-odds: the density of p is that of its log-odds / (p (1 - p)).
    def density(p: float, k: int) -> float:
        z = (logit(p) - mean) / sd
        others = np.delete(ndtr(z), k).prod()
        return float(np.exp(-0.5 * z[k] ** 2) / (sd[k] * np.sqrt(2.0 * np.pi) * p * (1.0 - p)) * others)

    cuts = expit(mean)
    for k, seen in enumerate(model.probabilities(posterior, context)):
        exact, _ = quad(density, 0.0, 1.0, args=(k,), points=sorted(cuts), epsabs=1e-10, limit=500)
        assert seen == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize("name", ["logistic_thompson", "logistic_ucb"])
def test_many_contexts_at_once_have_the_chances_of_each(name: str) -> None:
    model = model_for(name, {})
    posterior = model.posterior([GOOD, BAD, NEW], GRID)
    contexts = np.random.default_rng(1).uniform(-1.0, 1.0, (20, 3))
    one_by_one = np.array([model.probabilities(posterior, context) for context in contexts])
    np.testing.assert_allclose(probabilities_many(model, posterior, contexts), one_by_one, atol=1e-6)


def test_a_rate_that_one_context_has_is_found_again() -> None:
    # 10,000 decisions, 2 in 100 succeed: with λ = 0.001, p = 0.02 to the prior's share, λθ / (n p (1 - p)).
    model = model_for("logistic_thompson", {"ridge": 1e-3})
    posterior = model.posterior([arm({(4, 0, 0): (10_000, 200.0)})], GRID)
    mean, low, high = model.estimates(posterior, np.array([1.0, 0.0, 0.0]))
    assert mean[0] == pytest.approx(0.02, rel=1e-4)
    # The log-odds' deviation is 1 / sqrt(n p (1 - p)) = 1 / 14, so the interval is p e^(±1.96 / 14) or so.
    assert low[0] == pytest.approx(0.02 * np.exp(-1.96 / 14), rel=0.01)
    assert high[0] == pytest.approx(0.02 * np.exp(1.96 / 14), rel=0.01)


def test_sharpness_narrows_the_choice_and_leaves_the_estimate() -> None:
    plain, sharp = (model_for("logistic_thompson", {"sharpness": sharpness}) for sharpness in (1.0, 4.0))
    posterior = plain.posterior([GOOD, BAD], GRID)
    x = np.array([1.0, -1.0, 0.25])
    assert sharp.posterior([GOOD, BAD], GRID).to_bytes() == posterior.to_bytes()
    assert sharp.probabilities(posterior, x).max() > plain.probabilities(posterior, x).max()
    np.testing.assert_array_equal(sharp.estimates(posterior, x).mean, plain.estimates(posterior, x).mean)


def test_what_is_known_beforehand_is_decisions_of_the_intercept_alone() -> None:
    model = model_for("logistic_thompson", {})
    known = arm({(4, 4, 0): (40, 30.0)}, ArmPrior(0.25, 8.0, 0.1875))
    counted = arm({(4, 0, 0): (8, 2.0), (4, 4, 0): (40, 30.0)})
    assert model.posterior([known], GRID).to_bytes() == model.posterior([counted], GRID).to_bytes()


def test_sums_that_were_not_told_apart_are_refused() -> None:
    with pytest.raises(StateError, match="wants decisions counted by context"):
        model_for("logistic_thompson", {}).posterior([NOTHING], GRID)
