"""Units that bend: drawn by nobody's data, the same for ever, beside the features and not instead of them."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.policy.canonical import to_canonical_json
from pipeline.policy.parsing.parse import load_canonical_json, load_policy
from pipeline.policy.random_units import random_units

FILE = """
name = "shop"
{encoder}
[[arms]]
name = "a"
[[arms]]
name = "b"
{context}
[algorithm]
name = "{algorithm}"
[reward]
low = 0.0
high = 1.0
combine = "max"
[[reward.outcomes]]
kind = "click"
worth = 1.0
window = "1m"
[attribution]
settle = "optimistic"
"""


def shop(*names: str, algorithm: str = "auto", encoder: str = ""):
    context = "".join(f'[[context]]\nname = "{one}"\nkind = "numeric"\nlow = 0.0\nhigh = 10.0\n' for one in names)
    return load_policy(FILE.format(context=context, algorithm=algorithm, encoder=encoder), "shop.toml")


def test_units_are_what_they_were_when_decisions_were_logged_with_them():
    # A contract: a vector that was logged was made by these, and no file has them.
    (layer,) = random_units((1, 2, 3), 24).layers
    assert sha256(layer.weights.astype("<i2").tobytes()).hexdigest()[:16] == "56b81e3d9ca56107"


def test_a_unit_looks_at_one_two_or_three_entries_and_bends_among_what_they_can_be():
    (layer,) = random_units(tuple(range(1, 9)), 24).layers
    weights = layer.weights / 4096
    assert np.count_nonzero(weights[:, 1:], axis=1).tolist() == [1, 2, 1, 3] * 6
    np.testing.assert_allclose(np.abs(weights[:, 1:]).sum(axis=1), 1.0, atol=3 * 2.0**-13)
    assert np.abs(weights[:, 0]).max() <= 0.7


def test_of_two_features_a_unit_looks_at_both():
    (layer,) = random_units((1, 2), 8).layers
    assert (layer.weights[:, 1:] != 0).all()


def test_a_vector_has_its_features_as_they_are_and_the_units_behind_them():
    definition = shop("x", "y")
    assert definition.dimension == 3 + 24
    vector = definition.features.encode({"x": 7.5, "y": 0.0}) / 4096
    assert vector[:3].tolist() == [1.0, 0.5, -1.0]
    (layer,) = definition.features.encoder.layers
    expected = np.maximum(layer.weights / 4096 @ vector[:3], 0.0)
    np.testing.assert_allclose(vector[3:], expected, atol=2.0**-13)
    many, errors = definition.features.encode_many([{"x": 7.5, "y": 0.0}, {"x": 1.0, "y": 2.0}])
    assert errors == [None, None]
    assert (many[0] / 4096 == vector).all()


def test_a_file_that_leaves_all_to_auto_has_them_and_what_is_stored_says_so():
    definition = shop("x", "y")
    assert definition.algorithm.name == "auto_linear"
    assert definition.algorithm.parameters == {"wide": 24.0}
    stored = to_canonical_json(definition).decode()
    assert '"encoder":{"random":24}' in stored
    assert load_canonical_json(stored, "stored") == definition


def test_whoever_does_not_want_them_says_so():
    definition = shop("x", encoder="encoder = { random = 0 }")
    assert (definition.dimension, definition.algorithm.parameters) == (2, {})


def test_any_regression_may_have_them():
    assert shop("x", "y", algorithm="lin_ucb", encoder="encoder = { random = 8 }").dimension == 3 + 8
    assert shop("x", "y", algorithm="lin_ucb").dimension == 3


def test_beside_many_features_there_are_none():
    assert shop(*(f"x{i}" for i in range(24))).dimension == 25 + 24
    assert shop(*(f"x{i}" for i in range(25))).dimension == 26


def test_in_whatever_order_features_are_listed_their_units_are_the_same():
    one, other = shop("x", "y", "z"), shop("z", "x", "y")
    context = {"x": 1.0, "y": 9.0, "z": 4.0}
    assert one.features.encode(context)[4:].tolist() == other.features.encode(context)[4:].tolist()


def test_a_feature_is_named_in_an_explanation_and_so_is_a_unit():
    names = [name for name, _ in shop("x", "y").features.entries()]
    assert names[:5] == ["intercept", "x", "y", "encoder unit 1", "encoder unit 2"]
    assert len(names) == 27


def test_more_units_than_there_are_entries_are_refused():
    stored = to_canonical_json(shop("x", "y")).decode().replace('"wide":24', '"wide":27')
    with pytest.raises(ConfigError, match=r"algorithm.wide: 27 entries of 27, expected fewer"):
        load_canonical_json(stored, "stored")


def test_where_contexts_are_counted_each_unit_may_tell_more_of_them_apart():
    # 2 features of ±1 and 2 units up to 8: 3 x 3 x 9 x 9 = 729 in whole steps, and 5 x 5 x 17 x 17 = 7,225 in halves.
    definition = shop("x", "y", algorithm="logistic_ucb", encoder="encoder = { random = 2 }")
    assert definition.context_bits == 1
    with pytest.raises(ConfigError, match="contexts"):
        shop("x", "y", algorithm="logistic_ucb", encoder="encoder = { random = 24 }")
