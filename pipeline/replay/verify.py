"""Prove a published snapshot: fold its ledger prefix afresh and compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson

from pipeline.codec import avro
from pipeline.learn.ledger import ledger_record
from pipeline.policy.parse import parse_policy
from pipeline.publish.snapshot import snapshot_id
from pipeline.replay.compare import Difference, first_difference
from pipeline.replay.fold import LedgerFold
from pipeline.replay.read import read_up_to
from pipeline.stream.topics import REWARDS


class Verdict(NamedTuple):
    """What verifying a snapshot found."""

    policy: str
    version: int
    id: str
    posterior_sha256: str
    ledger_records: int
    """Records that were folded."""
    difference: Difference | None
    """None: equal."""


async def verify_snapshot(
    broker: str, content: bytes, *, on_progress: Callable[[int, int], None] = lambda _done, _total: None
) -> Verdict:
    """Recompute one snapshot from the ledger.

    Args:
        broker: bootstrap servers.
        content: the snapshot record's bytes.
        on_progress: told how many of how many ledger records are folded.
    """
    snapshot = avro.decode_as("snapshot", content)
    definition = parse_policy(orjson.loads(snapshot["definition"]), f"snapshot {snapshot['version']}")
    ends = _ends(snapshot)
    fold = LedgerFold(snapshot["policy"], snapshot["generation"])
    done, total = 0, sum(ends.values())
    async for partition, records in read_up_to(broker, REWARDS, ends):
        fold.add(
            partition, [ledger_record(record.offset, avro.decode_as("reward", record.value)) for record in records]
        )
        done += len(records)
        on_progress(done, total)
    difference = first_difference(snapshot, definition, fold.rows())
    return Verdict(
        snapshot["policy"],
        snapshot["version"],
        snapshot_id(content),
        snapshot["posterior_sha256"],
        done,
        difference,
    )


def _ends(snapshot: Mapping[str, Any]) -> dict[int, int]:
    return {entry["partition"]: entry["offset"] for entry in snapshot["ledger_offsets"]}
