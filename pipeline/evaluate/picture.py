"""The estimates and their intervals as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipeline.evaluate.evaluate import Estimate, Evaluation

DOTS_PER_INCH = 160
# Told apart with every kind of colour vision (Okabe & Ito 2008).
POINT, BAND, MEAN = "#0072b2", "#56b4e9", "#d55e00"


def save_picture(evaluations: Sequence[Evaluation], mean_reward: float, path: Path) -> None:
    """Draw a panel a target into a PNG file; its folder is made."""
    rows = sum(len(evaluation.estimates) for evaluation in evaluations)
    figure = Figure(figsize=(9.0, 1.2 + 0.32 * rows + 0.5 * len(evaluations)), layout="constrained")
    FigureCanvasAgg(figure)
    heights = [len(evaluation.estimates) for evaluation in evaluations]
    panels = figure.subplots(len(evaluations), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights})
    for axes, evaluation in zip(panels[:, 0], evaluations, strict=True):
        _draw(axes, evaluation, mean_reward)
    # Bernstein's bounds may be many times wider than all else: they may leave the picture.
    ends = [end for one in evaluations for estimate in one.estimates for end in _ends(estimate) if isfinite(end)]
    ends.append(mean_reward)
    margin = 0.25 * (max(ends) - min(ends)) or 0.1
    panels[0, 0].set_xlim(min(ends) - margin, max(ends) + margin)
    panels[-1, 0].set_xlabel("reward a decision · thick: bootstrap, thin: empirical Bernstein (may leave the picture)")
    figure.suptitle(
        f"What each policy would have earned · the log's own mean, {mean_reward:.5g}, is the vertical line",
        x=0.01,
        ha="left",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DOTS_PER_INCH)


def _draw(axes: Axes, evaluation: Evaluation, mean_reward: float) -> None:
    names = [estimate.estimator for estimate in evaluation.estimates]
    axes.axvline(mean_reward, color=MEAN, linewidth=1.2, zorder=1)
    for place, estimate in enumerate(evaluation.estimates):
        if estimate.bernstein is not None:
            axes.plot(estimate.bernstein, (place, place), color=BAND, linewidth=1.2, solid_capstyle="butt", zorder=2)
        if estimate.bootstrap is not None:
            axes.plot(estimate.bootstrap, (place, place), color=BAND, linewidth=6, solid_capstyle="butt", zorder=2)
        axes.plot([estimate.value], [place], "o", color=POINT, markersize=6, zorder=3)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    effective = f"worth {evaluation.support.effective:,.0f} of {evaluation.support.decisions:,} decisions"
    axes.set_title(f"{evaluation.target} ({effective})", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)


def _ends(estimate: Estimate) -> tuple[float, ...]:
    return (estimate.value, *(estimate.bootstrap or ()))
