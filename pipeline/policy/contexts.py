"""Which contexts are told apart, where decisions are counted by context.

Every distinct context is a row of its own, in each segment, arm and bucket. So a policy declares how many there may
be at most, and entries are counted on the finest grid, of steps 2^-bits, on which its features can make no more. A
category is as fine as ever; a number is rounded. Nothing is refused, and no decision is without a row: a bound that
looked at what has come already would depend on the order of arrival.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from pipeline.models.grid import FEATURE_BITS, FEATURE_LIMIT
from pipeline.models.sums.contexts import context_name
from pipeline.policy.features import FeatureSchema
from pipeline.policy.kinds.values import steps_of

DEFAULT_CONTEXTS = 65_536
MAX_CONTEXTS = 2**40


def possible_contexts(features: FeatureSchema, bits: int) -> int:
    """Return how many distinct contexts features can make in steps of 2^-bits, at most."""
    if features.encoder is not None:
        units = features.dimension - features.encoder.kept
        beside = possible_contexts(replace(features, encoder=None), bits) if features.encoder.random else 1
        # On a grid that is coarser than the features' own, units tell apart what features don't.
        return beside * prod([steps_of(FEATURE_LIMIT, bits, is_signed=False)] * units)
    kinds = {feature.name: feature for feature in features.features}
    possible = prod(feature.possible(bits) for feature in kinds.values())
    for left, right in features.interactions:
        # A product with a category is one of the other's entries, or 0: it tells nothing apart that they don't.
        if not any(kinds[name].possible(0) == kinds[name].possible(FEATURE_BITS) for name in (left, right)):
            possible *= steps_of(FEATURE_LIMIT, bits) ** (kinds[left].width * kinds[right].width)
    return possible


def bits_for(features: FeatureSchema, limit: int) -> int | None:
    """Return the finest grid on which there are no more contexts than `limit`; None: not even whole numbers do."""
    return next((bits for bits in range(FEATURE_BITS, -1, -1) if possible_contexts(features, bits) <= limit), None)


def name_contexts(vectors: NDArray[np.int16], bits: int) -> list[str]:
    """Name the rows that context vectors (m, d) are counted in: each entry to the nearest step, a half to even."""
    steps = np.rint(np.ldexp(vectors.astype(np.float64), bits - FEATURE_BITS)).astype(np.int64)
    return [context_name(entries) for entries in steps.tolist()]
