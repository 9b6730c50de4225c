"""Count one partition's past again, with the very steps of JOIN and LEARN. Pure: rows are handed in.

Which records a step takes and when event time passes follows from offsets and contents alone, never from how they
were fetched: that is what makes a replay repeatable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from typing import Protocol

from pipeline.codec.readable import PassOver, refuse
from pipeline.join.forwarding import Place
from pipeline.replay.recounting.event_recount import EventRecount
from pipeline.replay.recounting.ledger_recount import LedgerRecount
from pipeline.replay.recounting.plan import ReplayPlan
from pipeline.replay.recounting.rows import Raw, ReplayRows, StillOpen


class Recount(Protocol):
    """A partition's past, counted up to somewhere."""

    finished: int
    """Cuts that it has come to, the first one not counted."""
    rows: ReplayRows
    """Where everything is kept."""

    @property
    def loaded(self) -> Counter[str]:
        """What became of the records of history."""

    @property
    def positions(self) -> Mapping[str, int]:
        """Next offset to read, by topic."""

    def next_topic(self, end: Mapping[str, int]) -> str | None:
        """Return the topic to read next; None when all are read up to `end`."""

    def take(
        self, topic: str, records: Sequence[Raw], reached: int | None, unstamped: Container[int] = frozenset()
    ) -> None:
        """Count the records of a step; with `reached`, there are no others below that offset.

        Args:
            topic: that they are of.
            records: in offset order.
            reached: None where there may be others.
            unstamped: offsets of those whose timestamps are their producers' own.
        """

    def let_time_pass(self, end: Mapping[str, int]) -> None:
        """Settle and let go what has fallen due."""

    def finish(self) -> None:
        """Note that a cut has been come to."""

    def event_time_ms(self) -> int:
        """Return the event time come to."""

    def still_open(self) -> StillOpen:
        """Tell what may still change."""


def open_recount(
    plan: ReplayPlan,
    rows: ReplayRows,
    start: Mapping[str, int],
    number: int,
    *,
    place: Place | None = None,
    pass_over: PassOver = refuse,
) -> Recount:
    """Return a partition's recount as its rows say, or one that begins at `start`.

    Args:
        plan: what is counted, by which rules.
        rows: how far it is.
        start: where it begins.
        number: of the partition.
        place: says from where on records of other partitions' actions were sent on; None: none were.
        pass_over: told of ledger records that are none.
    """
    if plan.source == "events":
        return EventRecount(plan, rows, start, place)
    return LedgerRecount(plan, rows, start, number, pass_over)
