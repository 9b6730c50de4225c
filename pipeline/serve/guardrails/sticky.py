"""The arm that a person is given: the same for all who ask, by nobody's memory. Pure.

Each arm a has a number u_a of the person and the epoch, as `assignment.py` makes it, and the arm of the smallest

    -ln(1 - u_a) / p_a

is shown. These are exponential times of rates p_a, and the first of them is a with probability p_a / Σp (weighted
rendezvous hashing: Schindelhauer & Schomaker 2005; Efraimidis & Spirakis 2006). So over people the shares of arms are
the vector's, which makes p_a the propensity; and where an arm can't be shown, only those move whose arm it was, each to
the next of its own order, and back when it can.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, log1p
from typing import NamedTuple

from pipeline.serve.guardrails.assignment import position

STICKY = "sticky"
"""Told among the guardrails of a decision that was a person's own."""


class Ranking(NamedTuple):
    """A person's order of arms in one epoch of a policy."""

    subject_hash: str
    policy: str
    epoch: str
    salt: str

    def first(self, arms: Sequence[str], propensities: Sequence[float]) -> int:
        """Return the place of the arm that is shown; one without a propensity never is. One hash an arm.

        >>> ada = Ranking("ada", "homepage", "2810", "")
        >>> ada.first(["a", "b", "c"], [0.2, 0.3, 0.5]) == ada.first(["a", "b", "c"], [0.2, 0.3, 0.5])
        True
        >>> ada.first(["a", "b"], [0.0, 1.0])
        1
        """
        purpose = f"sticky {self.epoch}"
        best, least = 0, inf
        for place, (arm, propensity) in enumerate(zip(arms, propensities, strict=True)):
            if propensity <= 0.0:
                continue
            time = -log1p(-position(f"{self.subject_hash}\0{arm}", purpose, self.policy, self.salt)) / propensity
            if time < least:
                best, least = place, time
        return best


def restricted(arms: Sequence[str], propensities: Sequence[float], among: Sequence[str]) -> list[float]:
    """Return the vector over some of the arms, in their order: what is left, to a sum of 1; uniform if nothing is.

    >>> restricted(["a", "b", "c"], [0.5, 0.25, 0.25], ["a", "c"])
    [0.6666666666666666, 0.3333333333333333]
    """
    known = dict(zip(arms, propensities, strict=True))
    kept = [known[arm] for arm in among]
    total = sum(kept)
    return [one / total for one in kept] if total > 0.0 else [1.0 / len(kept)] * len(kept)
