"""Rows of measurements → one JSON file and one Markdown table."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, from several repetitions."""

    name: str
    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The figure to quote."""
        return statistics.median(self.values)

    @property
    def spread(self) -> str:
        """Lowest to highest: how noisy the machine was."""
        return f"{min(self.values):,.4g} to {max(self.values):,.4g}"


def write(rows: Sequence[Row], folder: Path) -> str:
    """Write `bench.json` and `bench.md`; return the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    machine = {"python": platform.python_version(), "processor": platform.machine(), "system": platform.system()}
    fields = [{**asdict(row), "median": row.median} for row in rows]
    (folder / "bench.json").write_bytes(orjson.dumps({"machine": machine, "rows": fields}, option=orjson.OPT_INDENT_2))
    lines = ["| what | median | unit | lowest to highest |", "|---|---|---|---|"]
    lines += [f"| {row.name} | {row.median:,.4g} | {row.unit} | {row.spread} |" for row in rows]
    text = "\n".join(lines) + "\n"
    (folder / "bench.md").write_text(text, encoding="utf-8")
    return text
