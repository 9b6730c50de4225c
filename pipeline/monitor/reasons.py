"""Who decided, of sampled decisions: how many no model made, and how many were held out. Pure."""

from __future__ import annotations

from pipeline.monitor.compare import is_sure
from pipeline.monitor.reading import Figure, Monitor, Reading
from pipeline.monitor.view import FEWEST, View
from pipeline.policy.samples import REASON_COLUMNS, REASONS

PERSON = 10.0
"""Decisions that one person held out may make a day on average: they are held out all at once, or not at all."""


def read_fallbacks(view: View) -> Reading:
    """Look at the share of decisions that no model made."""
    found = _counts(view)
    if isinstance(found, str):
        return Reading(withheld=found)
    _, fallback, _ = found
    count, threshold = sum(found), view.threshold("fallbacks")
    share = fallback / count
    over = share - threshold
    is_red = over > 0.0 and is_sure(over, threshold * (1.0 - threshold) / count, view.deviations(1))
    return Reading((Figure("fallback_ratio", share),), is_red)


def read_holdout(view: View) -> Reading:
    """Compare the share of decisions held out with the declared one."""
    holdout = view.definition.guardrails.holdout
    if holdout is None:
        return Reading(withheld="no-holdout")
    found = _counts(view)
    if isinstance(found, str):
        return Reading(withheld=found)
    policy, _, held = found
    count = policy + held
    if count < FEWEST:
        return Reading(withheld="few-sampled")
    share, apart = holdout.share, held / count - holdout.share
    is_red = abs(apart) > view.threshold("holdout") * share and is_sure(
        apart, PERSON * share * (1.0 - share) / count, view.deviations(1)
    )
    return Reading((Figure("held_out_ratio", held / count / share),), is_red)


def _counts(view: View) -> tuple[float, float, float] | str:
    if not view.definition.monitors.sample:
        return "unsampled"
    policy, fallback, held = view.shown.recent.tally(REASONS, len(REASON_COLUMNS)).tolist()
    return (policy, fallback, held) if policy + fallback + held >= FEWEST else "few-sampled"


FALLBACKS = Monitor(
    "fallbacks", "share of decisions that no model made (sampled, the last day)", "a day", read_fallbacks
)
HOLDOUT = Monitor(
    "holdout",
    "share of decisions held out, against the declared one (sampled, the last day); by subject: pipeline report",
    "a day",
    read_holdout,
)
