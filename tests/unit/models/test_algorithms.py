from __future__ import annotations

import math

import pytest

from pipeline.errors import ConfigError
from pipeline.models import ALGORITHMS, model_for
from pipeline.models.algorithms.beta_thompson import BetaThompson
from pipeline.models.algorithms.lin_ucb import LinUcb
from pipeline.models.algorithms.linear_thompson import LinearThompson


def test_parameters_that_are_not_given_take_their_defaults():
    assert model_for("beta_thompson", {}) == BetaThompson(prior_alpha=1.0, prior_beta=1.0)
    assert model_for("linear_thompson", {"v": 2}) == LinearThompson(ridge=1.0, v=2.0)
    assert model_for("lin_ucb", {"ridge": 0.5}) == LinUcb(ridge=0.5, alpha=0.5)


def test_every_algorithm_says_what_a_policy_must_declare():
    assert {name: (info.needs_context, info.needs_unit_reward) for name, info in ALGORITHMS.items()} == {
        "auto_linear": (True, False),
        "auto_rates": (False, False),
        "beta_thompson": (False, True),
        "hierarchical_thompson": (False, True),
        "gaussian_thompson": (False, False),
        "poisson_thompson": (False, False),
        "kl_ucb": (False, True),
        "ucb_tuned": (False, True),
        "ucb1": (False, True),
        "epsilon_greedy": (False, False),
        "fixed_split": (False, False),
        "tsallis_inf": (False, True),
        "exp3": (False, True),
        "linear_thompson": (True, False),
        "lin_ucb": (True, False),
        "square_cb": (True, False),
        "linear_ensemble": (True, False),
        "logistic_thompson": (True, True),
        "logistic_ucb": (True, True),
        "logistic_hybrid_thompson": (True, True),
        "logistic_hybrid_ucb": (True, True),
        "hybrid_thompson": (True, False),
        "hybrid_ucb": (True, False),
    }
    assert {name for name, info in ALGORITHMS.items() if info.needs_nonnegative_reward} == {"poisson_thompson"}


def test_an_unknown_algorithm_is_refused_with_the_known_ones():
    with pytest.raises(
        ConfigError,
        match=r"'ucb' is none of auto_linear, auto_rates, beta_thompson, hierarchical_thompson, .*, hybrid_ucb",
    ):
        model_for("ucb", {})


def test_every_fault_is_named_at_once():
    with pytest.raises(ConfigError) as refused:
        model_for("lin_ucb", {"ridge": 0.0, "v": 1.0, "alpha": math.nan})
    assert refused.value.faults == (
        "ridge must lie in [1e-06, 1e+06]: seen 0.0",
        "alpha must be a number: seen nan",
        "parameter 'v' is none of ridge, alpha",
    )


@pytest.mark.parametrize("value", [True, "1", None, math.inf])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ConfigError, match="prior_alpha must be a number"):
        model_for("beta_thompson", {"prior_alpha": value})


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_ends_of_every_range_are_accepted(name):
    parameters = ALGORITHMS[name].parameters
    for end in ("low", "high", "default"):
        model = model_for(name, {key: getattr(parameter, end) for key, parameter in parameters.items()})
        assert model.name == name
