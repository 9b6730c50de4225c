"""What came of the runs: as lines for a program, and as the tables of docs/numbers.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.coverage.cells import Cell
from benchmarks.coverage.run import Count, Found
from pipeline.models.advice import Rule

LEAST = 0.94
"""Below, by more than two standard errors, a cell is printed bold."""
COSTS = "advise: choose"
"""Whose width is what the advice costs, as a part of the best arm's mean."""
ENOUGH = 100
"""Advices, to speak of what they cost on average."""
BEGIN, END = "<!-- coverage: made by python -m benchmarks coverage -->", "<!-- end of coverage -->"


def to_plain(cells: Sequence[Cell], found: Sequence[Found]) -> list[dict[str, Any]]:
    """Give one JSON object a tool, kind of data and figure."""
    return [
        {
            "kind": cell.kind,
            "figure": figure,
            "runs": of_cell.runs,
            "given_in": count.told,
            "right": count.part if count.told else None,
            "standard_error": count.error if count.told else None,
            "missed_below_the_truth": count.above,
            "mean_width": count.mean_width,
        }
        for cell, of_cell in zip(cells, found, strict=True)
        for figure, count in of_cell.figures.items()
    ]


def lines(cells: Sequence[Cell], found: Sequence[Found]) -> str:
    """Return a line a figure, for the terminal."""
    return "\n".join(
        f"{cell.kind:<44} {figure:<40} {_cell(count, of_cell.runs).replace('*', '')}"
        for cell, of_cell in zip(cells, found, strict=True)
        for figure, count in of_cell.figures.items()
    )


def markdown(cells: Sequence[Cell], found: Sequence[Found]) -> str:
    """Return a table a tool: how often its figures are right, in %, and how wide they are on average."""
    tools = dict.fromkeys(figure.partition(": ")[0] for one in found for figure in one.figures)
    return "\n".join(_table(tool, cells, found) for tool in tools)


def _table(tool: str, cells: Sequence[Cell], found: Sequence[Found]) -> str:
    figures = list(dict.fromkeys(name for one in found for name in one.figures if name.startswith(f"{tool}: ")))
    heads = [name.partition(": ")[2] for name in figures]
    rows = [f"### `pipeline {tool}`", "", f"| data | runs | {' | '.join(heads)} |", "|---|---:|" + "---:|" * len(heads)]
    for cell, one in zip(cells, found, strict=True):
        if any(name in one.figures for name in figures):
            shown = [_cell(one.figures.get(name), one.runs) for name in figures]
            rows.append(f"| {cell.kind} | {one.runs:,} | {' | '.join(shown)} |")
    return "\n".join(rows) + "\n"


def _cell(count: Count | None, runs: int) -> str:
    """Write the part that was right ± its standard error, the mean width, and in which part of the runs it was given.

    >>> _cell(Count(told=2000, right=1900, width=200.0), 2000)
    '95.0 ± 0.5 (0.1)'
    >>> _cell(Count(told=1000, right=900, width=float("nan")), 2000)
    '**90.0** ± 0.9, in 50 %'
    >>> _cell(Count(), 2000), _cell(None, 2000)
    ('withheld', '')
    """
    if count is None:
        return ""
    if not count.told:
        return "withheld"
    part = f"{100.0 * count.part:.1f}"
    shown = f"**{part}**" if count.part + 2.0 * count.error < LEAST else part
    width = "" if count.mean_width is None else f" ({count.mean_width:.3g})"
    seldom = "" if count.told == runs else f", in {count.told / runs:.0%}".replace("%", " %")
    return f"{shown} ± {100.0 * count.error:.1f}{width}{seldom}"


def put_into(page: Path, tables: str) -> None:
    """Put the tables in the place of the last ones, between the page's marks."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page} has no lines {BEGIN} and {END} for the tables to stand between")
    page.write_text(f"{before}{begin}\n\n{tables}\n{end}{after}", encoding="utf-8")


def verdict(cells: Sequence[Cell], found: Sequence[Found]) -> list[str]:
    """Name the figures that hold more seldom than 94 %, by more than two standard errors, and what costs too much."""
    said = []
    for cell, one in zip(cells, found, strict=True):
        for figure, count in one.figures.items():
            if figure == COSTS:  # what is promised is a mean loss, not a share
                if count.told >= ENOUGH and (count.mean_width or 0.0) > Rule().loss:
                    said.append(f"{figure} on {cell.kind}: costs {count.mean_width:.2%} on average")
            elif count.told and count.part + 2.0 * count.error < LEAST:
                shown = f"{100.0 * count.part:.1f} ± {100.0 * count.error:.1f} %"
                said.append(f"{figure} on {cell.kind}: right in {shown} of {count.told:,}")
    return said
