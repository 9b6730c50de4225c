"""What a decision counts for beside its sums: whole numbers for named rows, as a ledger record carries them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from pipeline.models.sums.contexts import COLUMNS as CONTEXT_COLUMNS
from pipeline.models.sums.delays import COLUMNS, column_for
from pipeline.models.sums.groups import group_for, group_name
from pipeline.models.sums.importance import columns_for as importance_columns_for
from pipeline.models.sums.importance import entries as importance_entries
from pipeline.models.sums.objectives import columns_for, entries
from pipeline.models.sums.tally import Tally
from pipeline.policy.contexts import name_contexts
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.reward import Credit
from pipeline.policy.samples import Came, Drawn, sample_tallies, sample_widths

DELAY_ROW = "delay:"
"""Before an outcome kind: of how many decisions its first outcome came how late."""
SETTLED_ROW = "settled"
"""Of one column: how many decisions have settled."""
OBJECTIVES_ROW = "objectives"
"""How much of each outcome kind came: see `models/sums/objectives.py`."""
IMPORTANCE_ROW = "importance"
"""Decisions by 1 / propensity: see `models/sums/importance.py`."""
VECTOR_ITEM_BYTES = 2
_SETTLED = Tally(SETTLED_ROW, 1, 0, 1)


class Shown(NamedTuple):
    """What of a decision its tallies go by."""

    decided_at_ms: int
    vector: bytes
    """Its encoded context."""
    propensity: float
    """Of the arm that was shown; anything where it isn't counted by."""
    action_id: str
    drawn: Drawn | None = None
    """How it was drawn, where it is sampled."""


def tallies_of(
    definition: PolicyDefinition, credited: Sequence[Credit], shown: Shown, *, is_settled: bool
) -> list[Tally]:
    """Return what the decision counts for.

    Where delays are corrected for: how late the first outcome of each kind came, and if it has settled. Where kinds are
    counted apart: how much of each came, in its context. Where contexts are: in which it was. Where decisions count by
    propensity: 1/p, and what came by it. Where they count by group: in which. Where they are sampled: what monitors
    look at.
    """
    decided_at_ms, vector, propensity, action_id, drawn = shown
    tallies = []
    if definition.attribution.settle == "delay_corrected":
        tallies += _delays(definition, credited, decided_at_ms)
        tallies += [_SETTLED] if is_settled else []
    if definition.reward.is_weighted and credited:
        x: list[int] = np.frombuffer(vector, "<i2").tolist()
        width = columns_for(len(definition.reward.outcomes), len(x))
        found = entries(definition.reward.amounts(credited), x)
        tallies += [Tally(OBJECTIVES_ROW, width, column, amount) for column, amount in found]
    if counts_contexts(definition):
        tallies += context_tallies(definition, vector, definition.reward.combine(credited))
    if definition.counts_propensities:
        tallies += importance_tallies(propensity, amounts_of(definition, credited))
    if definition.counts_groups:
        tallies += group_tallies(action_id)
    if drawn is not None:
        came = Came(action_id, decided_at_ms, vector, credited, definition.reward.combine(credited))
        tallies += sample_tallies(definition, drawn, came)
    return tallies


def widths_of(definition: PolicyDefinition, shown: Shown) -> dict[str, int]:
    """Return every row that such a decision may count in beside its sums, and how many columns each has."""
    widths: dict[str, int] = {}
    kinds = len(definition.reward.outcomes)
    if definition.attribution.settle == "delay_corrected":
        widths |= {DELAY_ROW + rule.kind: COLUMNS for rule in definition.reward.outcomes} | {SETTLED_ROW: 1}
    if definition.reward.is_weighted:
        widths[OBJECTIVES_ROW] = columns_for(kinds, len(shown.vector) // VECTOR_ITEM_BYTES)
    if counts_contexts(definition):
        widths |= {tally.row: tally.width for tally in context_tallies(definition, shown.vector, 0)}
    if definition.counts_propensities:
        widths[IMPORTANCE_ROW] = importance_columns_for(kinds if definition.reward.is_weighted else 1)
    if definition.counts_groups:
        widths |= {tally.row: tally.width for tally in group_tallies(shown.action_id)}
    # Whether it was sampled, the definition of its time said.
    return widths | sample_widths(definition)


def group_tallies(action_id: str) -> list[Tally]:
    """Return in which group the decision's sums count beside."""
    return [Tally(group_name(group_for(action_id)), 0, 0, 0)]


def amounts_of(definition: PolicyDefinition, credited: Sequence[Credit]) -> list[int]:
    """Return what came of a decision: its reward, or how much of each kind where they are counted apart."""
    rules = definition.reward
    return rules.amounts(credited) if rules.is_weighted else [rules.combine(credited)]


def importance_tallies(propensity: float, amounts: Sequence[int]) -> list[Tally]:
    """Return what the decision counts for by 1 / propensity, columns of 0 left out."""
    columns = importance_columns_for(len(amounts))
    found = enumerate(importance_entries(propensity, amounts))
    return [Tally(IMPORTANCE_ROW, columns, column, amount) for column, amount in found if amount]


def context_tallies(definition: PolicyDefinition, vector: bytes, reward: int) -> list[Tally]:
    """Return what the decision counts for in its context: itself, and its reward in grid units."""
    (row,) = name_contexts(np.frombuffer(vector, "<i2")[None], definition.context_bits or 0)
    one = Tally(row, CONTEXT_COLUMNS, 0, 1)
    return [one, Tally(row, CONTEXT_COLUMNS, 1, reward)] if reward else [one]


def counts_contexts(definition: PolicyDefinition) -> bool:
    """Whether decisions of this policy are told apart by context."""
    return definition.context_bits is not None


def _delays(definition: PolicyDefinition, credited: Iterable[Credit], decided_at_ms: int) -> list[Tally]:
    first_ms: dict[str, int] = {}
    for credit in credited:
        first_ms[credit.kind] = min(first_ms.get(credit.kind, credit.occurred_at_ms), credit.occurred_at_ms)
    return [
        Tally(DELAY_ROW + kind, COLUMNS, column_for(at_ms - decided_at_ms, definition.reward.window_ms_for(kind)), 1)
        for kind, at_ms in sorted(first_ms.items())
    ]
