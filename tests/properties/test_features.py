"""Encoding a batch is encoding each of its contexts: the same grid points, the same refusals."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InvalidRecordError
from pipeline.models.grid import FEATURE_LIMIT
from pipeline.policy.feature_kinds import (
    FEATURE_REASONS,
    GRID_ONE,
    CategoricalFeature,
    CyclicFeature,
    LogarithmicFeature,
    NumericFeature,
    StandardisedFeature,
)
from pipeline.policy.features import FeatureSchema, decode

FINITE = st.floats(allow_nan=False, allow_infinity=False)
POSITIVE = st.floats(min_value=0.0, exclude_min=True, allow_nan=False, allow_infinity=False)
NAMES = st.sampled_from("abcdef")
WORDS = ("red", "green", "blue", "")
# Given, because the table of all Unicode takes Hypothesis seconds to build on a fresh clone, and it then fails.
ALPHABET = "a1 é携\n"


@st.composite
def numeric(draw, name):
    low, high = sorted(draw(st.lists(FINITE, min_size=2, max_size=2, unique=True).filter(lambda x: x[0] != x[1])))
    # What `parse_context` accepts: the bounds' difference is a finite number.
    return NumericFeature(name, low, high) if high - low < np.inf else NumericFeature(name, low / 2, high / 2)


@st.composite
def feature(draw, name):
    kind = draw(st.integers(0, 4))
    if kind == 4:
        bounds = draw(numeric(name))
        span = bounds.high - bounds.low
        unit = span / draw(st.floats(1.0, 1e6))
        return LogarithmicFeature(name, bounds.low, bounds.high, unit or span)
    if kind == 0:
        return draw(numeric(name))
    if kind == 1:
        return CategoricalFeature(name, tuple(draw(st.lists(st.sampled_from(WORDS), min_size=1, unique=True))))
    if kind == 2:
        return StandardisedFeature(name, draw(FINITE), draw(POSITIVE))
    return CyclicFeature(name, draw(POSITIVE))


@st.composite
def schemas(draw):
    names = draw(st.lists(NAMES, unique=True, max_size=6))
    return FeatureSchema(tuple(draw(feature(name)) for name in names))


def sound_value(one):
    if isinstance(one, NumericFeature | LogarithmicFeature):
        return st.floats(one.low, one.high) | st.just(one.low) | st.just(one.high)
    if isinstance(one, CategoricalFeature):
        return st.sampled_from(one.values)
    return FINITE | st.integers(-(10**300), 10**300)


ANYTHING = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([10**400, -(10**400), 2**53 + 1])
    | st.text(ALPHABET, max_size=3)
    | st.lists(st.integers(), max_size=1)
)


def contexts(schema):
    sound = st.fixed_dictionaries({one.name: sound_value(one) for one in schema.features})
    faulty = st.dictionaries(NAMES, ANYTHING)
    mixed = st.builds(lambda a, b: a | b, sound, faulty)
    return st.lists(sound | mixed | faulty, max_size=8)


def encode_each(schema, batch):
    """The specification: one at a time."""
    for context in batch:
        try:
            yield schema.encode(context).tolist(), None
        except InvalidRecordError as error:
            yield [0] * schema.dimension, (error.reason, error.detail)


@given(data=st.data(), schema=schemas())
def test_a_batch_is_encoded_as_each_context_is(data, schema):
    batch = data.draw(contexts(schema))
    vectors, errors = schema.encode_many(batch)
    seen = [(v.tolist(), e and (e.reason, e.detail)) for v, e in zip(vectors, errors, strict=True)]
    assert seen == list(encode_each(schema, batch))
    assert vectors.dtype == np.int16
    assert vectors.shape == (len(batch), schema.dimension)


@given(data=st.data(), schema=schemas())
def test_what_is_encoded_lies_on_the_grid_within_its_bound_and_refusals_have_known_reasons(data, schema):
    vectors, errors = schema.encode_many(data.draw(contexts(schema)))
    within = [GRID_ONE] * min(schema.dimension, 1)
    for one in schema.features:
        within += [FEATURE_LIMIT if isinstance(one, StandardisedFeature) else GRID_ONE] * one.width
    assert (np.abs(vectors.astype(int)) <= within).all()
    assert {error.reason for error in errors if error is not None} <= FEATURE_REASONS


@given(data=st.data(), schema=schemas())
def test_sound_contexts_are_never_refused(data, schema):
    context = data.draw(st.fixed_dictionaries({one.name: sound_value(one) for one in schema.features}))
    assert schema.encode(context).shape == (schema.dimension,)


@given(data=st.data(), one=numeric("x"))
def test_a_number_is_at_most_half_a_grid_step_from_its_place(data, one):
    value = data.draw(st.floats(one.low, one.high))
    place = (value - one.low) / (one.high - one.low) * 2.0 - 1.0
    (entry,) = decode(np.array(one.encode(value), dtype=np.int16))
    assert abs(entry - place) <= 2.0**-13
