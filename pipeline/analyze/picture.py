"""An analysis as a picture: what rules earn, what each field is worth, and what each arm earns with whom."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from pipeline.analyze.findings import Analysis, Effect, Estimated
from pipeline.analyze.groups import Audited

DOTS_PER_INCH = 160
# Told apart with every kind of colour vision (Okabe & Ito 2008).
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442", "#000000")
POINT, BAND = "#0072b2", "#56b4e9"
MOST_FIELDS = 15
MOST_ARMS = len(COLORS)
SURELY = 0.05
VERDICTS = {"yes": "Personalise", "no": "Do not personalise", "not yet": "Whether to personalise can't be said yet"}


def save_picture(found: Analysis, path: Path) -> None:
    """Draw an analysis into a file, in the format of its name; its folder is made."""
    effects = sorted(found.effects, key=lambda effect: -effect.worth.value)[:MOST_FIELDS]
    groups = [] if found.groups is None else found.groups.shown
    rows = [len(found.values), len(effects), _levels(found.effects), len(groups)]
    heights = [0.34 * row + 0.75 for row in rows if row]
    figure = Figure(figsize=(9.0, sum(heights) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = iter(figure.subplots(len(heights), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0])
    _draw_values(next(panels), found)
    if effects:
        _draw_worth(next(panels), effects)
        _draw_levels(next(panels), found.effects[0], found.arms)
    if groups:
        _draw_groups(next(panels), groups)
    low, high = (f"{100 * end / found.values['one arm for all'].value:+.1f} %" if found.values["one arm for all"].value
                 else f"{end:+.3g}" for end in (found.gain.low, found.gain.high))  # fmt: skip
    title = f"{VERDICTS[found.personalise]}: context gains {low} to {high} on the best arm for all"
    figure.suptitle(f"{title} (by {found.by})", x=0.01, ha="left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DOTS_PER_INCH)


def _levels(effects: list[Effect]) -> int:
    return len(effects[0].levels) if effects else 0


def _draw_values(axes: Axes, found: Analysis) -> None:
    _draw_intervals(axes, list(found.values), list(found.values.values()))
    axes.set_title("What rules earn a decision, with intervals", loc="left", fontsize=10)


def _draw_worth(axes: Axes, effects: list[Effect]) -> None:
    names = [f"{effect.field}{' *' if effect.adjusted <= SURELY else ''}" for effect in effects]
    _draw_intervals(axes, names, [effect.worth for effect in effects])
    axes.axvline(0.0, color="#888888", linewidth=0.8, zorder=1)
    axes.set_title("What knowing a field is worth a decision (*: effects differ by it)", loc="left", fontsize=10)


def _draw_intervals(axes: Axes, names: list[str], values: list[Estimated]) -> None:
    for place, one in enumerate(values):
        axes.plot((one.low, one.high), (place, place), color=BAND, linewidth=6, solid_capstyle="butt", zorder=2)
        axes.plot([one.value], [place], "o", color=POINT, markersize=6, zorder=3)
    _tidy(axes, names)


def _draw_levels(axes: Axes, effect: Effect, arms: tuple[str, ...]) -> None:
    best = sorted(arms, key=lambda arm: -max(level.means[arm] for level in effect.levels))[:MOST_ARMS]
    shown = [arm for arm in arms if arm in best]
    for place, arm in enumerate(shown):
        shift = 0.5 * ((place + 0.5) / len(shown) - 0.5)
        places = [row + shift for row in range(len(effect.levels))]
        means = [level.means[arm] for level in effect.levels]
        reach = [1.96 * level.standard_errors[arm] for level in effect.levels]
        axes.errorbar(means, places, xerr=reach, fmt="o", color=COLORS[place], markersize=5, linewidth=1.6, label=arm)
    _tidy(axes, [f"{effect.field} {level.level}" for level in effect.levels])
    title = f"What arms earn by {effect.field} (p = {effect.adjusted:.2g}), ± 1.96 standard errors"
    axes.set_title(title, loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _draw_groups(axes: Axes, groups: list[Audited]) -> None:
    arms = sorted({arm for one in groups for arm in one.shares})[:MOST_ARMS]
    for row, one in enumerate(groups):
        left = 0.0
        for place, arm in enumerate(arms):
            share = one.shares[arm]["value"] or 0.0
            axes.barh([row], [share], 0.7, left, color=COLORS[place], label=arm if not row else None)
            left += share
    _tidy(axes, [f"{one.field} {one.group}" for one in groups])
    axes.set_xlim(0.0, 1.0)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_title("Who is shown what", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _tidy(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
