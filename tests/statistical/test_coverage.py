"""The short form of `python -m benchmarks coverage`: the tools as shipped, on the data that break intervals."""

from __future__ import annotations

from math import sqrt

import pytest

from benchmarks.coverage import cells, run

RUNS = 150
# What an honest 94 % falls below in one of some 30,000 cells: four standard errors.
LEAST = 0.94 - 4 * sqrt(0.94 * 0.06 / RUNS)
PLAYED = (
    "report, evaluate on A/A",
    "report, evaluate on 40 people, 15 times each",
    "report, evaluate on 1 success expected in the holdout",
    "report, evaluate on hardly ever a reward (.05 expected)",
    "report, evaluate on lognormal revenue, σ 1.5",
    "report, evaluate on adaptive log",
    "report, evaluate on moving allocation and level",
    "evaluate on guarded target",
)


@pytest.mark.parametrize("name", PLAYED)
def test_what_is_said_with_95_percent_is_right_as_often(name):
    (cell,) = (one for one in cells.CELLS if one.name == name)
    (found,) = run.measure([cell], RUNS, None)
    for figure, count in found.figures.items():
        if count.told > RUNS / 2:
            assert count.part >= LEAST, f"{figure}: right in {count.part:.1%} of {count.told}"
    given = [figure for figure, count in found.figures.items() if count.told > RUNS / 2]
    assert len(given) >= 9  # nine of evaluate's alone
