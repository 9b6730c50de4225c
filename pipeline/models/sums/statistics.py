"""Exact sums of one (policy, segment, arm, bucket) row: a commutative group under + and -.

A row of dimension d is an int64 vector in grid units, of which `width(d)` is the length:

    index      0     1      2      3 .. 3+d-1    3+d ..
    holds      n     Σr     Σr²    b = Σ r x     upper triangle of A = Σ x xᵀ, row-major

A row of tallies (`tally.py`) is m plain columns, and says so by the dimension -m.

b counts in steps of 2**-(12 + e), A in steps of 2**-24. The proof that nothing overflows stands in `grid.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import StateError
from pipeline.models.grid import BLOCK_ROWS, MAX_ROWS, REWARD_LIMIT

Integers = NDArray[np.int64]
Number = TypeVar("Number", np.int64, np.float64)
HEAD = 3  # n, Σr, Σr² come before b


def width(dimension: int) -> int:
    """Return how many integers a row of this dimension has.

    >>> width(0), width(2), width(-44)
    (3, 8, 44)
    """
    if dimension < 0:
        return -dimension
    return HEAD + dimension + dimension * (dimension + 1) // 2


@dataclass(frozen=True, eq=False)
class Statistics:
    """What is known of one arm: exact sums, or the exact change of such sums.

    Raises StateError where the sums don't have the dimension's width, or |n| > MAX_ROWS.
    """

    dimension: int
    """How many features a context vector has; 0 where the policy uses none, -m for m tallies."""
    sums: Integers
    """(width(dimension),), read-only."""

    def __post_init__(self) -> None:
        if self.sums.shape != (width(self.dimension),) or self.sums.dtype != np.int64:
            raise StateError(
                f"statistics of dimension {self.dimension} are int64 of shape {(width(self.dimension),)}: "
                f"seen {self.sums.dtype} of shape {self.sums.shape}"
            )
        if self.dimension >= 0 and abs(self.n) > MAX_ROWS:
            raise StateError(f"a row holds at most {MAX_ROWS} decisions: seen {self.n}; split its bucket")
        if self.sums.flags.writeable:
            sums = self.sums.copy()
            sums.setflags(write=False)
            object.__setattr__(self, "sums", sums)

    @classmethod
    def zero(cls, dimension: int) -> Statistics:
        """Return the statistics of no decision at all."""
        return cls(dimension, np.zeros(width(dimension), np.int64))

    @classmethod
    def from_bytes(cls, dimension: int, raw: bytes) -> Statistics:
        """Read what `to_bytes` wrote. Raises StateError where the length is another dimension's."""
        if len(raw) != 8 * width(dimension):
            raise StateError(f"statistics of dimension {dimension} take {8 * width(dimension)} bytes: seen {len(raw)}")
        return cls(dimension, np.frombuffer(raw, "<i8").astype(np.int64, copy=False))

    def to_bytes(self) -> bytes:
        """Return the sums in order, each 8 bytes, little-endian."""
        return self.sums.astype("<i8", copy=False).tobytes()

    def __add__(self, other: Statistics) -> Statistics:
        self._require_same_dimension(other)
        return Statistics(self.dimension, self.sums + other.sums)

    def __sub__(self, other: Statistics) -> Statistics:
        self._require_same_dimension(other)
        return Statistics(self.dimension, self.sums - other.sums)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Statistics):
            return NotImplemented
        return self.dimension == other.dimension and np.array_equal(self.sums, other.sums)

    def __hash__(self) -> int:
        return hash((self.dimension, self.sums.tobytes()))

    @property
    def n(self) -> int:
        """How many decisions count."""
        return int(self.sums[0])

    @property
    def reward_sum(self) -> int:
        """Σr in grid units."""
        return int(self.sums[1])

    @property
    def reward_square_sum(self) -> int:
        """Σr² in grid units squared."""
        return int(self.sums[2])

    def moments(self) -> tuple[Integers, Integers]:
        """Return A (d, d), symmetric, and b (d,), in grid units."""
        d = self.dimension
        return symmetric(self.sums[HEAD + d :], d), self.sums[HEAD : HEAD + d]

    def _require_same_dimension(self, other: Statistics) -> None:
        if self.dimension != other.dimension:
            raise StateError(f"statistics of dimensions {self.dimension} and {other.dimension} don't add up")


def total(parts: Iterable[Statistics], dimension: int) -> Statistics:
    """Sum statistics of one dimension; as `+` does, without an object a step. Raises StateError for another one."""
    sums = np.zeros(width(dimension), np.int64)
    for part in parts:
        if part.dimension != dimension:
            raise StateError(f"statistics of dimensions {dimension} and {part.dimension} don't add up")
        sums += part.sums
    return Statistics(dimension, sums)


def contributions(X: NDArray[np.int16], rewards: ArrayLike) -> Integers:
    """Return the sums that a group of m decisions adds: X (m, d) -> (width(d),).

    `rewards` are m grid integers.
    """
    r = np.asarray(rewards, np.int64)
    sums: Integers = fold(np.zeros_like(r), 1, np.ones_like(r), r, r * r, X)[0]
    return sums


def fold(
    groups: ArrayLike, group_count: int, dn: ArrayLike, dr: ArrayLike, drr: ArrayLike, X: NDArray[np.int16]
) -> Integers:
    """Sum m changes by group: (group_count, width(d)), a row of zeros where a group has none.

    Change i belongs to row `groups[i]` and concerns a decision with the context vector X[i]:

        add       r        dn = 1    dr = r          drr = r²
        revise    r0 → r1  dn = 0    dr = r1 - r0    drr = r1² - r0²
        remove    r        dn = -1   dr = -r         drr = -r²

    which gives  n += dn,  Σr += dr,  Σr² += drr,  b += dr x,  A += dn x xᵀ.  Exact (`grid.py`).
    Raises ValueError where a change is larger than rewards on the grid can make, or belongs to no group.
    """
    g = np.asarray(groups, np.int64)
    changes = np.array((dn, dr, drr), np.float64)  # (3, m), small integers: exact
    largest = np.abs(changes).max(axis=1, initial=0)
    if (largest > (1, 2 * REWARD_LIMIT, REWARD_LIMIT**2)).any():
        raise ValueError(f"no rewards on the grid change dn, dr, drr by as much as {largest.tolist()}")
    if len(g) and not 0 <= g.min() <= g.max() < group_count:
        raise ValueError(f"{group_count} groups are numbered from 0: seen {g.min()} to {g.max()}")
    total = np.zeros((group_count, width(X.shape[1])), np.int64)
    for start in range(0, len(g), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        total += _fold_block(g[block], group_count, changes[:, block], X[block])
    return total


def _fold_block(g: Integers, group_count: int, changes: NDArray[np.float64], X: NDArray[np.int16]) -> Integers:
    """Sort by group, then take one matrix product per group: its rows, [x] by [dn x, dr], are [A, b]."""
    m, d = X.shape
    sums = np.empty((group_count, width(d)), np.int64)
    for column, change in enumerate(changes):
        sums[:, column] = np.bincount(g, change, group_count)
    if d == 0:
        return sums
    # A stable sort of 16-bit keys is a radix sort, several times faster than one of 64-bit keys.
    order = (g.astype(np.uint16) if group_count <= 2**16 else g).argsort(kind="stable")
    left = X.take(order, axis=0).astype(np.float64)
    right = np.empty((m, d + 1))
    np.multiply(left, changes[0].take(order)[:, None], out=right[:, :d])
    changes[1].take(order, out=right[:, d])
    products = np.zeros((group_count, d, d + 1))
    start = 0
    for group, stop in enumerate(np.bincount(g, minlength=group_count).cumsum().tolist()):
        if stop > start:
            np.dot(left[start:stop].T, right[start:stop], out=products[group])
        start = stop
    rows, columns = _triangle(d)
    sums[:, HEAD : HEAD + d] = products[:, :, d]
    sums[:, HEAD + d :] = products[:, rows, columns]
    return sums


def symmetric(upper: NDArray[Number], dimension: int) -> NDArray[Number]:
    """Return the symmetric matrix (d, d) of an upper triangle, row-major.

    >>> symmetric(np.array([1, 2, 3]), 2).tolist()
    [[1, 2], [2, 3]]
    """
    rows, columns = _triangle(dimension)
    full = np.empty((dimension, dimension), upper.dtype)
    full[rows, columns] = full[columns, rows] = upper
    return full


@cache
def _triangle(dimension: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the row and column of each entry of an upper triangle, row-major."""
    rows, columns = np.triu_indices(dimension)
    rows.setflags(write=False)
    columns.setflags(write=False)
    return rows, columns
