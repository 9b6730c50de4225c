"""Which contexts are told apart, where decisions are counted by context.

Every distinct context is a row of its own, in each segment, arm and bucket. So a policy declares how many there may
be at most, and entries are counted on the finest grid, of steps 2^-bits, on which its features can make no more. A
category is as fine as ever; a number is rounded. Nothing is refused, and no decision is without a row: a bound that
looked at what has come already would depend on the order of arrival.
"""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from pipeline.models.grid import FEATURE_BITS, FEATURE_LIMIT
from pipeline.models.sums.contexts import context_name
from pipeline.policy.feature_kinds import CategoricalFeature, CyclicFeature, Feature, LogarithmicFeature, NumericFeature
from pipeline.policy.features import FeatureSchema

DEFAULT_CONTEXTS = 65_536
MAX_CONTEXTS = 2**40


def possible_contexts(features: FeatureSchema, bits: int) -> int:
    """Return how many distinct contexts features can make in steps of 2^-bits, at most."""
    if features.encoder is not None:
        return prod([_steps(FEATURE_LIMIT, bits, is_signed=False)] * (features.dimension - 1))
    return prod(_possible(feature, bits) for feature in features.features)


def bits_for(features: FeatureSchema, limit: int) -> int | None:
    """Return the finest grid on which there are no more contexts than `limit`; None: not even whole numbers do."""
    return next((bits for bits in range(FEATURE_BITS, -1, -1) if possible_contexts(features, bits) <= limit), None)


def name_contexts(vectors: NDArray[np.int16], bits: int) -> list[str]:
    """Name the rows that context vectors (m, d) are counted in: each entry to the nearest step, a half to even."""
    steps = np.rint(np.ldexp(vectors.astype(np.float64), bits - FEATURE_BITS)).astype(np.int64)
    return [context_name(entries) for entries in steps.tolist()]


def _possible(feature: Feature, bits: int) -> int:
    one = 1 << FEATURE_BITS
    match feature:
        case CategoricalFeature():
            return len(feature.values)
        case NumericFeature() | LogarithmicFeature():
            return _steps(one, bits, is_signed=True)
        case CyclicFeature():
            return prod([_steps(one, bits, is_signed=True)] * feature.width)
        case _:
            return _steps(FEATURE_LIMIT, bits, is_signed=True)


def _steps(largest: int, bits: int, *, is_signed: bool) -> int:
    """Return how many steps there are from -largest, or 0, to largest."""
    up = round(largest / (1 << (FEATURE_BITS - bits)))
    return 1 + up * (1 + is_signed)
