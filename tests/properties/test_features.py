"""Encoding a batch is encoding each of its contexts: the same grid points, the same refusals."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InvalidRecordError
from pipeline.models.grid import FEATURE_LIMIT
from pipeline.policy.features import FeatureSchema, decode
from pipeline.policy.kinds import (
    FEATURE_REASONS,
    GRID_ONE,
    BooleanFeature,
    CategoricalFeature,
    CyclicFeature,
    HashedFeature,
    LogarithmicFeature,
    NumericFeature,
    OptionalFeature,
    QuantileFeature,
    StandardisedFeature,
)

FINITE = st.floats(allow_nan=False, allow_infinity=False)
POSITIVE = st.floats(min_value=0.0, exclude_min=True, allow_nan=False, allow_infinity=False)
BOOLEANS = st.booleans()
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
def knots(draw):
    rising = sorted(draw(st.lists(st.floats(-1e12, 1e12), min_size=2, max_size=6, unique=True)))
    # What `parse_context` accepts: each above the one before it.
    return tuple(rising) if all(b - a > 0.0 for a, b in pairwise(rising)) else (-1.0, 1.0)


@st.composite
def feature(draw, name):
    one = draw(present_feature(name))
    return OptionalFeature(one) if draw(st.integers(0, 3)) == 0 else one


@st.composite
def logarithmic(draw, name):
    bounds = draw(numeric(name))
    span = bounds.high - bounds.low
    return LogarithmicFeature(name, bounds.low, bounds.high, span / draw(st.floats(1.0, 1e6)) or span, draw(BOOLEANS))


def present_feature(name):
    words = st.lists(st.sampled_from(WORDS), min_size=1, unique=True).map(tuple)
    return st.one_of(
        st.builds(lambda one, clips: replace(one, clips=clips), numeric(name), BOOLEANS),
        logarithmic(name),
        st.builds(QuantileFeature, st.just(name), knots()),
        st.builds(StandardisedFeature, st.just(name), FINITE, POSITIVE),
        st.builds(CyclicFeature, st.just(name), POSITIVE),
        st.just(BooleanFeature(name)),
        st.builds(CategoricalFeature, st.just(name), words, BOOLEANS),
        st.builds(HashedFeature, st.just(name), st.integers(2, 5)),
    )


@st.composite
def schemas(draw):
    names = draw(st.lists(NAMES, unique=True, max_size=6))
    pairs = [(a, b) for a in names for b in names if a < b]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=2)) if pairs else []
    return FeatureSchema(tuple(draw(feature(name)) for name in names), interactions=tuple(chosen))


def sound_value(one):
    if isinstance(one, OptionalFeature):
        return st.none() | sound_value(one.of)
    if isinstance(one, NumericFeature | LogarithmicFeature):
        beyond = FINITE if one.clips else st.nothing()
        return st.floats(one.low, one.high) | st.just(one.low) | st.just(one.high) | beyond
    if isinstance(one, CategoricalFeature):
        return st.sampled_from(one.values) | (st.text(ALPHABET, max_size=3) if one.has_other else st.nothing())
    if isinstance(one, BooleanFeature):
        return st.booleans()
    if isinstance(one, HashedFeature):
        return st.text(ALPHABET, max_size=3)
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
        of = one.of if isinstance(one, OptionalFeature) else one
        within += [FEATURE_LIMIT if isinstance(of, StandardisedFeature) else GRID_ONE] * one.width
    within += [FEATURE_LIMIT] * (schema.dimension - len(within))  # of interactions
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
