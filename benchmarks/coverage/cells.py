"""Every tool on every kind of data."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from benchmarks.coverage import advising, analyzing, worlds
from benchmarks.coverage.entries import gathered
from benchmarks.coverage.evaluating import evaluation, guarded
from benchmarks.coverage.figures import Said
from benchmarks.coverage.peeking import peek
from benchmarks.coverage.reporting import report
from benchmarks.coverage.sample import Sample

Run = Callable[[np.random.Generator], dict[str, Said]]


class Cell(NamedTuple):
    """A kind of data, and what tools say of it."""

    tools: str
    kind: str
    run: Run

    @property
    def name(self) -> str:
        """Return what it is called among all."""
        return f"{self.tools} on {self.kind}"


def _both(rng: np.random.Generator, *, draw: Callable[[np.random.Generator], Sample]) -> dict[str, Said]:
    sample = draw(rng)
    gathering = gathered(sample)
    return report(sample, gathering) | evaluation(sample, gathering)


def _evaluated(rng: np.random.Generator, *, draw: Callable[[np.random.Generator], Sample]) -> dict[str, Said]:
    sample = draw(rng)
    return evaluation(sample, gathered(sample), target=guarded)


_DRAWN: dict[str, Callable[[np.random.Generator], Sample]] = {
    "A/A": worlds.alike,
    "independent": worlds.independent,
    "40 people, 15 times each": partial(worlds.clustered, people=40, visits=15.0),
    "200 people, 3 times each": partial(worlds.clustered, people=200, visits=3.0),
    "1 success expected in the holdout": partial(worlds.rare, expected=1),
    "3 expected": partial(worlds.rare, expected=3),
    "10 expected": partial(worlds.rare, expected=10),
    "30 expected": partial(worlds.rare, expected=30),
    "hardly ever a reward (.05 expected)": partial(worlds.rare, expected=0.05),
    "lognormal revenue, σ 1.5": worlds.revenue,
    "adaptive log": worlds.adaptive,
    "adaptive log, A/A": partial(worlds.adaptive, rates=(0.1, 0.1)),
    "moving allocation and level": worlds.moving,
}
_ADVISED: dict[str, Callable[[np.random.Generator], advising.Draws]] = {
    "independent": advising.one_look,
    "arms nearly alike": partial(advising.one_look, alike=100.0),
    "40 people, 25 times each": partial(advising.people_come_back, people=40),
    "8 people, 125 times each": partial(advising.people_come_back, people=8),
    "40 people who like one of two arms": partial(
        advising.people_come_back, people=40, arms=2, tastes=advising.either_arm
    ),
    "100 people who come back, looked at daily for 20 days": advising.people_come_back_daily,
    "3 expected": partial(advising.one_look, mean=0.003),
    "30 expected": partial(advising.one_look, mean=0.03),
    "hardly ever a reward (.05 expected)": advising.nothing,
    "lognormal revenue, σ 1.5": advising.revenue,
    "adaptive log, looked at daily for 30 days": advising.looked_at_daily,
    "moving allocation and level, daily": advising.level_moves,
}

_ANALYZED = {
    "independent": analyzing.Kind(1_000),
    "100 people, 10 times each": analyzing.Kind(100, visits=10),
    "10 expected of the arm that is shown to one in twenty": analyzing.Kind(1_000, b=0.05),
}

CELLS = (
    *(Cell("report, evaluate", kind, partial(_both, draw=draw)) for kind, draw in _DRAWN.items()),
    Cell("evaluate", "guarded target", partial(_evaluated, draw=worlds.guarded)),
    Cell("report", "A/A, looked at daily for 60 days", peek),
    Cell("report", "A/A of people who come back, daily", partial(peek, come_back=True)),
    *(Cell("advise", kind, partial(advising.advice, draw=draw)) for kind, draw in _ADVISED.items()),
    *(Cell("analyze", name, partial(analyzing.analysis, kind=kind)) for name, kind in _ANALYZED.items()),
)
