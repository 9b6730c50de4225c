"""Thousands of runs of each cell: seeds given, and what came of them kept after every hundred.

With a folder, a suite that was cut off goes on where it was. It is for one state of the code: whoever changes a tool
begins another folder, or takes that cell's file out of it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from math import isnan, sqrt
from pathlib import Path

import numpy as np
import orjson

from benchmarks.coverage.cells import Cell
from benchmarks.coverage.figures import Said

CHUNK = 100
SEED = 16


@dataclass
class Count:
    """What all runs of a cell say of one figure."""

    told: int = 0
    """Runs in which it was given."""
    right: int = 0
    above: int = 0
    """Misses with the truth above the interval."""
    width: float = 0.0
    """Sum."""

    def add(self, said: Said) -> None:
        """Take in one run."""
        if said.is_right is None:
            return
        self.told += 1
        self.right += int(said.is_right)
        self.above += int(said.is_above)
        self.width += float(said.width)

    @property
    def part(self) -> float:
        """Return in which part of the runs it was right, of those in which it was given."""
        return self.right / self.told if self.told else float("nan")

    @property
    def error(self) -> float:
        """Return a standard error of that part: of what would be so of 95 % at least, since 0 misses have none."""
        part = min(self.part, 0.95) if self.part > 0.95 else self.part
        return sqrt(part * (1.0 - part) / self.told) if self.told else float("nan")

    @property
    def mean_width(self) -> float | None:
        """Return the mean width, where there is one."""
        return None if not self.told or isnan(self.width) else self.width / self.told


@dataclass
class Found:
    """A cell's runs so far."""

    cell: str
    runs: int = 0
    seconds: float = 0.0
    figures: dict[str, Count] = field(default_factory=dict)

    def add(self, said: dict[str, Said]) -> None:
        """Take in one run."""
        self.runs += 1
        for name, one in said.items():
            self.figures.setdefault(name, Count()).add(one)


def measure(
    cells: Sequence[Cell],
    runs: int,
    folder: Path | None,
    on_progress: Callable[[str, int, int], None] = lambda _cell, _done, _total: None,
) -> list[Found]:
    """Run every cell `runs` times, a hundred of each in turn, so that what is cut off has some of all."""
    found = {cell.name: _load(cell, folder) for cell in cells}
    total = runs * len(cells)
    for cell, chunk in _chunks(cells, runs, found):
        one = found[cell.name]
        started = time.perf_counter()
        for run in range(one.runs, one.runs + chunk):
            one.add(cell.run(np.random.default_rng([SEED, _number(cell), run])))
        one.seconds += time.perf_counter() - started
        if folder is not None:
            _path(cell, folder).write_bytes(orjson.dumps(asdict(one), option=orjson.OPT_INDENT_2))
        on_progress(cell.name, sum(min(one.runs, runs) for one in found.values()), total)
    return list(found.values())


def _chunks(cells: Sequence[Cell], runs: int, found: dict[str, Found]) -> Iterator[tuple[Cell, int]]:
    while waiting := [cell for cell in cells if found[cell.name].runs < runs]:
        for cell in waiting:
            yield cell, min(CHUNK, runs - found[cell.name].runs)


def _number(cell: Cell) -> int:
    return int.from_bytes(blake2b(cell.name.encode(), digest_size=4).digest(), "big")


def _path(cell: Cell, folder: Path) -> Path:
    return folder / f"{re.sub(r'[^a-z0-9]+', '-', cell.name.lower()).strip('-')}-{_number(cell):08x}.json"


def _load(cell: Cell, folder: Path | None) -> Found:
    if folder is None:
        return Found(cell.name)
    folder.mkdir(parents=True, exist_ok=True)
    path = _path(cell, folder)
    if not path.exists():
        return Found(cell.name)
    kept = orjson.loads(path.read_bytes())
    figures = {name: Count(**count) for name, count in kept.pop("figures").items()}
    for count in figures.values():
        count.width = float("nan") if count.width is None else count.width  # JSON has no nan
    return Found(**kept, figures=figures)
