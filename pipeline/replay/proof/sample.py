"""A quick look at single ledger records: is what each counts for, reward and tallies, what its outcomes come to? Pure.

What is not looked at: whether the outcomes are all there are, and whether any sum is the sum of the records.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.codec.revisions import is_increment
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.reward import Credit
from pipeline.policy.samples import WATCH
from pipeline.policy.tallies import tallies_of
from pipeline.replay.proof.compare import Difference
from pipeline.replay.recounting.decision_shown import shown_by


def spread(ends: Mapping[int, int], count: int) -> list[tuple[int, int]]:
    """Return up to `count` places (partition, offset), evenly over all offsets below the ends.

    >>> spread({0: 6, 1: 2}, 4)
    [(0, 1), (0, 3), (0, 5), (1, 1)]
    """
    total = sum(ends.values())
    count = min(count, total)
    # The middle of each of `count` equal stretches.
    numbers = [(2 * index + 1) * total // (2 * count) for index in range(count)]
    places, before = [], 0
    for partition, end in sorted(ends.items()):
        places += [(partition, number - before) for number in numbers if before <= number < before + end]
        before += end
    return places


def can_be_judged(fields: Mapping[str, Any], definition: PolicyDefinition | None) -> bool:
    """Return whether a `reward` record follows from its outcomes by this definition.

    An erased one has none, and an increment leaves some out: the record that settles its action tells them all.
    """
    if fields["is_erased"] or is_increment(fields):
        return False
    return definition is not None and definition.statistics_hash == fields["attribution"]


def record_fault(fields: Mapping[str, Any], definition: PolicyDefinition) -> Difference | None:
    """Return the first thing in which a `reward` record is not what the definition makes of its outcomes."""
    return next(_faults(fields, definition), None)


def _faults(fields: Mapping[str, Any], definition: PolicyDefinition) -> Iterator[Difference]:
    credits = [Credit(**outcome) for outcome in fields["outcomes"]]  # noqa: A001  the glossary's word
    for credit in credits:
        if definition.reward.refusal(credit.kind, credit.value) is not None:
            yield Difference(f"outcome {credit.outcome_id}: kind", credit.kind, "one that the policy credits")
            return
        late_ms = credit.occurred_at_ms - fields["decided_at_ms"]
        window_ms = definition.reward.window_ms_for(credit.kind)
        if not 0 <= late_ms <= window_ms:
            yield Difference(f"outcome {credit.outcome_id}: ms after its decision", str(late_ms), f"0 to {window_ms}")
    known = sorted(definition.arm_names)
    expected = {
        "reward": definition.reward.combine(credits),
        "reward_exponent": definition.reward_exponent,
        "bucket": fields["decided_at_ms"] // definition.bucket_ms,
        "revision": 1 + len(credits) + fields["is_settled"],
        "tallies": [
            tally._asdict()
            for tally in tallies_of(definition, credits, shown_by(definition, fields), is_settled=fields["is_settled"])
            if not tally.row.startswith(WATCH)
        ],
        "arm": fields["arm"] if definition.dimension_of(fields["arm"]) is not None else f"one of {known}",
    }
    # Which decisions are sampled may change within a generation: no posterior is a function of it.
    seen = {**fields, "tallies": [tally for tally in fields["tallies"] if not tally["row"].startswith(WATCH)]}
    yield from (
        Difference(name, str(seen[name]), str(value)) for name, value in expected.items() if seen[name] != value
    )
