"""How late outcomes come: the share that has come by an age, from counts of decisions and of their delays.

Delays are counted on one fixed grid, two columns an octave, so that they add up over everything:

    column     0         1           2         3         4        …     42               43
    delay   [0, 1s)  [1s, 1.5s)  [1.5s, 2s)  [2s, 3s)  [3s, 4s)  …  [18.2d, 24.3d)  from 24.3d

A kind's last column ends with its window. Within a column delays are taken as spread evenly, as the ages of decisions
are within their time bucket.

The estimate is Kaplan and Meier's (1958) in its life-table form: of the decisions that nothing has come of before a
column, and of the part of the column that they have lived through, how many it has come of. It counts decisions that
are still open as long as they have been watched, so nothing need have closed. What never comes is part of it, so it
is normalised over the window: F(age) is the share of what comes at all. Where little has been seen, a prior is added
as decisions that were watched to the end, so many that its outcomes come at the rate that is seen. Where the prior is
what others do, a column has as many of them as the columns just before have had for each that it expected there: so
beyond the oldest age it goes on as it went lately, and whoever has had most of what comes early isn't thought to have
as long a tail as others.

Only +, -, *, / and comparisons of float64 in a fixed order, on top of exact integers: the same everywhere.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.models.model import Floats
from pipeline.models.sums.statistics import Integers

_OCTAVES = 22
EDGES_MS = tuple(sorted([1_000 << k for k in range(_OCTAVES)] + [1_500 << k for k in range(_OCTAVES - 1)]))
"""Where a column ends and the next begins; 30 days, the longest window, are in the last."""
COLUMNS = len(EDGES_MS) + 1
_EXPOSURE_BITS = 20
"""Exposures count in steps of 2^-20, so that a sum over 2^33 decisions is exact and without order."""
_WEIGHT_BITS = 30
_LATELY = 0.7
"""How much a column counts in the next one for how it goes lately, where all decisions have lived through that."""
_AS_THOUGHT = 3.0
"""Outcomes as the prior expects them that are added to what came lately, so that few don't say much."""


class DelayEstimate(NamedTuple):
    """What is known of one kind's delays."""

    increments: Floats
    """(J,) by column, the share of what comes at all; sums to 1."""
    chance: float
    """The chance that it comes at all, within the window."""


def column_for(delay_ms: int, window_ms: int) -> int:
    """Return the column that a delay within the window is counted in.

    >>> [column_for(delay_ms, 3_600_000) for delay_ms in (0, 999, 1_000, 1_500, 3_600_000)]
    [0, 0, 1, 2, 24]
    """
    return min(bisect_right(EDGES_MS, delay_ms), columns_for(window_ms) - 1)


def columns_for(window_ms: int) -> int:
    """Return how many columns a window reaches into, J."""
    return sum(edge_ms < window_ms for edge_ms in EDGES_MS) + 1


def even_prior(window_ms: int) -> Floats:
    """Return delays of which each column has the same share: about as many in every octave, (J,)."""
    columns = columns_for(window_ms)
    return np.full(columns, 1.0 / columns)


def exposures(youngest_ms: Integers, oldest_ms: Integers, window_ms: int) -> Integers:
    """Return how much of each column decisions have lived through, in steps of 2^-20: (m, J).

    Group i has ages that are spread evenly over [youngest_ms[i], oldest_ms[i]]; one that is still to come has age 0.
    """
    columns = columns_for(window_ms)
    start = np.array((0, *EDGES_MS[: columns - 1]), np.float64)
    length = np.array((*EDGES_MS[: columns - 1], window_ms), np.float64) - start
    young = np.maximum(youngest_ms, 0).astype(np.float64)[:, None]
    old = np.maximum(oldest_ms, 0).astype(np.float64)[:, None]
    spread = np.maximum(old - young, 1.0)
    lived = (_lived(old, start, length) - _lived(young, start, length)) / spread
    exposed: Integers = np.rint(lived * 2.0**_EXPOSURE_BITS).astype(np.int64)
    return exposed


def _lived(age: Floats, start: Floats, length: Floats) -> Floats:
    """Integrate the share of a column that is lived through, from age 0: its mean is the integral by the spread."""
    inside = np.clip(age - start, 0.0, length)
    lived: Floats = inside * (inside / length) / 2.0 + np.maximum(age - start - length, 0.0)
    return lived


def estimate(
    decided: Integers,
    came: Integers,
    exposed: Integers,
    prior: Floats,
    prior_outcomes: float,
    *,
    goes_on: bool = False,
) -> DelayEstimate:
    """Estimate delays by the product of hazards; with a prior: the mean of a beta-Stacy process, Walker & Muliere 1997.

    Args:
        decided: (m,) decisions of each group.
        came: (m, J) those of which the first outcome came so late.
        exposed: (m, J) as `exposures` gives them.
        prior: (J,) what delays are thought to be beforehand.
        prior_outcomes: how many outcomes that is worth.
        goes_on: whether the prior counts in each column as it has proved in those just before.
    """
    before = came.cumsum(axis=1) - came
    watched = ((decided[:, None] - before) * exposed).sum(axis=0)
    at_risk = watched / 2.0**_EXPOSURE_BITS
    lived = (decided[:, None] * exposed).sum(axis=0) / 2.0**_EXPOSURE_BITS
    events = came.sum(axis=0)
    # As many decisions as it takes for the prior's outcomes to come at the rate that is seen, were its delays right.
    expected = 0.0
    for share, seen in zip(prior.tolist(), lived.tolist(), strict=True):
        expected += share * seen
    rate = min((float(events.sum()) + 0.5) / (expected + 1.0), 1.0)
    lately = _Lately(rate, float(decided.sum()))
    risk_of_prior = prior_outcomes / rate
    remaining, chances = 1.0, []
    for column, share in enumerate(prior.tolist()):
        more = prior_outcomes * share * (lately.ratio if goes_on else 1.0)
        risk = float(at_risk[column]) + risk_of_prior
        coming = float(events[column]) + more
        # Nobody may be left at risk: where all that is known came before.
        hazard = 0.0 if coming == 0.0 else 1.0 if coming >= risk else coming / risk
        chances.append(remaining * hazard)
        remaining -= chances[-1]
        risk_of_prior -= more
        lately.see(share, float(events[column]), float(at_risk[column]), float(lived[column]))
    total = 0.0
    for chance in chances:
        total += chance
    return DelayEstimate(np.array(chances) / total, total)


class _Lately:
    """How many outcomes the last columns had for each that the prior expected."""

    def __init__(self, rate: float, decided: float) -> None:
        self._rate, self._decided = rate, max(decided, 1.0)
        self._known = self._came = self._thought = 0.0

    @property
    def ratio(self) -> float:
        return (_AS_THOUGHT + self._came) / (_AS_THOUGHT + self._thought)

    def see(self, share: float, came: float, at_risk: float, lived: float) -> None:
        """Take in a column: the prior's share, how many came of how many at risk, and how many have lived through."""
        # What nobody has lived through says nothing, so it takes nothing away from what is known of those before.
        fading = 1.0 - (1.0 - _LATELY) * min(lived / self._decided, 1.0)
        left = 1.0 - self._rate * self._known
        thought = self._rate * share / left * at_risk if left > 0.0 else 0.0
        self._came = self._came * fading + came
        self._thought = self._thought * fading + thought
        self._known += share


def weights(increments: Floats, exposed: Integers) -> Floats:
    """Return the mean of F over each group's ages, in steps of 2^-30: (m,), in [0, 1].

    F rises evenly within a column, so its mean is each column's share times how much of that has been lived through.
    """
    mean = np.zeros(len(exposed))
    for column, share in enumerate(increments.tolist()):
        mean += share * (exposed[:, column] / 2.0**_EXPOSURE_BITS)
    grid: NDArray[np.float64] = np.rint(np.clip(mean, 0.0, 1.0) * 2.0**_WEIGHT_BITS)
    return grid / 2.0**_WEIGHT_BITS
