"""Law 16 for every algorithm: what rewards and features are measured in, and how they are listed, decides nothing.

Where an algorithm has parameters in a reward's unit they are to be told in the new one, and then it decides alike;
`auto`'s rules have none. Where it is made for [0, 1] its range does the scaling, or refuses. What can't is named here.
"""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.models import ALGORITHMS, model_for
from pipeline.models.grid import Grid
from pipeline.models.model import Model
from pipeline.policy.parsing.parse import parse_policy
from tests.laws.test_models import PARAMETERS, arms, contexts, known_of

IN_UNITS = {
    "gaussian_thompson": {"prior_mean": 1, "prior_deviation": 1},
    "lin_ucb": {"alpha": 1},
    "linear_thompson": {"v": 1},
    "linear_ensemble": {"spread": 1},
    "square_cb": {"gamma": -1},
    "hybrid_ucb": {"alpha": 1},
    "hybrid_thompson": {"v": 1},
}
"""Parameters in a reward's unit, and its power in theirs."""
COUNTS = {"poisson_thompson": "rewards are counts: their variance is their mean, in no other unit"}
BY_ENTRY = {"linear_ensemble": "a member begins at coefficients of its own, which go by the entry's place"}
"""Algorithms that features in another order make decide otherwise, though as well."""

RANGED = [name for name, info in ALGORITHMS.items() if info.needs_unit_reward]
FREE = [name for name in ALGORITHMS if name not in (*RANGED, *COUNTS)]
WITH_CONTEXT = [name for name, info in ALGORITHMS.items() if info.needs_context and name not in BY_ENTRY]


def built(name: str, times: float = 1.0) -> Model:
    info = ALGORITHMS[name]
    told = dict(PARAMETERS.get(name, {}))
    for key, power in IN_UNITS.get(name, {}).items():
        told[key] = told.get(key, info.parameters[key].default) * times**power
    return model_for(name, told)


@pytest.mark.parametrize("name", FREE)
@pytest.mark.parametrize("halvings", [6, -9])
def test_rewards_in_another_unit_are_decided_alike(name, halvings):
    # Integers stay what they are: steps of 2^-15 and of 2^-9 are rewards and 64 times those; then a 512th of them.
    times, dimension = 2.0**halvings, 5 if ALGORITHMS[name].needs_context else 0
    known, one, other = arms(dimension), built(name), built(name, times)
    before = one.posterior(known, Grid(15, (0.0, 1.0)))
    after = other.posterior(known, Grid(15 - halvings, (0.0, times)))
    for x in contexts(dimension):
        np.testing.assert_allclose(other.probabilities(after, x), one.probabilities(before, x), atol=1e-6)
        means = other.estimates(after, x).mean / times, one.estimates(before, x).mean
        np.testing.assert_allclose(*means, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", RANGED)
def test_what_is_made_for_rates_says_how_to_scale_what_is_none(name):
    with pytest.raises(ConfigError, match=r"are not within 0 to 1, as .* needs; scale the worths, or choose one of"):
        parse_policy(policy(name, 50.0), "x")
    assert parse_policy(policy(name, 50.0, worth=0.02), "x").reward.high == 1.0  # 0.02 of each: that is the scaling


@pytest.mark.parametrize("name", WITH_CONTEXT)
def test_features_in_another_order_are_decided_alike(name):
    model, order, rng = built(name), [0, 3, 1, 4, 2], np.random.default_rng(7)
    X = [rng.integers(-(2**12), 2**12 + 1, (40, 5)).astype(np.int16) for _ in range(3)]
    for one in X:
        one[:, 0] = 2**12  # the constant stands first, whatever the features' order
    rewards = [rng.integers(0, 2, 40) * 2**15 for _ in X]
    one = model.posterior([known_of(*pair) for pair in zip(X, rewards, strict=True)], Grid(15))
    permuted = [known_of(x[:, order], r) for x, r in zip(X, rewards, strict=True)]
    other = model.posterior(permuted, Grid(15))
    for x in X[0][:8] / 4096.0:
        np.testing.assert_allclose(
            model.probabilities(other, x[order]), model.probabilities(one, x), atol=1e-6, err_msg=name
        )


@pytest.mark.parametrize("name", WITH_CONTEXT)
def test_a_feature_in_another_unit_is_the_same_feature_once_its_bounds_say_so(name):
    # Every algorithm that is told a ridge is told it of features within ±1: the bounds do the scaling.
    one, other = (parse_policy(policy(name, 1.0, metres=metres), "x") for metres in (1.0, 0.001))
    for place in (0.0, 0.3, 1.0):
        kilometres, metres = one.features.encode({"far": 8 * place}), other.features.encode({"far": 8_000 * place})
        assert kilometres.tolist() == metres.tolist()


def test_what_can_not_follow_is_named_and_nothing_else_is():
    assert {*IN_UNITS, *COUNTS, *BY_ENTRY} <= ALGORITHMS.keys()
    assert not {*IN_UNITS} & {*RANGED}


def policy(name: str, high: float, worth: float = 1.0, metres: float = 1.0) -> dict[str, object]:
    kind = {"kind": "buy", "worth": worth, "times_value": True, "value_low": 0.0, "value_high": high, "window": "1m"}
    plain: dict[str, object] = {
        "name": "x",
        "arms": [{"name": "a"}, {"name": "b"}],
        "algorithm": {"name": name},
        "reward": {"low": 0.0, "high": high * worth, "combine": "sum", "outcomes": [kind]},
        "attribution": {"settle": "optimistic"},
    }
    if ALGORITHMS[name].needs_context:
        plain["context"] = [{"name": "far", "kind": "numeric", "low": 0.0, "high": 8.0 / metres}]
    return plain
