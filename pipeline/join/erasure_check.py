"""Whether what an erasure says was counted can have been: it is subtracted as it stands. Pure.

An action that LEARN remembers is taken back from memory. Of one that has expired there is only the erasure's word, so
every number in it is held against the definition that the action counted under.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ldexp

from pipeline.errors import InvalidRecordError
from pipeline.events import Contribution, Erasure
from pipeline.join.admission import VECTOR_ITEM_BYTES, known_definition
from pipeline.join.row import ActionRow
from pipeline.policy.book import PolicyBook
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.tallies import Shown, widths_of

MAX_AMOUNT = 1 << 31
"""Above what one decision adds to a column: a product of two numbers of at most 2^15, or 2^30 for 1 / propensity."""

_Mismatch = tuple[str, object, object]
"""What, seen, expected."""


def check_contribution(erasure: Erasure, counted: Contribution, row: ActionRow | None, book: PolicyBook) -> None:
    """Refuse an erasure of what no decision can have counted for.

    Raises:
        InvalidRecordError: unknown-policy, unknown-generation, unknown-arm, erasure-mismatch.
    """
    definition = known_definition(erasure.policy, erasure.generation, book)
    dimension = definition.dimension_of(erasure.arm)
    if dimension is None:
        raise InvalidRecordError(
            "unknown-arm", f"arm {erasure.arm!r} of the erasure is not one of policy {erasure.policy!r}"
        )
    mismatches = [*_of_decision(erasure, counted, dimension, definition), *_of_tallies(erasure, counted, definition)]
    if row is not None and row.has_decision:
        mismatches += _of_row(erasure, counted, row)
    if mismatches:
        what, seen, expected = mismatches[0]
        raise InvalidRecordError(
            "erasure-mismatch",
            f"{what} is {seen!r}, expected {expected!r} of a decision of {erasure.policy!r}/{erasure.generation}: "
            "erasures are written by `pipeline forget`, by what the ledger says",
        )


def _of_decision(
    erasure: Erasure, counted: Contribution, dimension: int, definition: PolicyDefinition
) -> Iterator[_Mismatch]:
    reward = definition.reward
    exact = (
        ("attribution", counted.attribution, definition.statistics_hash),
        ("reward_exponent", counted.reward_exponent, reward.exponent),
        ("length of context_vector", len(counted.context_vector), VECTOR_ITEM_BYTES * dimension),
        ("bucket", counted.bucket, erasure.decided_at_ms // definition.bucket_ms),
        ("expires_at_ms", counted.expires_at_ms, definition.expires_for(erasure.decided_at_ms)),
    )
    yield from ((what, seen, expected) for what, seen, expected in exact if seen != expected)
    low, high = (round(ldexp(bound, reward.exponent)) for bound in (reward.low, reward.high))
    if not low <= counted.reward <= high:
        yield "reward", counted.reward, f"{low} to {high}"


def _of_tallies(erasure: Erasure, counted: Contribution, definition: PolicyDefinition) -> Iterator[_Mismatch]:
    if not erasure.tallies:
        return
    # The propensity is not told, and no width depends on it.
    widths = widths_of(definition, Shown(erasure.decided_at_ms, counted.context_vector, 1.0, erasure.action_id))
    for tally in erasure.tallies:
        name, width, column, amount = (tally[field] for field in ("row", "width", "column", "amount"))
        if name not in widths:
            yield "row of a tally", name, sorted(widths)
        elif width != widths[name]:
            yield f"width of tally {name!r}", width, widths[name]
        elif not 0 <= column < max(1, width):
            yield f"column of tally {name!r}", column, f"0 to {max(1, width) - 1}"
        elif abs(amount) > MAX_AMOUNT:
            yield f"amount of tally {name!r}", amount, f"at most {MAX_AMOUNT}"


def _of_row(erasure: Erasure, counted: Contribution, row: ActionRow) -> Iterator[_Mismatch]:
    known = (
        ("segment", erasure.segment, row.segment),
        ("arm", erasure.arm, row.arm),
        ("decided_at_ms", erasure.decided_at_ms, row.decided_at_ms),
        ("context_vector", counted.context_vector, row.vector),
    )
    yield from ((what, seen, expected) for what, seen, expected in known if seen != expected)
