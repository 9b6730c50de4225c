"""`pipeline advise` on arms whose rates are drawn: what it calls the best, and what choosing costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from benchmarks.coverage.entries import ARMS, DAY_MS, SEGMENT, policy
from benchmarks.coverage.figures import WITHHELD, Said
from benchmarks.coverage.sample import Floats, Integers
from pipeline.cli.advise import advise_segments
from pipeline.codec import avro
from pipeline.evaluate.ledger import Entry
from pipeline.events import Decision
from pipeline.learn.memory import RowKey
from pipeline.models.advice import Rule
from pipeline.models.sums.statistics import Statistics
from pipeline.publish.partials import Mark
from pipeline.publish.snapshot import build_snapshot
from pipeline.serve.following.snapshot import load_snapshot

ALIKE = 6.0
"""Of the Beta distributions that arms' rates are drawn from: around a tenth, give or take .04."""


class Visits(NamedTuple):
    """N decisions of people who come back."""

    arm: Integers
    person: Integers
    reward: Floats
    day: Integers


class Shown(NamedTuple):
    """What was shown and earned so far, by arm and day: (K, days) each."""

    count: Floats
    total: Floats
    squares: Floats
    means: Floats
    """(K,) what an arm truly earns."""
    high: float = 1.0
    visits: Visits | None = None
    """By whom, where the same people come often; None: everybody came once."""


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
        entries = [] if shown.visits is None else list(_entries(definition.name, shown.visits))
        (found,) = advise_segments(load_snapshot(content), _decoded(content), None, Rule(), rows, entries=entries)
        if found.advice.may_stop:
            chosen = ARMS.index(found.arms[found.advice.leader])
            best = float(shown.means.max())
            lost = 1.0 - float(shown.means[chosen]) / best
            is_best = Said(lost == 0.0) if found.advice.is_sure else WITHHELD
            return {"advise: it is the best": is_best, "advise: choose": Said(lost <= Rule().loss, lost)}
    return {"advise: it is the best": WITHHELD, "advise: choose": WITHHELD}


def _decoded(content: object) -> dict[str, object]:
    return avro.decode_as("snapshot", content)  # type: ignore[arg-type]


def _entries(name: str, visits: Visits) -> Iterator[Entry]:
    for place, (arm, person, reward, day) in enumerate(zip(*(column.tolist() for column in visits), strict=True)):
        shown, who = ((ARMS[arm],), (1.0,)), f"s{person}"
        at_ms = DAY_MS * day + place
        decision = Decision(
            str(place), name, 1, SEGMENT, ARMS[arm], 1.0, *shown, {}, b"", "", at_ms, 1, "", who, "policy"
        )
        yield Entry(2, True, reward, SEGMENT, decision)  # noqa: FBT003


def one_look(
    rng: np.random.Generator, *, each: int = 1_000, arms: int = 3, mean: float = 0.1, alike: float = ALIKE
) -> Iterator[Shown]:
    """So many decisions of every arm."""
    means = rng.beta(alike, alike / mean - alike, arms)
    yield _clicks(np.full((arms, 1), each), rng.binomial(each, means)[:, None], means)


Tastes = Callable[[np.random.Generator, int, int], Floats]
"""Arms, people → (K, people), how much likelier than others each is to pay for an arm."""


def each_arm_its_own(rng: np.random.Generator, arms: int, people: int) -> Floats:
    """Like every arm in a way of its own."""
    return rng.choice([0.1, 1.9], (arms, people))


def either_arm(rng: np.random.Generator, _arms: int, people: int) -> Floats:
    """Who likes one of two arms does not like the other."""
    first = rng.choice([0.1, 1.9], people)
    return np.array([first, 2.0 - first])


def people_come_back(
    rng: np.random.Generator, *, people: int, each: int = 1_000, arms: int = 3, tastes: Tastes = each_arm_its_own
) -> Iterator[Shown]:
    """So many decisions of every arm, all of them by few people."""
    means = rng.beta(ALIKE, 9.0 * ALIKE, arms)
    likely = np.minimum(means[:, None] * tastes(rng, arms, people), 1.0)
    arm, person = np.repeat(np.arange(arms), each), np.tile(np.arange(each) % people, arms)
    reward = (rng.random(arms * each) < likely[arm, person]).astype(np.float64)
    won = np.bincount(arm, reward)
    visits = Visits(arm, person, reward, np.zeros(arms * each, np.int64))
    yield _clicks(np.full((arms, 1), each), won[:, None], means)._replace(visits=visits)


def people_come_back_daily(
    rng: np.random.Generator, *, people: int = 100, days: int = 20, a_day: int = 200, arms: int = 2
) -> Iterator[Shown]:
    """The same, looked at after each day, where Thompson's chances decide what is shown."""
    means = rng.beta(ALIKE, 9.0 * ALIKE, arms)
    likely = np.minimum(means[:, None] * each_arm_its_own(rng, arms, people), 1.0)
    so_far = Visits(*(np.zeros(0, kind) for kind in (np.int64, np.int64, np.float64, np.int64)))
    count, won = np.zeros((arms, days)), np.zeros((arms, days))
    share = np.full(arms, 1.0 / arms)
    for day in range(days):
        arm, person = rng.choice(arms, a_day, p=share), rng.integers(people, size=a_day)
        reward = (rng.random(a_day) < likely[arm, person]).astype(np.float64)
        today = Visits(arm, person, reward, np.full(a_day, day))
        so_far = Visits(*(np.concatenate(pair) for pair in zip(so_far, today, strict=True)))
        count[:, day], won[:, day] = np.bincount(arm, minlength=arms), np.bincount(arm, reward, arms)
        yield _clicks(count[:, : day + 1], won[:, : day + 1], means)._replace(visits=so_far)
        share = _thompson(rng, count, won)


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
        share = _thompson(rng, count, won)


def _thompson(rng: np.random.Generator, count: Floats, won: Floats) -> Floats:
    """Return the next day's shares."""
    arms = len(count)
    part = (1.0 + won.sum(axis=1)) / (2.0 + count.sum(axis=1))
    drawn = rng.normal(part, np.sqrt(part * (1.0 - part) / (3.0 + count.sum(axis=1))), (500, arms)).argmax(axis=1)
    shares: Floats = 0.05 + (1.0 - 0.05 * arms) * np.bincount(drawn, minlength=arms) / 500.0
    return shares


def _clicks(count: Floats, won: Floats, means: Floats) -> Shown:
    return Shown(count.astype(np.float64), won.astype(np.float64), won.astype(np.float64), means)
