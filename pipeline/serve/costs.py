"""What a request costs a node, in decisions among few arms. Pure.

One is about 40 µs of a core. Measured: 500 arms take about ten of them, with the vectors of probabilities in record
and answer; a candidate, which is encoded on its own, as much as six arms.
"""

from __future__ import annotations

ARMS = 50
CANDIDATES = 8
OUTCOMES = 4
"""Outcomes that cost as much as one decision."""


def decision_cost(arms: int, candidates: int) -> int:
    """Return what one decision costs.

    >>> decision_cost(20, 0), decision_cost(1_000, 0), decision_cost(0, 500)
    (1, 21, 63)
    """
    return 1 + arms // ARMS + candidates // CANDIDATES


def outcomes_cost(outcomes: int) -> int:
    """Return what it costs to take outcomes.

    >>> outcomes_cost(1), outcomes_cost(500)
    (1, 125)
    """
    return max(1, -(-outcomes // OUTCOMES))
