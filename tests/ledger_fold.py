"""Fold a prefix of the ledger afresh, in one process, with the very functions that LEARN uses. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.learn.ledger import LedgerRecord, fold_ledger, merge_deltas
from pipeline.learn.memory import Counted, FoldState, RowKey
from pipeline.models.sums.statistics import Statistics
from pipeline.publish.partials import Mark


class LedgerFold:
    """One policy generation's statistics from all partitions of the ledger."""

    def __init__(self, policy: str, generation: int) -> None:
        self._policy = policy
        self._generation = generation
        self._states: dict[int, FoldState] = {}
        self._counted: dict[int, dict[str, Counted]] = {}
        self._rows: dict[RowKey, Statistics] = {}

    def add(self, partition: int, records: Sequence[LedgerRecord]) -> None:
        """Fold records of one partition, in offset order over all calls.

        The records of other policies are folded past: they move the partition's watermark, which is shared.
        """
        state = self._states.setdefault(partition, FoldState())
        counted = self._counted.setdefault(partition, {})
        fold = fold_ledger(records, counted, state)
        counted.update(fold.counted)
        ours = ((key, delta) for key, delta in fold.deltas.items() if self._is_ours(key))
        merge_deltas(self._rows, ours)

    def rows(self) -> list[tuple[RowKey, Statistics]]:
        """Return the statistics, sorted by row key."""
        return sorted(self._rows.items())

    def marks(self) -> dict[int, Mark]:
        """Return how far each partition is folded."""
        return {number: Mark(state.position, state.watermark_ms) for number, state in self._states.items()}

    def _is_ours(self, key: RowKey) -> bool:
        return key.policy == self._policy and key.generation == self._generation
