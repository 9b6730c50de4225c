"""Folds: what is learned from the others is asked about one.

A fold is a hash of the subject, or of the action where there is none. So a person is in one fold whole, and nothing of
the log's order is in it: a page that asks for five arms in a row has them in folds at random, where folds in turn would
each hold one place of the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

FOLDS = 5
_KEY = b"fold of an evaluation"
"""A subject's fold says nothing of its holdout or rollout."""


def fold_for(unit: str, folds: int = FOLDS) -> int:
    """Return the fold of a subject or an action.

    >>> fold_for("ada") == fold_for("ada") and 0 <= fold_for("ada") < FOLDS
    True
    """
    return int.from_bytes(blake2b(unit.encode(), key=_KEY, digest_size=8).digest(), "big") % folds


def folds_of(units: Sequence[str], folds: int = FOLDS) -> NDArray[np.int64]:
    """Return the fold of each unit, (n,)."""
    return np.fromiter((fold_for(unit, folds) for unit in units), np.int64, len(units))
