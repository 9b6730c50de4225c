"""The suite of coverage: what it draws is what it says is true, it goes on where it was, and it tells low coverage."""

from __future__ import annotations

from functools import partial
from math import isnan
from pathlib import Path

import numpy as np
import orjson
import pytest
from click.testing import CliRunner, Result

from benchmarks.__main__ import main
from benchmarks.coverage import run, worlds
from benchmarks.coverage.cells import Cell
from benchmarks.coverage.figures import Said
from benchmarks.coverage.table import BEGIN, END, markdown, verdict


def called(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["coverage", *arguments], catch_exceptions=False)


def test_it_answers_by_the_command_line_and_goes_on_where_it_was(tmp_path: Path):
    some = ("--only", "evaluate on A/A", "--kept", str(tmp_path), "--json")
    first = called("--runs", "2", *some)
    (kept,) = tmp_path.iterdir()
    assert orjson.loads(kept.read_bytes())["runs"] == 2
    again = called("--runs", "2", *some)
    assert again.stdout == first.stdout
    lines = [orjson.loads(line) for line in called("--runs", "3", *some).stdout.splitlines()]
    whole = [orjson.loads(line) for line in called("--runs", "3", *some[:2], "--json").stdout.splitlines()]
    assert [line["given_in"] for line in lines] == [line["given_in"] for line in whole]
    assert [line["right"] for line in lines] == [line["right"] for line in whole]
    assert {line["runs"] for line in lines} == {3}
    assert {"report: lift", "evaluate: DR"} <= {line["figure"] for line in lines}
    assert "### `pipeline report`" in called("--runs", "2", *some[:4], "--markdown").stdout
    page = tmp_path.parent / "page.md"
    page.write_text(f"before\n{BEGIN}\nof last week\n{END}\nafter\n")
    called("--runs", "2", *some[:4], "--into", str(page))
    text = page.read_text()
    assert "### `pipeline evaluate`" in text
    assert "of last week" not in text
    assert text.startswith("before")
    assert text.endswith("after\n")
    assert "names none of" in called("--only", "nothing").output


def test_low_coverage_is_told_and_withheld_figures_are_not_held_against_it():
    def seldom(rng: np.random.Generator) -> dict[str, Said]:
        return {"tool: bad": Said(bool(rng.random() < 0.8), 1.0), "tool: never": Said(None), "tool: good": Said(True)}  # noqa: FBT003

    cells = [Cell("tool", "data", seldom)]
    found = run.measure(cells, 200, None)
    (words,) = verdict(cells, found)
    assert words.startswith("tool: bad on data: right in 7")  # 78.0 % by this seed
    assert "| data | 200 | **" in markdown(cells, found)
    assert "withheld" in markdown(cells, found)


@pytest.mark.parametrize(
    "draw",
    [
        worlds.independent,
        partial(worlds.clustered, people=200, visits=3.0),
        partial(worlds.rare, expected=10),
        worlds.revenue,
        worlds.adaptive,
        worlds.moving,
        worlds.guarded,
    ],
)
def test_what_is_drawn_is_what_is_said_to_be_true(draw):
    # Means of 300 samples by hand, within four standard errors: IPS of the uniform target, and plain group means.
    off: dict[str, list[float]] = {"target": [], "policy": [], "holdout": []}
    for seed in range(300):
        sample = draw(np.random.default_rng([3, seed]))
        own = ~sample.held_out
        shown = sample.chances[np.arange(len(sample)), sample.arm]
        wanted = np.full(sample.chances.shape, 1.0 / sample.chances.shape[1])
        if sample.is_adult is not None:
            # ε = .1 over two or three arms, and control for three of ten.
            wanted = 0.7 * np.where(sample.is_adult[:, None], [0.1 / 3, 0.1 / 3, 0.9 + 0.1 / 3], [0.05, 0.95, 0.0])
            wanted[:, 0] += 0.3
        target = sample.reward[own] / shown[own] * wanted[np.arange(len(sample)), sample.arm][own]
        off["target"].append((target - sample.truth.target).sum() / own.sum())
        if not isnan(sample.truth.policy):
            off["policy"].append((sample.reward[own] - sample.truth.policy).sum() / own.sum())
            off["holdout"].append((sample.reward[~own] - sample.truth.holdout).sum() / (~own).sum())
    for name, deviations in off.items():
        if deviations:
            assert abs(np.mean(deviations)) < 4 * np.std(deviations) / 300**0.5, name
