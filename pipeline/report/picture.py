"""A report as a picture: the two means with their intervals, and how each group's decisions fell on the arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from pipeline.report.tally import ANALYSIS, HOLDOUT, POLICY

DOTS_PER_INCH = 160
# Told apart with every kind of colour vision (Okabe & Ito 2008).
COLORS = {POLICY: "#0072b2", ANALYSIS: "#009e73", HOLDOUT: "#d55e00"}


def save_picture(report: Mapping[str, Any], path: Path) -> None:
    """Draw a report into a PNG file; its folder is made."""
    names = [report["lift_of"], HOLDOUT]
    arms = sorted({arm for name in names for arm in report["arms"][name]})
    figure = Figure(figsize=(9.0, 2.4 + 0.36 * max(len(arms), 1)), layout="constrained")
    FigureCanvasAgg(figure)
    ratios = {"height_ratios": [1.4, max(0.5 * len(arms), 1.0)]}
    means, shares = figure.subplots(2, 1, gridspec_kw=ratios)
    _draw_means(means, report, names)
    _draw_shares(shares, report, arms, names)
    figure.suptitle(_title(report), x=0.01, ha="left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DOTS_PER_INCH)


def _draw_means(axes: Axes, report: Mapping[str, Any], names: Sequence[str]) -> None:
    for place, name in enumerate(names):
        color = COLORS[name]
        group = report["groups"][name]
        interval = group["interval"]
        if interval is not None:
            axes.plot((interval["low"], interval["high"]), (place, place), color=color, linewidth=6, alpha=0.4)
        if group["mean_reward"] is not None:
            axes.plot([group["mean_reward"]], [place], "o", color=color, markersize=7)
    labels = [f"{name} ({report['groups'][name]['subjects']:,} subjects)" for name in names]
    axes.set_yticks(range(len(names)), labels)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("reward a decision, with its 95 % interval")
    _tidy(axes)


def _draw_shares(axes: Axes, report: Mapping[str, Any], arms: list[str], names: Sequence[str]) -> None:
    for offset, name in enumerate(names):
        shares = [report["arms"][name].get(arm, {"share": 0.0})["share"] for arm in arms]
        axes.barh(
            [place + 0.4 * offset - 0.2 for place in range(len(arms))], shares, 0.36, color=COLORS[name], label=name
        )
    axes.set_yticks(range(len(arms)), arms)
    axes.set_ylim(len(arms) - 0.4, -0.6)
    axes.set_xlabel("share of the group's decisions")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.legend(frameon=False)
    _tidy(axes)


def _title(report: Mapping[str, Any]) -> str:
    relative = report["lift"] and report["lift"]["relative"]
    if relative is None:
        return f"{report['policy']}: the lift is not known yet"
    low, high = relative["low"], relative["high"]
    return f"{report['policy']} earns {relative['value']:+.1%} against its holdout (95 %: {low:+.1%} to {high:+.1%})"


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
