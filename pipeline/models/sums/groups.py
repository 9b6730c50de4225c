"""Decisions of one arm parted into groups at random, of which the members of an ensemble take halves.

A decision is in one of 16 groups, by a hash of its action_id: the same wherever and whenever it is counted. Beside an
arm's sums stand those of each group, laid out as in `statistics.py`: exact integers that are added and taken back as
sums are. A member of the ensemble counts the decisions of half the groups twice and the others not at all (the
"double or nothing" bootstrap, Owen & Eckles 2012; Eckles & Kaptein 2014 sample Thompson's choices so), which costs no
row of its own: members are made when a posterior is.

Which halves: the rows of a Hadamard matrix, and their opposites (balanced half-samples, McCarthy 1969). Over all 30
members each group counts once on average, and any two meet as often as any others, so the spread of a sum over members
is that of the groups themselves, without the noise of having drawn few.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b

import numpy as np

from pipeline.models.model import Floats, Sums
from pipeline.models.sums.refined import RefinedSums
from pipeline.models.sums.statistics import Statistics
from pipeline.models.sums.weighted import ArmPrior, Countable, Maturing, weigh_maturing

GROUPS = 16
MEMBERS = 2 * (GROUPS - 1)
GROUP_ROW = "group:"
"""Before the number of a group, in the name of a row."""


def group_for(action_id: str) -> int:
    """Return the group of a decision.

    >>> [group_for(f"x{number}") for number in range(8)]
    [7, 7, 9, 10, 3, 14, 2, 1]
    """
    return blake2b(action_id.encode(), digest_size=1).digest()[0] % GROUPS


def group_name(group: int) -> str:
    """Name the row of a group.

    >>> group_name(7)
    'group:7'
    """
    return f"{GROUP_ROW}{group}"


@cache
def halves() -> Floats:
    """Return how often each member counts each group, 0 or 2: (members, groups), read-only."""
    signs = np.ones((1, 1))
    while len(signs) < GROUPS:  # Sylvester's
        signs = np.block([[signs, signs], [signs, -signs]])
    # The first row takes all groups or none: no half.
    taken = 1.0 + np.concatenate((signs[1:], -signs[1:]))
    taken.setflags(write=False)
    return taken


@dataclass(frozen=True, eq=False)
class GroupSums(RefinedSums):
    """One arm's sums, and the same decisions by group."""

    groups: Sequence[Countable]
    """Those of each group."""
    before: Countable
    """What is known beforehand: each member counts it once."""

    def is_same(self, other: Sums) -> bool:
        """Whether each group's sums are the same, and what is known beforehand."""
        return isinstance(other, GroupSums) and all(
            np.array_equal(ours.sums, theirs.sums)
            for ours, theirs in zip((*self.groups, self.before), (*other.groups, other.before), strict=True)
        )


def weigh_groups(
    rows: Iterable[tuple[float, float, str, Statistics]],
    sums: Sums,
    dimension: int,
    reward_exponent: int,
    prior: ArmPrior | None = None,
) -> GroupSums:
    """Sum rows by group, in the order given.

    Args:
        rows: (weight, maturity, name, sums) of one arm's groups; n and A count by both, b and Σr by the weight alone.
        sums: of the same decisions.
        dimension: of the contexts, d.
        reward_exponent: of the grid.
        prior: what is known of the arm beforehand.
    """
    parts: defaultdict[str, list[Maturing]] = defaultdict(list)
    for weight, maturity, name, row in rows:
        parts[name].append(Maturing(weight, maturity, 0, row))
    groups = [weigh_maturing(parts[group_name(group)], dimension, reward_exponent) for group in range(GROUPS)]
    return GroupSums(sums, groups, weigh_maturing((), dimension, reward_exponent, prior))
