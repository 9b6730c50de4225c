from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.models.sums.groups import group_for, group_name
from pipeline.policy.changes import check_change
from pipeline.policy.contexts import name_contexts, possible_contexts
from pipeline.policy.reward import Credit
from pipeline.policy.tallies import Shown, tallies_of
from tests.samples import CLICK, define, ensemble_policy, exp3_policy, linear_policy, logistic_policy, plain_policy

ONE = 2**15
WORD = {"name": "device", "kind": "categorical", "values": ["mobile", "desktop", "other"]}
NUMBER = {"name": "age", "kind": "numeric", "low": 0, "high": 100}


def test_the_grid_is_the_finest_on_which_features_make_no_more_contexts_than_there_may_be() -> None:
    # Two numbers of 1 + 2 · 2^bits steps each: 129² = 16,641 with 6 bits, 257² = 66,049 with 7.
    assert define(logistic_policy()).context_bits == 6
    for most, bits in ((9, 0), (24, 0), (25, 1), (66_048, 6), (66_049, 7), (2**40, 12)):
        assert define(logistic_policy(statistics={"contexts": most})).context_bits == bits


def test_no_more_contexts_come_than_are_possible() -> None:
    features = define(logistic_policy(context=[WORD, NUMBER])).features
    contexts = [{"device": word, "age": age} for word, age in product(WORD["values"], np.linspace(0, 100, 999))]
    vectors, _ = features.encode_many(contexts)
    for bits in (0, 1, 3):
        # Three words, and ages in steps of 2^-bits from -1 to 1.
        assert possible_contexts(features, bits) == 3 * (1 + 2 * 2**bits) == len(set(name_contexts(vectors, bits)))


def test_a_context_is_named_by_its_entries_to_the_nearest_step() -> None:
    vector = np.array([[4096, -1025, 511, 512, 1536, -4096]], np.int16)
    # In steps of 1/4, which are 1,024: -1.001 → -1, 0.499 → 0, 0.5 → 0 and 1.5 → 2, halves to even.
    assert name_contexts(vector, 2) == ["context:4,-1,0,0,2,-4"]


def test_a_decision_counts_in_its_context_with_its_reward() -> None:
    definition = define(logistic_policy(statistics={"contexts": 9}))
    vector = np.array([4096, 4000, -100], "<i2").tobytes()
    like = Credit("o", "like", 1.0, 5)  # worth a quarter
    found = tallies_of(definition, [like], Shown(0, vector, 1.0, "x"), is_settled=True)
    assert [tuple(one) for one in found] == [("context:1,1,0", 2, 0, 1), ("context:1,1,0", 2, 1, ONE // 4)]
    assert len(tallies_of(definition, [], Shown(0, vector, 1.0, "x"), is_settled=True)) == 1


def test_features_that_make_too_many_contexts_even_in_whole_steps_are_refused_with_what_to_do() -> None:
    many = [NUMBER | {"name": f"f{i}"} for i in range(11)]  # 3^11 = 177,147
    with pytest.raises(ConfigError, match="65536 is fewer than the 177147 that 11 features can make"):
        define(logistic_policy(context=many))
    assert define(logistic_policy(context=many, statistics={"contexts": 177_147})).context_bits == 0


def test_contexts_are_declared_only_where_they_are_counted() -> None:
    with pytest.raises(
        ConfigError, match="linear_thompson counts none; leave it out, or choose logistic_thompson, logistic_ucb"
    ):
        define(linear_policy(statistics={"contexts": 100}))
    assert "contexts" not in define(linear_policy()).statistics_parts()["statistics"]  # and so is its hash as before
    assert define(logistic_policy()).to_plain()["statistics"] == {"bucket": "20s", "contexts": 65_536}


def test_propensities_are_counted_where_the_algorithm_wants_them_and_nowhere_else() -> None:
    assert define(exp3_policy()).to_plain()["statistics"] == {"bucket": "20s", "propensities": True}
    assert define(define(exp3_policy()).to_plain()) == define(exp3_policy())
    assert "propensities" not in define(plain_policy()).statistics_parts()["statistics"]  # and so is its hash as before
    with pytest.raises(ConfigError, match="beta_thompson counts none; leave it out, or choose tsallis_inf, exp3"):
        define(plain_policy(statistics={"propensities": True}))
    with pytest.raises(ConfigError, match="propensities: is false, but exp3 counts by them"):
        define(exp3_policy(statistics={"bucket": "20s", "propensities": False}))


def test_groups_are_counted_where_the_algorithm_wants_them_and_not_with_kinds_apart() -> None:
    ensemble = define(ensemble_policy())
    assert ensemble.to_plain()["statistics"] == {"bucket": "20s", "groups": True}
    found = tallies_of(ensemble, [], Shown(0, b"", 1.0, "x1"), is_settled=True)
    assert [tuple(one) for one in found] == [(group_name(group_for("x1")), 0, 0, 0)]
    with pytest.raises(ConfigError, match="linear_thompson counts none; leave it out, or choose linear_ensemble"):
        define(linear_policy(statistics={"groups": True}))
    with pytest.raises(ConfigError, match="linear_ensemble counts groups by one reward"):
        define(ensemble_policy(combine="weighted", outcomes=(CLICK | {"worth": 0.5},)))


def test_whether_and_how_finely_contexts_are_counted_cannot_change_under_a_generation() -> None:
    reward = {"low": 0.0, "high": 1.0}
    linear = linear_policy()
    linear["reward"] = logistic_policy()["reward"] | reward
    for before, after in (
        (linear, logistic_policy()),
        (logistic_policy(), logistic_policy(statistics={"contexts": 9})),
    ):
        with pytest.raises(ConfigError, match="statistics made under another statistics"):
            check_change(define(before), define(after))
        check_change(define(before), define(after | {"generation": 2}))
