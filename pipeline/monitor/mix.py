"""Which arms were shown: coverage and entropy. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple

from pipeline.monitor.totals import Totals

COVERED = 0.01
"""An arm that is shown less often than this is not tried: nothing that changes of it would be seen soon."""


class Mix(NamedTuple):
    """What was shown among some decisions."""

    coverage: float
    """Share of the arms on offer that had at least `COVERED` of them."""
    entropy: float
    """Of the shares, over that of a uniform draw: 1 all alike, 0 one arm alone; 1 with a single arm."""


def mix_of(shown: Totals, arms: Collection[str]) -> Mix | None:
    """Return the mix among arms on offer; None where none of them was shown.

    >>> told = Totals({("new", "a"): 75, ("old", "a"): 0, ("new", "b"): 25, ("new", "c"): 0}, {})
    >>> mix = mix_of(told, ["a", "b", "c"])  # H(3/4, 1/4) = 0.562 of ln 3 = 1.099
    >>> round(mix.coverage, 3), round(mix.entropy, 3)
    (0.667, 0.512)
    """
    by_arm = dict.fromkeys(arms, 0)
    for (_, arm), n in shown.counts.items():
        if arm in by_arm:
            by_arm[arm] += max(0, n)
    total = sum(by_arm.values())
    if not total:
        return None
    shares = [n / total for n in by_arm.values()]
    entropy = (
        -sum(share * math.log(share) for share in shares if share) / math.log(len(shares)) if len(shares) > 1 else 1.0
    )
    return Mix(sum(share >= COVERED for share in shares) / len(shares), entropy)
