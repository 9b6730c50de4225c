"""Regret over decisions as a picture: means with bands of two standard errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from pipeline.demo.picture import spread_labels
from pipeline.errors import ConfigError
from pipeline.simulate.summary import Summary

DOTS_PER_INCH = 160
# Told apart with every kind of colour vision (Okabe & Ito 2008); yellow is left out, as it is too light for lines.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#666666")
DASHES = ("-", "--", ":")
LABEL_GAP = 0.055
"""How far labels keep from each other, as a part of the highest curve."""


def save_picture(summaries: Sequence[Summary], path: Path, title: str) -> None:
    """Draw a panel an environment into a PNG file; its folder is made.

    Raises:
        ConfigError: nobody knows the regret in any of them.
    """
    drawn = [summary for summary in summaries if summary.has_regret]
    if not drawn:
        raise ConfigError("--picture", ["there is no regret to draw: of a log nobody knows what would have been best"])
    environments = list(dict.fromkeys(summary.environment for summary in drawn))
    columns = min(len(environments), 3)
    rows = -(-len(environments) // columns)
    size = (9.0, 5.2) if len(environments) == 1 else (6.4 * columns, 4.0 * rows)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, environment in zip(panels, environments, strict=False):
        _draw(axes, [summary for summary in drawn if summary.environment == environment])
        if len(environments) > 1:
            axes.set_title(environment, loc="left", fontsize=11)
    for axes in panels[len(environments) :]:
        axes.set_axis_off()
    figure.suptitle(title, x=0.01, ha="left", fontsize=13)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DOTS_PER_INCH)


def _draw(axes: Axes, summaries: Sequence[Summary]) -> None:
    ends = {summary.player: summary.regret for summary in summaries}
    top = max(*ends.values(), 1e-12)
    heights = spread_labels(ends, LABEL_GAP * top)
    # More bands than colours hide each other.
    has_bands = len(summaries) <= len(COLORS) and all(len(summary.curves) > 1 for summary in summaries)
    for place, summary in enumerate(summaries):
        color = COLORS[place % len(COLORS)]
        mean = summary.curves.mean(axis=0)
        axes.plot(summary.at, mean, DASHES[place // len(COLORS) % len(DASHES)], color=color, linewidth=1.8)
        if has_bands:
            reach = 2.0 * summary.curves.std(axis=0, ddof=1) / np.sqrt(len(summary.curves))
            axes.fill_between(summary.at, mean - reach, mean + reach, color=color, alpha=0.18, linewidth=0)
        axes.annotate(
            f"{summary.player}: {summary.regret:,.4g}",
            (summary.decisions, heights[summary.player]),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=color,
            fontsize=9,
            annotation_clip=False,
        )
    axes.set_xlabel("decisions so far")
    axes.set_ylabel("cumulative regret" + ", ± 2 standard errors" * has_bands)
    axes.set_xlim(0, summaries[0].decisions)
    axes.set_ylim(0, 1.05 * max(top, *heights.values()))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
