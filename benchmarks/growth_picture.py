"""The picture of growth: every case on logarithmic axes, and its stated curve through its first point."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.growth import CURVES, Point


def save(points: Sequence[Point], path: Path) -> None:
    """Draw into a PNG file."""
    cases = [case for case in dict.fromkeys(point.case for point in points) if case not in ("disk", "rss")]
    figure = Figure(figsize=(12.0, 3.0 * ((len(cases) + 2) // 3)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots((len(cases) + 2) // 3, 3, squeeze=False)
    for axes in grid.flat[len(cases) :]:
        axes.set_visible(False)
    for axes, case in zip(grid.flat, cases, strict=False):
        some = [point for point in points if point.case == case]
        sizes = [point.size for point in some]
        medians = [point.row.median for point in some]
        lows, highs = zip(*((min(point.row.values), max(point.row.values)) for point in some), strict=True)
        axes.fill_between(sizes, lows, highs, color="#0072b2", alpha=0.2)
        axes.plot(sizes, medians, color="#0072b2", marker="o", label="measured: median, lowest to highest")
        if stated := [point for point in some if point.curve]:
            first, curve = stated[0], CURVES[stated[0].curve]
            ends = [point.size for point in stated]
            along = [first.row.median * curve(size) / curve(first.size) for size in ends]
            axes.plot(ends, along, color="#888888", linestyle="--", label=f"stated: {first.curve}")
        axes.set(xscale="log", yscale="log")
        axes.set_ylim(min(lows) / 3, max(highs) * 3)
        axes.set_title(f"{case}, {some[0].row.unit}", loc="left", fontsize=9)
        axes.legend(fontsize=7, frameon=False)
        axes.grid(color="#dddddd", linewidth=0.6)
    figure.savefig(path, dpi=130)
