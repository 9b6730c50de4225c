"""`pipeline advise` on arms whose rates are drawn: what it calls the best, and what choosing costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from benchmarks.coverage.entries import ARMS, SEGMENT, policy
from benchmarks.coverage.figures import WITHHELD, Said
from benchmarks.coverage.sample import Floats
from pipeline.cli.advise import advise_segments
from pipeline.codec import avro
from pipeline.learn.memory import RowKey
from pipeline.models.advice import Rule
from pipeline.models.sums.statistics import Statistics
from pipeline.publish.partials import Mark
from pipeline.publish.snapshot import build_snapshot
from pipeline.serve.following.snapshot import load_snapshot

ALIKE = 6.0
"""Of the Beta distributions that arms' rates are drawn from: around a tenth, give or take .04."""


class Shown(NamedTuple):
    """What was shown and earned so far, by arm and day: (K, days) each."""

    count: Floats
    total: Floats
    squares: Floats
    means: Floats
    """(K,) what an arm truly earns."""
    high: float = 1.0


Draws = Iterator[Shown]
"""Look by look."""


def advice(rng: np.random.Generator, *, draw: Callable[[np.random.Generator], Draws]) -> dict[str, Said]:
    """Follow the first advice to choose of all looks; where there is none, nothing is said."""
    for shown in draw(rng):
        definition = policy(len(shown.means), shown.high, 0.0)
        one = 2.0**definition.reward_exponent
        rows = [
            (
                RowKey(definition.name, 1, SEGMENT, ARMS[arm], day),
                Statistics(0, np.array([count, np.rint(total * one), np.rint(square * one * one)], np.int64)),
            )
            for (arm, day), count in np.ndenumerate(shown.count)
            for total, square in [(shown.total[arm, day], shown.squares[arm, day])]
        ]
        content = build_snapshot(definition, rows, {0: Mark(1, 1)}, 1, "")
        (found,) = advise_segments(load_snapshot(content), _decoded(content), None, Rule(), rows)
        if found.advice.may_stop:
            chosen = ARMS.index(found.arms[found.advice.leader])
            best = float(shown.means.max())
            lost = 1.0 - float(shown.means[chosen]) / best
            is_best = Said(lost == 0.0) if found.advice.is_sure else WITHHELD
            return {"advise: it is the best": is_best, "advise: choose": Said(lost <= Rule().loss, lost)}
    return {"advise: it is the best": WITHHELD, "advise: choose": WITHHELD}


def _decoded(content: object) -> dict[str, object]:
    return avro.decode_as("snapshot", content)  # type: ignore[arg-type]


def one_look(
    rng: np.random.Generator, *, each: int = 1_000, arms: int = 3, mean: float = 0.1, people: int = 0
) -> Iterator[Shown]:
    """So many decisions of every arm; with people each comes often, and likes every arm in a way of its own."""
    means = rng.beta(ALIKE, ALIKE / mean - ALIKE, arms)
    if people:
        tastes = means[:, None] * rng.choice([0.1, 1.9], (arms, people))
        visits = np.full(people, each // people)
        won = rng.binomial(visits, np.minimum(tastes, 1.0)).sum(axis=1)
        count = np.full(arms, visits.sum())
    else:
        won, count = rng.binomial(each, means), np.full(arms, each)
    yield _clicks(count[:, None], won[:, None], means)


def looked_at_daily(rng: np.random.Generator, *, days: int = 30, a_day: int = 300, arms: int = 3) -> Iterator[Shown]:
    """Thompson's chances decide what is shown, and there is a look after each day."""
    yield from _days(rng, np.ones(days), a_day, arms)


def level_moves(rng: np.random.Generator, *, days: int = 30, a_day: int = 300) -> Iterator[Shown]:
    """The same between two arms, where days convert three times as much or a third as much as others."""
    yield from _days(rng, np.where(np.arange(days) % 2 == 0, 1.5, 0.5), a_day, 2)


def revenue(rng: np.random.Generator, *, each: int = 2_000, arms: int = 2) -> Iterator[Shown]:
    """One in twenty buys, for lognormal amounts."""
    high, sigma = 10_000.0, 1.5
    typical = rng.lognormal(3.0, 0.3, arms)
    amounts = np.minimum(typical[:, None] * rng.lognormal(0.0, sigma, (arms, each)), high)
    amounts *= rng.random((arms, each)) < 0.05
    means = 0.05 * typical * np.exp(sigma * sigma / 2.0)  # the bound takes less than a hundredth of it
    yield Shown(
        np.full((arms, 1), each),
        amounts.sum(axis=1, keepdims=True),
        np.square(amounts).sum(axis=1, keepdims=True),
        means,
        high,
    )


def nothing(_rng: np.random.Generator, *, each: int = 1_000) -> Iterator[Shown]:
    """Nobody has bought anything yet."""
    yield _clicks(np.full((2, 1), each), np.zeros((2, 1)), np.array([0.0001, 0.0002]))


def _days(rng: np.random.Generator, levels: Floats, a_day: int, arms: int) -> Iterator[Shown]:
    means = rng.beta(ALIKE, 9.0 * ALIKE, arms)
    count, won = np.zeros((arms, len(levels))), np.zeros((arms, len(levels)))
    share = np.full(arms, 1.0 / arms)
    for day, level in enumerate(levels.tolist()):
        count[:, day] = rng.multinomial(a_day, share)
        won[:, day] = rng.binomial(count[:, day].astype(np.int64), np.minimum(means * level, 1.0))
        yield _clicks(count[:, : day + 1], won[:, : day + 1], means)
        part = (1.0 + won.sum(axis=1)) / (2.0 + count.sum(axis=1))
        drawn = rng.normal(part, np.sqrt(part * (1.0 - part) / (3.0 + count.sum(axis=1))), (500, arms)).argmax(axis=1)
        share = 0.05 + (1.0 - 0.05 * arms) * np.bincount(drawn, minlength=arms) / 500.0


def _clicks(count: Floats, won: Floats, means: Floats) -> Shown:
    return Shown(count.astype(np.float64), won.astype(np.float64), won.astype(np.float64), means)
