"""A regression an arm, drawn towards one that all arms share, fitted without the decisions that it predicts. Pure.

    q_a(x) = m_a + β_a (x - x̄_a)        β_a = β + (W_a + λ I)⁻¹ (v_a - W_a β)

with W_a and v_a the arm's sums of squares and products around its means, each decision weighed by 1/p, and β the ridge
regression of all arms' sums together. What little is known of a field moves all arms alike; only what the arm's own
decisions show moves it apart, and with the largest λ nothing does: one arm is then predicted the best for everybody.

Subjects are in blocks by a hash. Each block is predicted from all `others`, or from the `earlier` ones alone. The
latter is for choosing: where two arms are equal, what the other blocks chose is not independent of what it earns here,
since each block is among the others of each, and an interval of 95 % then misses in far more than 5 %. A choice by
earlier blocks makes a martingale of the values (Luedtke & van der Laan 2016, "Statistical inference for the mean
outcome under a possibly non-unique optimal treatment strategy", section 4). So is λ chosen: by how well the blocks
before were predicted. Of `all`, its own among them, a block is predicted with the least λ: more is seen
in it than is there.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from pipeline.evaluate.folds import folds_of
from pipeline.evaluate.log import DecisionLog, Indices
from pipeline.models.model import Floats

Seen = Literal["others", "earlier", "all"]
BLOCKS = 10
FIRST = 2
"""The first block that is predicted from earlier ones: one to fit, and one to see which λ fits."""
SHARED_RIDGE = 10.0
"""In decisions."""
RIDGES = (30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0, float("inf"))
"""λ, in decisions."""


class _Sums(NamedTuple):
    """Of decisions with weight 1/p, by block and arm."""

    n: Floats
    x: Floats
    r: Floats
    xx: Floats
    xr: Floats
    squares: Floats
    """Of the weights."""


class Lines(NamedTuple):
    """q of each block and arm, for N decisions."""

    level: Floats
    """(blocks, K)."""
    slope: Floats
    """(blocks, K, m)."""
    block: Indices
    """(N,)."""
    bounds: tuple[float, float]
    """Of a reward."""

    def at(self, columns: Floats) -> Floats:
        """Return q of each decision and arm, (N, K), where the columns say this of it, (N, m)."""
        found = np.empty((len(self.block), self.level.shape[1]))
        for number in range(BLOCKS):
            mine = self.block == number
            found[mine] = self.level[number] + columns[mine] @ self.slope[number].T
        return np.clip(found, *self.bounds)


def blocks_of(log: DecisionLog) -> Indices:
    """Return the block of each decision, (N,)."""
    return folds_of(log.units, BLOCKS)


def fit(log: DecisionLog, arms: Indices, columns: Floats, seen: Seen) -> Lines:
    """Fit q for each block; O(N m² + blocks K m³). Before block `FIRST` it says little of `earlier` ones.

    Args:
        log: decisions.
        arms: (K,) index into the log's arms.
        columns: (N, m) to predict from, each with mean 0 and deviation 1.
        seen: which blocks to fit with.
    """
    block = blocks_of(log)
    sums = _sums(log, arms, columns, block)
    before = _Sums(*(np.cumsum(table, axis=0) - table for table in sums))
    total = _Sums(*(np.broadcast_to(table.sum(axis=0), table.shape) for table in sums))
    known = {"earlier": before, "all": total}.get(seen) or _Sums(*(t - own for t, own in zip(total, sums, strict=True)))
    everywhere = float((log.reward / log.propensity).sum() / (1.0 / log.propensity).sum())
    fitted = [Lines(level, slope, block, log.bounds) for level, slope in _fit(known, everywhere)]
    if seen == "all":
        return fitted[0]
    errors = np.array([_errors(log, arms, lines.at(columns), block) for lines in fitted])
    told = np.cumsum(errors, axis=1) - errors if seen == "earlier" else errors.sum(axis=1, keepdims=True)
    # Of those that predict as well, the one by which arms differ least.
    as_well = np.broadcast_to(told <= told.min(axis=0) * (1.0 + 1e-12), errors.shape)
    which = len(RIDGES) - 1 - as_well[::-1].argmax(axis=0)
    numbers = range(BLOCKS)
    level = np.stack([fitted[ridge].level[number] for ridge, number in zip(which, numbers, strict=True)])
    slope = np.stack([fitted[ridge].slope[number] for ridge, number in zip(which, numbers, strict=True)])
    return Lines(level, slope, block, log.bounds)


def _sums(log: DecisionLog, arms: Indices, columns: Floats, block: Indices) -> _Sums:
    m, K = columns.shape[1], len(arms)
    shapes = ((BLOCKS, K), (BLOCKS, K, m), (BLOCKS, K), (BLOCKS, K, m, m), (BLOCKS, K, m), (BLOCKS, K))
    sums = _Sums(*(np.zeros(shape) for shape in shapes))
    for number in range(BLOCKS):
        for place, arm in enumerate(arms.tolist()):
            mine = np.flatnonzero((block == number) & (log.arm == arm))
            weight, reward, x = 1.0 / log.propensity[mine], log.reward[mine], columns[mine]
            weighted = x * weight[:, None]
            of_cell = (
                weight.sum(),
                weighted.sum(axis=0),
                weight @ reward,
                weighted.T @ x,
                weighted.T @ reward,
                weight @ weight,
            )
            for table, entry in zip(sums, of_cell, strict=True):
                table[number, place] = entry
    return sums


def _fit(known: _Sums, everywhere: float) -> list[tuple[Floats, Floats]]:
    """Return level and slope for each λ; an arm's mean leans on that of all as if of one decision."""
    unit = np.divide(known.squares, known.n, out=np.ones_like(known.n), where=known.n > 0.0)  # weight of one decision
    mean = (known.r + unit * everywhere) / (known.n + unit)
    centre = known.x / np.maximum(known.n, 1.0)[..., None]
    within = known.xx - known.n[..., None, None] * centre[..., :, None] * centre[..., None, :]
    along = known.xr - centre * known.r[..., None]
    eye = np.eye(known.x.shape[-1])
    shared_penalty = SHARED_RIDGE * unit.mean(axis=1)[:, None, None] * eye
    shared = _solve(within.sum(axis=1) + shared_penalty, along.sum(axis=1))[:, None, :]
    rest = along - (within @ shared[..., None])[..., 0]
    found = []
    for ridge in RIDGES:
        apart = np.zeros_like(along)
        if np.isfinite(ridge):
            apart = _solve(within + (ridge * unit)[..., None, None] * eye, rest)
        slope = shared + apart
        found.append((mean - (centre * slope).sum(axis=-1), slope))
    return found


def _solve(matrix: Floats, right: Floats) -> Floats:
    solved: Floats = np.linalg.solve(matrix, right[..., None])[..., 0].astype(np.float64)
    return solved


def _errors(log: DecisionLog, arms: Indices, found: Floats, block: Indices) -> Floats:
    """Return the weighed squares of what the arm shown was predicted wrong, by block."""
    own = log.arm[:, None] == arms
    squares = (own * np.square(found - log.reward[:, None])).sum(axis=1) / log.propensity
    by_block: Floats = np.bincount(block, squares, BLOCKS).astype(np.float64)
    return by_block
