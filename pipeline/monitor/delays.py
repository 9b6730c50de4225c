"""How late outcomes come, of sampled decisions: the last day that is over against the week before. Pure."""

from __future__ import annotations

import numpy as np

from pipeline.models.model import Floats
from pipeline.models.sums.delays import COLUMNS, EDGES_MS
from pipeline.monitor.compare import differ, stability_index
from pipeline.monitor.reading import Figure, Monitor, Reading
from pipeline.monitor.view import View
from pipeline.policy.samples import DELAYS

FEWEST_CAME = 200


def read(view: View) -> Reading:
    """Compare the delays of first outcomes; arms are weighed as they were shown lately."""
    if not view.definition.monitors.sample:
        return Reading(withheld="unsampled")
    pair = view.earned
    if pair.withheld:
        return Reading(withheld=pair.withheld)
    recent, counted = pair.recent.tally(DELAYS, COLUMNS), pair.before.tally(DELAYS, COLUMNS)
    if min(recent.sum(), counted.sum()) < FEWEST_CAME:
        return Reading(withheld="few-sampled")
    before = pair.before.tally(DELAYS, COLUMNS, pair.mix())
    # As many as were counted: weighing makes nothing surer.
    before *= counted.sum() / before.sum() if before.sum() else 0.0
    index = stability_index(recent, before)
    is_red = index > view.threshold("delays") and differ(recent, before, view.deviations(1))
    figures = (
        Figure("stability_index", index),
        Figure("median_seconds", _median_s(recent)),
        Figure("median_before_seconds", _median_s(before)),
    )
    return Reading(figures, is_red)


def _median_s(histogram: Floats) -> float:
    """Return the end of the column that has the median."""
    column = int(np.searchsorted(histogram.cumsum(), 0.5 * histogram.sum()))
    return EDGES_MS[min(column, len(EDGES_MS) - 1)] / 1000.0


MONITOR = Monitor(
    "delays",
    "how late first outcomes come: the last day that is over against the week before (sampled)",
    "a day and the attribution window",
    read,
)
