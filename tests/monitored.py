"""Months of a policy's decisions, simulated by bucket of six hours: what LEARN would have summed, without LEARN.

Sums are made by matrix products of the simulated decisions themselves; samples by counting with numpy, from the
descriptions in `policy/samples.py` and by none of its code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics
from pipeline.policy.definition import PolicyDefinition
from tests.samples import define

BUCKET_MS = 6 * 3_600_000
A_DAY = 4
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
ARMS = ("a", "b", "c")
WORDS = 4


def watched_policy(**others: Any) -> PolicyDefinition:
    """Give a policy of three arms, a number, a list of words that may be another, and one that may be missing."""
    return define(
        {
            "name": "homepage",
            "generation": 1,
            "arms": [{"name": arm} for arm in ARMS],
            "segments": {"default": "all"},
            "algorithm": {"name": "linear_thompson", "ridge": 1.0, "v": 0.3},
            "context": [
                {"name": "age", "kind": "numeric", "low": 0.0, "high": 100.0, "missing": "indicator"},
                {"name": "device", "kind": "categorical", "values": ["x", "y", "z"], "other": True},
            ],
            "reward": {
                "low": 0.0,
                "high": 10.0,
                "combine": "max",
                "outcomes": [
                    {
                        "kind": "buy",
                        "worth": 1.0,
                        "times_value": True,
                        "value_low": 0.0,
                        "value_high": 10.0,
                        "window": "1h",
                    }
                ],
            },
            "attribution": {"settle": "wait"},
            "guardrails": {"holdout": {"share": 0.1}},
            "statistics": {"bucket": "6h"},
            "monitors": {"sample": 1.0},
            **others,
        }
    )


@dataclass(frozen=True)
class World:
    """How decisions come about; a fault is another world from some bucket on."""

    decisions: int = 4_000
    """A bucket, in the mean of a day."""
    shares: tuple[float, ...] = (0.7, 0.2, 0.1)
    """Of the arms, as their propensities say."""
    least: float = 0.004
    """That any arm has, before they are made to sum to 1."""
    draws: tuple[float, ...] | None = None
    """As they are drawn; None: by their propensities."""
    value: float = 2.0
    """Mean of what is bought, for arm a; the others less."""
    buys: tuple[float, ...] = (0.3, 0.29, 0.28)
    """Chance that a decision for an arm brings something."""
    lift_of_age: float = 0.3
    """By how much an age of 100 raises that chance above one of 50, as a share of it."""
    age: float = 50.0
    words: tuple[float, ...] = (0.5, 0.3, 0.15, 0.05)
    missing: float = 0.05
    at_bound: float = 0.01
    fallback: float = 0.001
    held_out: float = 0.1
    late_s: float = 300.0


def calm(rng: np.random.Generator, world: World) -> World:
    """Let life go on for a day: everything is a little other than it was."""
    near = rng.normal(1.0, 0.02, 3)
    words = np.array(world.words) * rng.normal(1.0, 0.03, WORDS)
    return replace(
        world,
        decisions=int(world.decisions * rng.uniform(0.8, 1.2)),
        buys=tuple(np.array(world.buys) * near[0]),
        value=world.value * near[1],
        age=world.age * near[2],
        words=tuple(words / words.sum()),
        late_s=world.late_s * rng.normal(1.0, 0.03),
    )


Rows = list[tuple[RowKey, Statistics]]


def rows_of(
    rng: np.random.Generator,
    definition: PolicyDefinition,
    buckets: int,
    world: Callable[[int], World],
) -> list[Rows]:
    """Return the rows of each bucket."""
    return [_bucket(rng, definition, number, world(number)) for number in range(buckets)]


def _bucket(rng: np.random.Generator, definition: PolicyDefinition, number: int, world: World) -> Rows:
    cycle = 1.0 + 0.6 * np.sin(2 * np.pi * number / A_DAY)
    n = int(rng.poisson(world.decisions * cycle))
    # A little of chance in each decision's own propensities, so that many octaves and places are met.
    noise = rng.dirichlet(200.0 * np.array(world.shares), n)
    told = np.maximum(noise, world.least)
    told /= told.sum(1, keepdims=True)
    drawn_by = told if world.draws is None else told * np.array(world.draws) / np.array(world.shares)
    drawn_by = drawn_by / drawn_by.sum(1, keepdims=True)
    arm = (rng.random(n)[:, None] > drawn_by.cumsum(1)).sum(1).clip(0, len(ARMS) - 1)
    is_missing = rng.random(n) < world.missing
    age = rng.normal(world.age, 15.0, n).clip(0.0, 100.0)
    age[rng.random(n) < world.at_bound] = 100.0
    x = np.zeros((n, 1 + 2 + WORDS))
    x[:, 0] = 1.0
    x[:, 1] = np.where(is_missing, 0.0, age / 50.0 - 1.0)
    x[:, 2] = is_missing
    x[np.arange(n), 3 + rng.choice(WORDS, n, p=world.words)] = 1.0
    chance = np.array(world.buys)[arm] * (1.0 + world.lift_of_age * x[:, 1])
    bought = rng.random(n) < chance
    reward = np.where(bought, rng.lognormal(np.log(world.value), 0.6, n).clip(0.0, 10.0), 0.0)
    grid = np.rint(x * 4096.0).astype(np.int64)
    units = np.rint(reward * 2.0**definition.reward_exponent).astype(np.int64)
    rows: Rows = []
    for place, name in enumerate(ARMS):
        mine = arm == place
        if mine.any():
            rows.append((RowKey("homepage", 1, "all", name, number), _sums(grid[mine], units[mine])))
            for tally, columns in _samples(rng, world, told[mine], place, x[mine], units[mine], bought[mine]).items():
                key = RowKey("homepage", 1, "all", name, number, "watch:" + tally)
                rows.append((key, Statistics(-len(columns), columns)))
    return rows


def _sums(x: Ints, r: Ints) -> Statistics:
    upper = (x.T @ x)[np.triu_indices(x.shape[1])]
    return Statistics(x.shape[1], np.concatenate([[len(r), r.sum(), (r * r).sum()], r @ x, upper]))


def _samples(
    rng: np.random.Generator, world: World, told: Floats, place: int, x: Floats, units: Ints, bought: NDArray[np.bool_]
) -> dict[str, Ints]:
    n = len(told)
    reasons = rng.choice(3, n, p=[1 - world.held_out - world.fallback, world.fallback, world.held_out])
    served = told[reasons != 2]
    m = len(served)
    falling = np.argsort(-served, axis=1, kind="stable")
    within = rng.random(m)
    draws = []
    for order in (falling, np.tile(np.arange(len(ARMS)), (m, 1))):
        rank = (order == place).argmax(1)
        before = np.take_along_axis(np.take_along_axis(served, order, 1).cumsum(1), rank[:, None], 1)[:, 0]
        draws.append(np.bincount((16 * (before - served[:, place] * within)).astype(int).clip(0, 15), minlength=16))
    looked = rng.integers(len(ARMS), size=m)
    p = served[np.arange(m), looked]
    octave = np.clip(np.ceil(-np.log2(p) - 1e-12).astype(int) - 1, 0, 15)
    scaled = np.rint(p * 2**30).astype(np.int64)
    table = [np.zeros(16, np.int64) for _ in range(3)]
    np.add.at(table[0], octave, 1)
    np.add.at(table[1], octave, scaled)
    np.add.at(table[2], octave, looked == place)
    w = 1.0 / (len(ARMS) * served[:, place])
    size = np.frexp(np.maximum(units, 1).astype(float))
    column = np.where(units == 0, 33, 33 + 2 * size[1] - 1 + (size[0] >= 0.75))
    late_ms = 1_000.0 * np.minimum(rng.exponential(world.late_s, int(bought.sum())), 3_599.0)
    edges = sorted([1_000 << k for k in range(22)] + [1_500 << k for k in range(21)])
    return {
        "draws": np.concatenate(draws),
        "propensities": np.concatenate(table),
        "log": np.array([m, np.rint(w * 1024).sum(), np.rint(w * w * 1024).sum()], np.int64),
        "reasons": np.bincount(reasons, minlength=3),
        "reward": np.bincount(column, minlength=66),
        "delays": np.bincount(np.searchsorted(edges, late_ms, side="right"), minlength=44),
        "bounds": np.array([n, (np.abs(x[:, 1]) == 1.0).sum(), 0], np.int64),
    }
