"""Whether arms are drawn as their propensities say, of sampled decisions. Pure.

Were one of the sixteen places that a draw may fall in likelier than the others, its odds would be others than 1 : 15.
That is the test of a holdout's share (`report/sample_ratio.py`, Lindon and Malek 2022), of each place at once: it may
be looked at at any time, so within a month a true node is accused by a chance of `threshold` at the most.
"""

from __future__ import annotations

from pipeline.monitor.compare import is_sure
from pipeline.monitor.reading import Figure, Monitor, Reading
from pipeline.monitor.view import FEWEST, View
from pipeline.policy.samples import BINS, DRAWS, LOG, OCTAVES, PROPENSITIES, PROPENSITY_ONE, WEIGHT_ONE
from pipeline.report.sample_ratio import Split, always_p_value

FEWEST_OF_OCTAVE = 200
LEAST_EFFECT = 0.005
"""Share of draws that may lie elsewhere: what propensities of four digits come to."""
SUPPORT = 0.6
"""Mean weight, 1 of a whole log, below which too much lies in arms that are hardly ever drawn: beyond `MOST_WEIGHT`."""
ENOUGH = 10_000
"""Decisions from which on a log should be of use."""


def _withheld(view: View) -> str:
    """Return why single decisions say nothing; where a person keeps an answer, its decisions are one draw."""
    if not view.definition.monitors.sample:
        return "unsampled"
    return "" if view.definition.assignment is None else "sticky"


def read(view: View) -> Reading:
    """Test whether draws fall evenly."""
    if reason := _withheld(view):
        return Reading(withheld=reason)
    places = view.month.tally(DRAWS, 2 * BINS)
    count = int(places[:BINS].sum())
    if count < FEWEST:
        return Reading(withheld="few-sampled")
    chances = [always_p_value({1.0 / BINS: Split(count, int(one))}) for one in places]
    chance = min(1.0, len(chances) * min(chances))
    off = max(float(abs(half / count - 1.0 / BINS).sum()) / 2.0 for half in (places[:BINS], places[BINS:]))
    figures = (Figure("chance", chance), Figure("misplaced_ratio", off))
    return Reading(figures, chance <= view.threshold("draws") and off > LEAST_EFFECT)


def read_propensities(view: View) -> Reading:
    """Compare how often arms were drawn with the sum of their propensities, by octaves of these."""
    if reason := _withheld(view):
        return Reading(withheld=reason)
    table = view.shown.recent.tally(PROPENSITIES, 3 * OCTAVES).reshape(3, OCTAVES)
    if table[0].sum() < FEWEST:
        return Reading(withheld="few-sampled")
    threshold, deviations = view.threshold("propensities"), view.deviations(OCTAVES)
    figures, is_red = [], False
    for octave, (count, scaled, drawn) in enumerate(table.T.tolist()):
        expected = scaled / PROPENSITY_ONE
        if count < FEWEST_OF_OCTAVE:
            continue
        # Σ p (1 - p) is at most Σ p (1 - mean p).
        variance = expected * (1.0 - expected / count) + 1.0
        is_red |= abs(drawn - expected) > threshold * expected and is_sure(drawn - expected, variance, deviations)
        figures.append(Figure("drawn_ratio", drawn / expected, f"from 2^-{octave + 1}"))
    figures.sort(key=lambda one: -abs(one.value - 1.0))
    return Reading(tuple(figures[:8]), is_red)


def read_log(view: View) -> Reading:
    """Say for how many decisions the log of the last days stands, where a uniform policy is evaluated by it."""
    sample = view.definition.monitors.sample
    if reason := _withheld(view):
        return Reading(withheld=reason)
    count, weights, squares = (float(one) for one in view.shown.recent.tally(LOG, 3) + view.shown.before.tally(LOG, 3))
    if count / sample < ENOUGH or count < FEWEST_OF_OCTAVE:
        return Reading(withheld="few-sampled")
    effective = weights * weights / (squares * WEIGHT_ONE) / sample
    figures = (
        Figure("effective_decisions", effective),
        Figure("effective_ratio", effective * sample / count),
        Figure("mean_weight", weights / WEIGHT_ONE / count),
    )
    return Reading(figures, effective < view.threshold("log") or weights / WEIGHT_ONE / count < SUPPORT)


MONITOR = Monitor(
    "draws",
    "whether arms are drawn as the logged propensities say (sampled, since the month began), at any look",
    "some 20,000 sampled decisions, where a tenth of the draws is elsewhere",
    read,
)
CALIBRATED = Monitor(
    "propensities",
    "how often arms were drawn against the sum of their propensities, by octaves of these (sampled, the last day)",
    "a day",
    read_propensities,
)
LOGGED = Monitor(
    "log",
    "for how many decisions the log of eight days stands where a uniform policy is evaluated (sampled)",
    "eight days",
    read_log,
)
