"""What a decision counts for beside its sums: whole numbers for the columns of named rows.

Such a row is added up, taken back and told apart by bucket as sums are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline.models.sums.statistics import Statistics


class Tally(NamedTuple):
    """What is added to one column of a row; see `schemas/reward.avsc`."""

    row: str
    """Names the row."""
    width: int
    """How many columns it has; 0: of a row of sums, to which the decision's own are added."""
    column: int
    amount: int


def tallies_from(fields: Iterable[Mapping[str, Any]]) -> tuple[Tally, ...]:
    """Take tallies from a decoded record."""
    return tuple(Tally(one["row"], one["width"], one["column"], one["amount"]) for one in fields)


def change(before: Sequence[Tally], after: Sequence[Tally]) -> tuple[Tally, ...]:
    """Return what leads from one to the other.

    >>> click = Tally("delay:click", 44, 3, 1)
    >>> change((click,), (click,)), change((), (click,)), change((click,), ())[0].amount
    ((), (Tally(row='delay:click', width=44, column=3, amount=1),), -1)
    """
    if before == after:
        return ()
    return (*(one._replace(amount=-one.amount) for one in before), *after)


def rows_beside(tallies: Iterable[Tally]) -> list[str]:
    """Return the names of the rows that a decision's sums are added to, beside their own."""
    return [tally.row for tally in tallies if not tally.width]


def row_of(tallies: Iterable[Tally], columns: int) -> Statistics:
    """Add up tallies of one row."""
    sums = np.zeros(columns, np.int64)
    for tally in tallies:
        sums[tally.column] += tally.amount
    return Statistics(-columns, sums)
