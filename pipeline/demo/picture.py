"""The regret curves as a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from pipeline.demo.report import Curves

# Colours that are told apart with every kind of colour vision (Okabe & Ito 2008).
STYLES = {
    "policy": ("the policy", "#0072b2", 2.6),
    "ab_test": ("A/B test on a fifth,\nthen its winner", "#d55e00", 1.8),
    "uniform": ("every arm by chance", "#666666", 1.8),
}
DOTS_PER_INCH = 160
LABEL_GAP = 0.1
"""How far labels keep from each other, as a part of the highest curve: two lines of text."""


def save_picture(curves: Curves, path: Path) -> None:
    """Draw cumulative regret over visitors into a PNG file; its folder is made."""
    figure = Figure(figsize=(9.0, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    count = len(curves.policy)
    visitors = range(1, count + 1)
    ends = {name: float(curve[-1]) for name, curve in curves._asdict().items()}
    heights = spread_labels(ends, LABEL_GAP * max(ends.values()))
    for name, curve in curves._asdict().items():
        label, color, width = STYLES[name]
        axes.plot(visitors, curve, color=color, linewidth=width, solid_capstyle="round")
        axes.annotate(
            f"{label}: {ends[name]:,.0f}",
            (count, heights[name]),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=color,
            fontsize=10,
            fontweight="bold" if name == "policy" else "normal",
            annotation_clip=False,
        )
    axes.set_title(f"Regret on the same {count:,} visitors", loc="left", fontsize=13, pad=12)
    axes.set_xlabel("visitors so far")
    axes.set_ylabel("cumulative regret (expected reward lost; a purchase is 1)")
    axes.set_xlim(0, count)
    axes.set_ylim(bottom=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DOTS_PER_INCH)


def spread_labels(heights: Mapping[str, float], gap: float) -> dict[str, float]:
    """Raise labels, from the lowest up, until each is `gap` above the one below.

    >>> spread_labels({"a": 5.0, "b": 4.0, "c": 20.0}, 3.0)
    {'b': 4.0, 'a': 7.0, 'c': 20.0}
    """
    spread: dict[str, float] = {}
    lowest = -math.inf
    for name, height in sorted(heights.items(), key=lambda item: item[1]):
        spread[name] = max(height, lowest)
        lowest = spread[name] + gap
    return spread
