"""The ledger's records, each with all of its action's outcomes, by the words of `schemas/reward.avsc` alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

Fields = dict[str, Any]


def pieced_together(records: Iterable[Fields]) -> Iterator[Fields]:
    """Yield the records of a partition, in order and from its first; each increment behind what it goes on from."""
    so_far: dict[str, list[Fields]] = {}
    decisions: dict[str, bytes] = {}
    for record in records:
        action_id = record["action_id"]
        if record["is_erased"]:
            yield record
            continue
        if record["outcomes_before"] == -1:
            so_far[action_id], decisions[action_id] = [], record["decision"]
        else:
            # An increment leaves its decision out, and goes on from outcomes that were told.
            assert record["decision"] == b"", record
            assert len(so_far[action_id]) >= record["outcomes_before"], record
            del so_far[action_id][record["outcomes_before"] :]
        so_far[action_id] += record["outcomes"]
        yield record | {"outcomes": list(so_far[action_id]), "decision": decisions[action_id]}
