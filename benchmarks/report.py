"""Rows of measurements → one JSON file and one Markdown table, to which each suite adds its part."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, from several repetitions."""

    name: str
    unit: str
    values: tuple[float, ...]
    wall_s: tuple[float, ...] = ()
    """Of each repetition, where that means anything."""
    cpu_s: tuple[float, ...] = ()
    """The same by the CPU time of what was measured, and of nothing else."""
    peak_rss_mib: float | None = None
    """Of the process that was measured, the highest of all repetitions."""

    @property
    def median(self) -> float:
        """The figure to quote."""
        return statistics.median(self.values)

    @property
    def spread(self) -> str:
        """Lowest to highest: how noisy the machine was."""
        return f"{min(self.values):,.4g} to {max(self.values):,.4g}"


HEAD = (
    "| what | median | unit | lowest to highest | runs | wall s | CPU s | peak RSS, MiB |\n"
    "|---|---:|---|---|---:|---:|---:|---:|"
)


def write(suite: str, rows: Sequence[Row], folder: Path, *, is_smoke: bool = False) -> str:
    """Put a suite's rows in the place of its last ones in `bench.json` and `bench.md`; return their Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "bench.json"
    suites: dict[str, Any] = orjson.loads(path.read_bytes())["suites"] if path.exists() else {}
    suites[suite] = {
        "measured_at_ms": int(time.time() * 1000),
        "machine": machine(),
        "is_smoke": is_smoke,
        "rows": [{**asdict(row), "median": row.median} for row in rows],
    }
    path.write_bytes(orjson.dumps({"suites": suites}, option=orjson.OPT_INDENT_2))
    tables = {name: _markdown(name, found["machine"], rows_of(found)) for name, found in suites.items()}
    (folder / "bench.md").write_text("\n".join(tables.values()), encoding="utf-8")
    return tables[suite]


def read(folder: Path) -> dict[str, list[Row]]:
    """Return the rows of each suite that was measured into `folder`; none where nothing was."""
    path = folder / "bench.json"
    if not path.exists():
        return {}
    return {name: rows_of(found) for name, found in orjson.loads(path.read_bytes())["suites"].items()}


def rows_of(suite: dict[str, Any]) -> list[Row]:
    """Read a suite's rows back."""
    return [
        Row(
            fields["name"],
            fields["unit"],
            tuple(fields["values"]),
            tuple(fields["wall_s"]),
            tuple(fields["cpu_s"]),
            fields["peak_rss_mib"],
        )
        for fields in suite["rows"]
    ]


def machine() -> dict[str, Any]:
    """Say where it was measured, and how busy the machine was beside."""
    return {
        "python": platform.python_version(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "load_average_1m": os.getloadavg()[0],
        "yardstick_us": yardstick_us(),
    }


def yardstick_us() -> float:
    """Return µs of CPU that orjson takes here for a decision with 16 features: how fast the machine is."""
    context = {f"f{i}": i / 7 for i in range(16)}
    record = orjson.dumps({"action_id": "0" * 32, "policy": "homepage", "context": context})
    took_us = []
    for _ in range(50):
        began_ns = time.process_time_ns()
        for _ in range(1_000):
            orjson.loads(record)
        took_us.append((time.process_time_ns() - began_ns) / 1e6)
    return statistics.quantiles(took_us, n=10)[0]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _markdown(suite: str, where: dict[str, Any], rows: Iterable[Row]) -> str:
    told = (
        f"{where['processor']}, {where['cores']} cores, load {where['load_average_1m']:.1f}, Python {where['python']}"
        f"; orjson reads a decision in {where.get('yardstick_us', float('nan')):.2f} µs"
    )
    lines = [f"## {suite}", "", told, "", HEAD]
    for row in rows:
        rss = "" if row.peak_rss_mib is None else f"{row.peak_rss_mib:,.0f}"
        cells = (
            row.name,
            f"{row.median:,.4g}",
            row.unit,
            row.spread,
            str(len(row.values)),
            _median(row.wall_s),
            _median(row.cpu_s),
            rss,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _median(values: Sequence[float]) -> str:
    return f"{statistics.median(values):,.3g}" if values else ""
