from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import ConfigError, InvalidRecordError
from pipeline.policy.exact_logarithm import natural_logarithm
from pipeline.policy.features import FeatureSchema, decode
from pipeline.policy.kinds import (
    CategoricalFeature,
    CyclicFeature,
    LogarithmicFeature,
    NumericFeature,
    StandardisedFeature,
)
from tests.samples import define, linear_policy

SCHEMA = FeatureSchema(
    (
        NumericFeature("age", 0.0, 100.0),
        CategoricalFeature("device", ("mobile", "desktop")),
        CyclicFeature("hour", 24.0),
    )
)
SOUND = {"age": 25, "device": "desktop", "hour": 6.0, "city": "Bonn"}


def test_encodes_intercept_then_features_in_order():
    # 4096 is 1. Age 25 of 0 to 100 is a quarter of the way from -1 to 1: -0.5. Hour 6 of 24 is a quarter turn.
    vector = SCHEMA.encode(SOUND)
    assert vector.dtype == np.int16
    assert vector.tolist() == [4096, -2048, 0, 4096, 4096, 0]
    assert decode(vector).tolist() == [1.0, -0.5, 0.0, 1.0, 1.0, 0.0]


def test_without_features_there_is_no_intercept():
    assert FeatureSchema().dimension == 0
    assert FeatureSchema().encode({"age": 3}).shape == (0,)
    vectors, errors = FeatureSchema().encode_many([{}, {"age": 3}])
    assert (vectors.shape, errors) == ((2, 0), [None, None])


@pytest.mark.parametrize(("age", "entry"), [(0, -4096), (50, 0), (100.0, 4096), (-0.0, -4096)])
def test_a_number_is_scaled_from_its_bounds_to_plus_and_minus_one(age, entry):
    assert NumericFeature("age", 0.0, 100.0).encode(age) == (entry,)


@pytest.mark.parametrize(("value", "entry"), [(1, 0), (3, 2), (5, 2), (7, 4)])
def test_a_half_goes_to_the_even_neighbour(value, entry):
    # From -8192 to 8192 a step of 1 is 4096/8192 = half a grid step: 0.5, 1.5, 2.5 and 3.5 steps.
    assert NumericFeature("x", -8192.0, 8192.0).encode(value) == (entry,)


@pytest.mark.parametrize(
    ("hour", "sine", "cosine"),
    [
        (0, 0, 4096),
        (6, 4096, 0),
        (12, 0, -4096),
        (18, -4096, 0),
        (2, 2048, 3547),  # sin 30° = 1/2; cos 30° = √3/2 = 0.8660254, times 4096 = 3547.24
        (-6, -4096, 0),
        (25, 1060, 3956),  # one hour is 15°: sin 0.2588190 * 4096 = 1060.12, cos 0.9659258 * 4096 = 3956.43
        (24e15, 0, 4096),
    ],
)
def test_a_cyclic_value_comes_round(hour, sine, cosine):
    assert CyclicFeature("hour", 24.0).encode(hour) == (sine, cosine)


@pytest.mark.parametrize(
    ("price", "entry"),
    [
        (20.0, 0),
        (25.0, 2048),  # half a deviation of 10 above 20
        (19.0, -410),  # -0.1 * 4096 = -409.6
        (100.0, 32767),  # 8 deviations: one step more than the grid has
        (-1e308, -32767),
    ],
)
def test_a_standardised_value_is_told_in_deviations_up_to_the_grids_end(price, entry):
    feature = StandardisedFeature("price", 20.0, 10.0)
    assert feature.encode(price) == (entry,)
    column = np.zeros((3, 1), np.int16)
    assert feature.encode_column([price, "x", 20], column).tolist() == [True, False, True]
    assert column.ravel().tolist() == [entry, 0, 0]


def test_a_standardised_feature_has_its_constants_in_the_schema():
    plain = {"name": "price", "kind": "standardised", "mean": 20.0, "deviation": 10.0}
    one, other = (define(linear_policy(context=[plain | change])) for change in ({}, {"mean": 21.0}))
    assert one.to_plain()["context"] == [plain]
    assert one.schema_hash != other.schema_hash
    with pytest.raises(ConfigError) as refused:
        define(linear_policy(context=[plain | {"deviation": 0}]))
    assert "context[0].deviation: 0 is not a finite number above 0" in refused.value.faults[0]


FAULTS = [
    ({"age": ...}, "missing-feature", "age is not in the context"),
    ({"age": "25"}, "wrong-feature-type", 'age is "25" (str), expected a number'),
    ({"age": True}, "wrong-feature-type", "age is true (bool), expected a number"),
    ({"age": None}, "wrong-feature-type", "age is null (NoneType), expected a number"),
    ({"age": float("nan")}, "feature-not-finite", "age is nan, expected a finite number"),
    ({"age": float("-inf")}, "feature-not-finite", "age is -inf, expected a finite number"),
    ({"age": 100.5}, "feature-out-of-bounds", "age is 100.5, expected 0.0 to 100.0"),
    ({"age": -1}, "feature-out-of-bounds", "age is -1, expected 0.0 to 100.0"),
    ({"age": 10**400}, "feature-out-of-bounds", "expected a number that float64 can hold"),
    ({"device": "tablet"}, "unknown-category", "device is \"tablet\", expected one of ('mobile', 'desktop')"),
    ({"device": 1}, "wrong-feature-type", "device is 1 (int), expected a string"),
    ({"device": ["mobile"]}, "wrong-feature-type", "device is ['mobile'] (list), expected a string"),
    ({"hour": float("inf")}, "feature-not-finite", "hour is inf, expected a finite number"),
    ({"hour": False}, "wrong-feature-type", "hour is false (bool), expected a number"),
    ({"device": "x", "age": "y"}, "wrong-feature-type", 'age is "y"'),  # the first feature at fault
]


@pytest.mark.parametrize(("change", "reason", "detail"), FAULTS)
def test_a_context_that_cannot_be_encoded_is_refused_with_the_reason(change, reason, detail):
    context = {name: value for name, value in (SOUND | change).items() if value is not ...}

    with pytest.raises(InvalidRecordError) as caught:
        SCHEMA.encode(context)
    assert caught.value.reason == reason
    assert detail in caught.value.detail

    vectors, (before, error, after) = SCHEMA.encode_many([SOUND, context, SOUND])
    assert error is not None
    assert (error.reason, error.detail) == (reason, caught.value.detail)
    assert before is None
    assert after is None
    assert vectors[1].tolist() == [0] * SCHEMA.dimension
    assert (vectors[[0, 2]] == SCHEMA.encode(SOUND)).all()


def test_an_empty_batch_is_an_empty_batch():
    vectors, errors = SCHEMA.encode_many([])
    assert (vectors.shape, vectors.dtype, errors) == ((0, SCHEMA.dimension), np.int16, [])


def test_a_heavy_tail_is_told_apart_by_factors():
    feature = LogarithmicFeature("price", 0.0, 99_999.0, 1.0)
    # ln(1 + x) / ln(100,000) from -1 to 1: 9 is 1/5 of the way, 99 is 2/5.
    encoded = [feature.encode(value)[0] for value in (0, 9, 99, 99_999)]
    assert encoded == [-4096, round(-0.6 * 4096), round(-0.2 * 4096), 4096]
    near, far = (NumericFeature("price", 0.0, 99_999.0).encode(value)[0] for value in (5.0, 8.0))
    assert far - near <= 1, "on an even scale they are one step apart at most"
    assert feature.encode(10.0)[0] - feature.encode(5.0)[0] > 400


def test_the_logarithm_is_that_of_the_library_to_the_last_digits():
    x = np.concatenate([np.logspace(-300, 300, 5_001), np.linspace(0.5, 2.0, 5_001)])
    assert np.abs(natural_logarithm(x) - np.log(x)).max() < 1e-12
    assert natural_logarithm(x).tolist() == [natural_logarithm(one) for one in x.tolist()]
