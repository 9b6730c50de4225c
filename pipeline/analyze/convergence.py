"""What can be said by now, and how much more it takes where it can't. Pure.

An interval narrows with the root of the decisions. So what is not said yet is said about when its half width has come
down to the distance that it has to cross, all else as it seems now.
"""

from __future__ import annotations

from math import ceil, inf, isfinite
from typing import Literal, NamedTuple

from pipeline.evaluate.log import DecisionLog

DAY_MS = 86_400_000
LEAST_SPAN_MS = 3_600_000
"""From a shorter log no traffic is told."""
MOST_DECISIONS = 10**12

Personalise = Literal["yes", "no", "not yet"]


class Wait(NamedTuple):
    """How long until something can be said."""

    decisions: int | None
    """More; 0: it is said; None: no number of decisions was found."""
    time_ms: int | None
    """At the present traffic; None where that is not known."""


class Gain(NamedTuple):
    """What context gains a decision."""

    value: float
    low: float
    high: float
    most: float
    """Upper limit of what any rule gains."""
    least: float
    """That is worth it."""


def verdict_of(gain: Gain) -> Personalise:
    """Say whether context is worth it.

    >>> verdict_of(Gain(0.02, 0.01, 0.03, 0.03, 0.005)), verdict_of(Gain(0.0, 0.0, 0.0, 0.02, 0.005))
    ('yes', 'not yet')
    """
    if gain.most < gain.least:
        return "no"
    return "yes" if gain.low > 0.0 else "not yet"


def decisions_until(gain: Gain, decisions: int) -> int | None:
    """Return how many decisions more it takes until context is surely worth it, or surely not.

    >>> decisions_until(Gain(0.01, -0.01, 0.03, 0.04, 0.005), 1_000)  # half the width has to become half of what it is
    3000
    >>> decisions_until(Gain(0.0, -0.01, 0.01, 0.02, 0.01), 1_000)  # what there may be at most has to become half
    3000
    """
    if verdict_of(gain) != "not yet":
        return 0
    factors = []
    if gain.value > 0.0:
        factors.append((gain.high - gain.low) / 2.0 / gain.value)
    if gain.value < gain.least:
        factors.append(gain.most / gain.least)
    known = [factor for factor in factors if isfinite(factor)]
    more = ceil(decisions * (min(known, default=inf) ** 2 - 1.0)) if known else MOST_DECISIONS
    return max(more, 1) if more < MOST_DECISIONS else None


def traffic_per_day(log: DecisionLog, back_ms: int) -> float | None:
    """Return the decisions a day in the last `back_ms` of a log; None where it is too short to tell."""
    first, last = int(log.decided_at_ms.min()), int(log.decided_at_ms.max())
    since = max(first, last - back_ms)
    if last - since < min(LEAST_SPAN_MS, back_ms):
        return None
    return float((log.decided_at_ms > since).sum()) * DAY_MS / (last - since)


def wait(decisions: int | None, per_day: float | None) -> Wait:
    """Return a number of decisions as a time, too."""
    if decisions is None or not per_day:
        return Wait(decisions, 0 if decisions == 0 else None)
    return Wait(decisions, round(decisions * DAY_MS / per_day))
