"""A candidate's features → the vector that it is learned of by: φ = z ⊗ x on the grid, with z = (1, its features).

A candidate is an arm that a request brings. All of a policy's count in one row of statistics, `CANDIDATES`, as no arm
can be named: however many there have been, it is one row, and what was learned of some says something of a new one.

Invariant: features lie within ±1, so that no product leaves the grid; an entry of φ is z_j x_i rounded half to even.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InvalidRecordError
from pipeline.models.grid import FEATURE_BITS
from pipeline.policy.kinds import GRID_ONE
from pipeline.policy.render_value import shown

CANDIDATES = "*"
"""The arm of their row."""
BOUND = 1.0
_FLOAT = frozenset({float})


def features_within(names: Sequence[str], features: Mapping[str, object]) -> tuple[float, ...]:
    """Return a candidate's features in the order of `names`; others are passed over.

    Raises:
        InvalidRecordError: missing-feature, wrong-feature-type, feature-out-of-bounds.
    """
    found = tuple(map(features.get, names))
    if _FLOAT.issuperset(map(type, found)) and all(-BOUND <= value <= BOUND for value in found):  # type: ignore[operator]
        return found  # type: ignore[return-value]  # as most are
    return tuple(_within(name, features) for name in names)


def all_features_within(
    names: Sequence[str], candidates: Collection[Mapping[str, object]]
) -> list[tuple[float, ...]] | None:
    """Return what `features_within` gives of many candidates, sooner; None where any of them has to be looked at."""
    found = [tuple(map(features.get, names)) for features in candidates]
    if not _FLOAT.issuperset(map(type, chain.from_iterable(found))):
        return None
    values = np.fromiter(chain.from_iterable(found), np.float64)
    return found if (np.abs(values) <= BOUND).all() else None  # type: ignore[return-value]  # false for NaN


def candidate_vector(features: Sequence[float], context_vector: bytes) -> bytes:
    """Return φ, int16 little-endian: z_0 x, z_1 x, … with m d entries.

    >>> x = np.array([4096, 2048], "<i2").tobytes()
    >>> np.frombuffer(candidate_vector([-0.5], x), "<i2").tolist()
    [4096, 2048, -2048, -1024]
    """
    z = np.array([GRID_ONE, *(round(value * GRID_ONE) for value in features)], np.float64)
    x = np.frombuffer(context_vector, "<i2").astype(np.float64)
    phi: NDArray[np.float64] = np.rint(np.ldexp(z[:, None] * x, -FEATURE_BITS))  # exact before it is rounded
    return phi.astype("<i2").tobytes()


def _within(name: str, features: Mapping[str, object]) -> float:
    try:
        value = features[name]
    except KeyError:
        raise InvalidRecordError("missing-feature", f"{name} is not among the candidate's features") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRecordError("wrong-feature-type", f"a candidate's {name} is {shown(value)}, expected a number")
    if not (isfinite(value) and abs(value) <= BOUND):
        raise InvalidRecordError(
            "feature-out-of-bounds", f"a candidate's {name} is {shown(value)}, expected a number within ±1: scale it"
        )
    return float(value)
