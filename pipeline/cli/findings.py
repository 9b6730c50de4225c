"""What `pipeline verify` found, for programs and for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pipeline.checkpoint.begin import Way
from pipeline.replay.proof.compare import Difference
from pipeline.replay.proof.lineage import Lineage
from pipeline.replay.proof.prefixes import Passed
from pipeline.replay.proof.verify import AtOffsets, Sampled, Verdict


class Found(NamedTuple):
    """All that was looked at."""

    lineages: Sequence[Lineage]
    verdicts: Sequence[Verdict] = ()
    at_offsets: Sequence[AtOffsets] = ()
    sampled: Sampled | None = None
    left_out: Sequence[str] = ()
    """What could not be looked at, in words."""
    way: Way | None = None
    """Where the ledger was begun at."""
    passed: Sequence[Passed] = ()
    """Checkpoints that were come by."""

    @property
    def first_fault(self) -> tuple[str, Difference] | None:
        """The first difference, and whose it is."""
        return next(self._faults(), None)

    def _faults(self) -> Iterator[tuple[str, Difference]]:
        for verdict in self.verdicts:
            if verdict.difference is not None:
                yield verdict.policy, verdict.difference
        for passed in self.passed:
            if not passed.is_equal:
                yield "", Difference(f"checkpoint {_place(passed)}", passed.head.state, "another state")
        if self.way is not None and self.way.fault:
            yield "", Difference("chain of checkpoints", self.way.fault, "each names one before it")
        if self.sampled is not None and self.sampled.fault is not None:
            yield "", self.sampled.fault
        for lineage in self.lineages:
            if lineage.fault is not None:
                yield lineage.policy, lineage.fault

    def to_plain(self) -> dict[str, Any]:
        """Give the JSON value."""
        fault = self.first_fault
        folded = [one.ledger_records for one in self.verdicts] + [one.ledger_records for one in self.at_offsets]
        return {
            "equal": fault is None,
            "policy": None if fault is None else fault[0] or None,
            "difference": None if fault is None else fault[1]._asdict(),
            "ledger_records": max(folded, default=0),
            "lineage": [
                {
                    "policy": lineage.policy,
                    "first_version": lineage.first,
                    "last_version": lineage.last,
                    "rollbacks": lineage.rollbacks,
                    "unproven_rollbacks": lineage.unproven_rollbacks,
                    "difference": _difference(lineage.fault),
                }
                for lineage in self.lineages
            ],
            "snapshots": [{**one._asdict(), "difference": _difference(one.difference)} for one in self.verdicts],
            "at_offsets": [one._asdict() for one in self.at_offsets],
            "left_out": list(self.left_out),
            "begun_at": [
                {"partition": head.partition, "offset": head.offset, "checkpoint": head.id}
                for head in (self.way.begins.values() if self.way else ())
            ],
            "checkpoints": [
                {"partition": head.partition, "offset": head.offset, "checkpoint": head.id, "equal": is_equal}
                for head, is_equal in self.passed
            ],
            "sampled": self.sampled and {**self.sampled._asdict(), "fault": _difference(self.sampled.fault)},
        }


def _place(passed: Passed) -> str:
    head = passed.head
    return f"{head.id[:12]} of ledger partition {head.partition} at offset {head.offset}"


def _difference(difference: Difference | None) -> dict[str, str] | None:
    return None if difference is None else difference._asdict()


def in_words(found: Found) -> Iterator[str]:
    """Yield the lines that a person reads."""
    for verdict in found.verdicts:
        name = f"{verdict.policy} version {verdict.version} ({verdict.id[:12]})"
        if verdict.difference is None:
            replayed = f" and a replay of {verdict.base_offsets}" if verdict.base_offsets else ""
            folded = f"{verdict.ledger_records} ledger records{replayed}"
            yield f"equal: {name} is the fold of {folded}, {verdict.posterior_sha256}"
        else:
            yield f"different: {name} is not the fold of its {verdict.ledger_records} ledger records"
            yield from _difference_in_words(verdict.difference)
            yield "  Either the ledger was altered or the snapshot was: compare another version with --version"
    for at in found.at_offsets:
        counted = f"{at.rewards_counted:,} rewards counted from {at.ledger_records:,} ledger records"
        yield f"{at.policy} generation {at.generation}: {counted}, {at.posterior_sha256}"
    if found.at_offsets and not found.verdicts:
        yield "no snapshot that is held is of these offsets: there is nothing to compare with"
    yield from _way_in_words(found)
    for words in found.left_out:
        yield f"not looked at: {words}"
    if found.sampled is not None:
        yield from _sampled_in_words(found.sampled)
    for lineage in found.lineages:
        yield from _lineage_in_words(lineage)


def _way_in_words(found: Found) -> Iterator[str]:
    way = found.way
    if way is None or not way.heads:
        return
    begun = ", ".join(f"{one.partition} at {one.offset} ({one.id[:12]})" for one in way.begins.values())
    yield f"begun: the ledger's partition {begun}" if begun else "begun: the ledger's start"
    for passed in found.passed:
        word = "equal" if passed.is_equal else "different"
        yield f"{word}: checkpoint {_place(passed)}"
    if way.fault:
        yield f"different: the chain of checkpoints. {way.fault}"


def _sampled_in_words(sampled: Sampled) -> Iterator[str]:
    word = "equal" if sampled.fault is None else "different"
    over = f", {sampled.passed_over} of rules no longer in force or erased passed over" if sampled.passed_over else ""
    yield f"{word}: a sample of {sampled.looked_at} ledger records against their own outcomes{over}; no sum was checked"
    if sampled.fault is not None:
        yield from _difference_in_words(sampled.fault)


def _lineage_in_words(lineage: Lineage) -> Iterator[str]:
    name = f"{lineage.policy} versions {lineage.first} to {lineage.last}"
    if lineage.fault is not None:
        yield f"different: the lineage of {name}"
        yield from _difference_in_words(lineage.fault)
        return
    again = f", {lineage.rollbacks} of them an older one's content" if lineage.rollbacks else ""
    aged = (
        f"; {lineage.unproven_rollbacks} of an older one that is held no longer" if lineage.unproven_rollbacks else ""
    )
    yield f"lineage: {name} follow each other without gap or reuse{again}{aged}"


def _difference_in_words(difference: Difference) -> Iterator[str]:
    yield f"  first difference: {difference.where}"
    yield f"    published:  {difference.published}"
    yield f"    recomputed: {difference.recomputed}"
