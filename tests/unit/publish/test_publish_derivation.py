from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from pipeline.models import model_for
from pipeline.models.algorithms.linear_thompson import LinearThompson
from pipeline.models.grid import Grid
from pipeline.models.model import Posterior, Sums
from pipeline.models.sums.statistics import Statistics, contributions
from pipeline.publish.derivation import Derivation

ARMS = ("a", "b", "c")
GRID = Grid(6)


def row(seed: int, dimension: int = 3) -> Statistics:
    rng = np.random.default_rng(seed)
    X = rng.integers(-4096, 4097, (4, dimension)).astype(np.int16)
    return Statistics(dimension, contributions(X, rng.integers(0, 64, 4)))


@pytest.fixture
def derived(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the rows that are derived, call by call."""
    counts: list[int] = []
    derive = LinearThompson.posterior

    def counted(self: LinearThompson, statistics: Sequence[Sums], grid: Grid) -> Posterior:
        counts.append(len(statistics))
        return derive(self, statistics, grid)

    monkeypatch.setattr(LinearThompson, "posterior", counted)
    return counts


def test_only_rows_that_have_changed_are_derived(derived: list[int]) -> None:
    known, model = Derivation(), model_for("linear_thompson", {})
    before = {"new": [row(1), row(2), row(3)], "other": [row(4), row(5), row(6)]}
    first = known.derive(model, GRID, ARMS, before)
    second = known.derive(model, GRID, ARMS, before | {"other": [row(4), row(9), row(6)]})
    assert derived == [3, 3, 1]
    assert second[0] is first[0]
    assert second[1].arrays()["theta"][1].tobytes() == model.posterior([row(9)], GRID).arrays()["theta"][0].tobytes()
    assert not second[1].arrays()["theta"].flags.writeable
    # The first is as it was.
    assert first[1].arrays()["theta"].tobytes() == model.posterior(before["other"], GRID).arrays()["theta"].tobytes()


def test_another_model_grid_or_set_of_arms_begins_anew(derived: list[int]) -> None:
    known, model = Derivation(), model_for("linear_thompson", {})
    rows = {"new": [row(1), row(2), row(3)]}
    assert isinstance(model, LinearThompson)
    known.derive(model, GRID, ARMS, rows)
    known.derive(replace(model, ridge=2.0), GRID, ARMS, rows)
    known.derive(replace(model, ridge=2.0), Grid(7), ARMS, rows)
    known.derive(replace(model, ridge=2.0), Grid(7), ("a", "b", "d"), rows)
    known.derive(replace(model, ridge=2.0), Grid(7), ("a", "b", "d"), {"new": [row(n, dimension=5) for n in (1, 2, 3)]})
    assert derived == [3] * 5
