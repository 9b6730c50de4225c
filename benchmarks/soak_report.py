"""The curves of a soak: a table of where they stand, and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

FIGURES = (
    ("rss_mib", "memory of the worker (RSS), MiB"),
    ("rocksdb_mib", "RocksDB on disk, MiB"),
    ("changelog_mib", "changelogs on the broker, MiB"),
    ("open_rows", "open decisions"),
)
STAGES = (0.1, 0.25, 0.5, 0.75, 1.0)


class Look(Protocol):
    """What the worker takes at one moment."""

    @property
    def seconds(self) -> float:
        """Since the start."""

    @property
    def events(self) -> int:
        """Read so far."""


def table(looks: Sequence[Look]) -> str:
    """Say where each curve stood on the way, and how its highest in the second half is to that in the first."""
    total = looks[-1].events
    lines = [
        f"{total:,} events in {looks[-1].seconds:,.0f} s: {total / looks[-1].seconds:,.0f} events/s",
        "",
        f"| | {' | '.join(f'{stage:.0%} of the events' for stage in STAGES)} | highest, 2nd half / 1st half |",
        f"|---|{'---|' * (len(STAGES) + 1)}",
    ]
    for name, words in FIGURES:
        shown = [f"{_at(looks, name, stage * total):,.0f}" for stage in STAGES]
        first = max(getattr(look, name) for look in looks if look.events <= total / 2)
        second = max(getattr(look, name) for look in looks if look.events > total / 2)
        lines.append(f"| {words} | {' | '.join(shown)} | {second / first if first else float('nan'):.2f} |")
    return "\n".join(lines) + "\n"


def _at(looks: Sequence[Look], name: str, events: float) -> float:
    return float(next(getattr(look, name) for look in looks if look.events >= events))


def picture(looks: Sequence[Look], path: Path) -> None:
    """Draw each curve over the events read into a PNG file."""
    figure = Figure(figsize=(10.0, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    events = [look.events / 1e6 for look in looks]
    for axes, (name, words) in zip(figure.subplots(2, 2, sharex=True).flat, FIGURES, strict=True):
        axes.plot(events, [getattr(look, name) for look in looks], color="#0072b2", linewidth=1.8)
        axes.set_title(words, loc="left", fontsize=11)
        axes.set_ylim(bottom=0)
        axes.set_xlim(0, events[-1])
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#dddddd", linewidth=0.8)
        axes.set_axisbelow(True)
    figure.supxlabel("million events read")
    figure.savefig(path, dpi=140)
