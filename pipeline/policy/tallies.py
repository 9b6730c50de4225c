"""What a decision counts for beside its sums: whole numbers for named rows, as a ledger record carries them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pipeline.models.contexts import COLUMNS as CONTEXT_COLUMNS
from pipeline.models.delays import COLUMNS, column_for
from pipeline.models.tally import Tally
from pipeline.policy.contexts import name_contexts
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.reward import Credit

DELAY_ROW = "delay:"
"""Before an outcome kind: of how many decisions its first outcome came how late."""
SETTLED_ROW = "settled"
"""Of one column: how many decisions have settled."""
_SETTLED = Tally(SETTLED_ROW, 1, 0, 1)


def has_tallies(definition: PolicyDefinition) -> bool:
    """Whether decisions count for more than the sums."""
    return definition.attribution.settle == "delay_corrected" or definition.context_bits is not None


def context_tallies(definition: PolicyDefinition, vector: bytes, reward: int) -> list[Tally]:
    """Return what the decision counts for in its context: itself, and its reward in grid units."""
    if definition.context_bits is None:
        return []
    (row,) = name_contexts(np.frombuffer(vector, "<i2")[None], definition.context_bits)
    one = Tally(row, CONTEXT_COLUMNS, 0, 1)
    return [one, Tally(row, CONTEXT_COLUMNS, 1, reward)] if reward else [one]


def delay_tallies(
    definition: PolicyDefinition, credited: Iterable[Credit], decided_at_ms: int, *, is_settled: bool
) -> list[Tally]:
    """Return what the decision counts for: how late the first outcome of each kind came, and if it has settled."""
    if definition.attribution.settle != "delay_corrected":
        return []
    first_ms: dict[str, int] = {}
    for credit in credited:
        first_ms[credit.kind] = min(first_ms.get(credit.kind, credit.occurred_at_ms), credit.occurred_at_ms)
    delays = [
        Tally(DELAY_ROW + kind, COLUMNS, column_for(at_ms - decided_at_ms, definition.reward.window_ms_for(kind)), 1)
        for kind, at_ms in sorted(first_ms.items())
    ]
    return [*delays, _SETTLED] if is_settled else delays


def tallies_of(
    definition: PolicyDefinition,
    credited: Iterable[Credit],
    decided_at_ms: int,
    vector: bytes,
    reward: int,
    *,
    is_settled: bool,
) -> list[Tally]:
    """Return all that the decision counts for beside its sums."""
    delays = delay_tallies(definition, credited, decided_at_ms, is_settled=is_settled)
    return [*delays, *context_tallies(definition, vector, reward)]
