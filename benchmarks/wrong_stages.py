"""Faults that the stages and `pipeline verify` may have in common: each changes code that both run.

So `verify`, which folds with it, sees nothing; `verify --independent` must. Of each it is said what it is let into:
the fold of the ledger, or how sums are merged and weighed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Protocol
from unittest import mock

import numpy as np

from pipeline.learn import ledger
from pipeline.learn.ledger import LedgerRecord
from pipeline.models.sums import spans
from pipeline.models.sums.forgetting import Forgetting
from pipeline.models.sums.weighted import ArmPrior
from pipeline.publish import aged_rows
from pipeline.publish import snapshot as publishing
from pipeline.publish.aged_rows import AgedRows
from pipeline.replay.proof import compare, prefixes

Records = Sequence[LedgerRecord]


class Patch(Protocol):
    """What puts one thing in the place of another; pytest's does too."""

    def setattr(self, target: Any, name: str, value: Any, /) -> None:
        """Put `value` where `target` has what is named so."""


Fault = Callable[[Patch], None]


class Patches(ExitStack):
    """Things in the place of others, until it is left."""

    def setattr(self, target: Any, name: str, value: Any, /) -> None:
        """Put `value` where `target` has what is named so."""
        self.enter_context(mock.patch.object(target, name, value))


def seen_as(change: Callable[[Records], Iterator[LedgerRecord]]) -> Fault:
    """Let the fold see other records than are there."""

    def apply(patch: Patch) -> None:
        fold = prefixes.fold_ledger
        patch.setattr(prefixes, "fold_ledger", lambda records, *rest: fold(list(change(records)), *rest))

    return apply


def changed_as(change: Callable[[ledger.Change], ledger.Change]) -> Fault:
    """Let a record change something else."""

    def apply(patch: Patch) -> None:
        right = ledger.change_of
        patch.setattr(ledger, "change_of", lambda *of: change(right(*of)))

    return apply


def squares_never_counted(patch: Patch) -> None:
    """Leave Σr² at 0."""
    right = ledger.sum_changes
    patch.setattr(ledger, "sum_changes", lambda columns, *of: right(columns * np.array([[1], [1], [1], [0]]), *of))


def half_life_halved(patch: Patch) -> None:
    """Weigh as if twice the time had passed."""
    right = Forgetting.weight_for
    patch.setattr(
        Forgetting, "weight_for", lambda self, age_ms: right(self, 2 * age_ms if self.half_life_ms else age_ms)
    )


def window_off_by(bucket_ms: int) -> Fault:
    """Let the window end a bucket later."""

    def apply(patch: Patch) -> None:
        right = Forgetting.weight_for
        patch.setattr(Forgetting, "weight_for", lambda self, age_ms: right(self, max(0, age_ms - bucket_ms)))

    return apply


def prior_worth_twice(patch: Patch) -> None:
    """Count what is declared of an arm twice."""
    right = ArmPrior.sums
    patch.setattr(ArmPrior, "sums", lambda self, *of: 2.0 * right(self, *of))


def exposures_a_bucket_short(patch: Patch) -> None:
    """Leave out the newest bucket."""
    right = publishing.count_exposures

    def short(definition: Any, aged: AgedRows, until_ms: int) -> Any:
        return right(definition, [row for row in aged.rows() if row[0].bucket < aged.newest], until_ms)

    patch.setattr(publishing, "count_exposures", short)
    patch.setattr(compare, "count_exposures", short)


def spans_too_wide(patch: Patch) -> None:
    """Count old buckets together too soon."""
    patch.setattr(spans, "FINEST", 8)


def spans_by_their_last_bucket(patch: Patch) -> None:
    """Take a span for as young as its youngest bucket."""

    def span_for(bucket: int, newest: int) -> spans.Place:
        place = spans.span_for(bucket, newest)
        return spans.Place(place.last, place.last)

    patch.setattr(aged_rows, "span_for", span_for)


def what_joins_is_lost(patch: Patch) -> None:
    """Forget what old buckets hold when they are counted together."""

    def forgets(self: AgedRows) -> None:
        for bucket, span in self._spans.items():
            if self.newest - bucket > 32:
                span.rows.clear()

    patch.setattr(AgedRows, "_join", forgets)
    patch.setattr(aged_rows, "AT_ONCE", 1)


def without_tallies(start: str) -> Fault:
    """Pass over what is counted beside the sums under names that begin so."""
    return seen_as(
        lambda records: (
            one._replace(tallies=tuple(tally for tally in one.tallies if not tally.row.startswith(start)))
            for one in records
        )
    )


corrections_dropped = changed_as(lambda of: of if of[1] else (of[0], 0, of[3], of[3], ()))
revisions_counted_twice = changed_as(lambda of: of if of[1] or of[0] is None else (of[0], 1, 0, of[3], ()))
lower_revision_counts = seen_as(lambda records: (one._replace(revision=100 - one.revision) for one in records))
negative_rewards_clipped = seen_as(lambda records: (one._replace(reward=max(0, one.reward)) for one in records))
rewards_halved = seen_as(lambda records: (one._replace(reward=one.reward // 2) for one in records))
analysis_group_learned_from = seen_as(lambda records: (one._replace(is_analysis=False) for one in records))
erasures_ignored = seen_as(lambda records: (one for one in records if not one.is_erased))
without_reward_passed_over = seen_as(lambda records: (one for one in records if one.reward))
last_of_a_batch_passed_over = seen_as(lambda records: iter(records[:-1]))


def all_in_one_segment(name: str) -> Fault:
    """Count every decision in one segment."""
    return seen_as(lambda records: (one._replace(key=one.key._replace(segment=name)) for one in records))


bucket_off_by_one = seen_as(
    lambda records: (one._replace(key=one.key._replace(bucket=one.key.bucket - 1)) for one in records)
)
