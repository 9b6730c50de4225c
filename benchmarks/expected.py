"""What a load must come to, summed apart from the package: integers in numpy, hashed by the tests' naive fold.

Sums of a million rows of 64 entries would take the naive fold minutes, so they are taken here by matrix products of
int64; on small loads the two are held equal by a test. The hash has one description and one independent
implementation, `tests/naive/fold.py`, which is used as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.naive.fold import reward_exponent, sha256_of

Sums = dict[tuple[str, str, int], list[int]]


def sums_of(
    arms: NDArray[np.int64], rewards: NDArray[np.int64], X: NDArray[np.int64], buckets: NDArray[np.int64]
) -> Sums:
    """Return (segment, arm, bucket) → [n, Σr, Σr², b…, upper triangle of A row by row], for the segment `all`.

    Args:
        arms: (m,) numbers of arms. rewards: (m,) grid units. X: (m, d) grid units. buckets: (m,).
    """
    sums: Sums = {}
    upper = np.triu_indices(X.shape[1])
    for bucket in np.unique(buckets):
        for arm in np.unique(arms[buckets == bucket]):
            rows = (arms == arm) & (buckets == bucket)
            x, r = X[rows], rewards[rows]
            parts = [[len(r), int(r.sum()), int((r * r).sum())], (r @ x).tolist(), (x.T @ x)[upper].tolist()]
            sums["all", f"arm-{arm}", int(bucket)] = [value for part in parts for value in part]
    return sums


def sha256(policy: Mapping[str, Any], sums: Sums) -> str:
    """Return the `posterior_sha256` of sums; `policy` is its plain TOML value, algorithm parameters written out."""
    return sha256_of(policy, reward_exponent(policy), sums)
