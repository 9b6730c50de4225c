"""A policy's ledger, its decisions and a snapshot on a broker, told without a worker: for the tools that read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from pipeline.codec import avro
from pipeline.learn.ledger import ledger_record
from pipeline.policy.canonical import to_canonical_json
from pipeline.policy.definition import PolicyDefinition
from pipeline.publish.snapshot import build_snapshot
from pipeline.stream.log.outbox import Outbox, Record
from pipeline.stream.log.topics import DECISIONS, POLICIES, REWARDS, SNAPSHOT_HISTORY, SNAPSHOTS
from tests.ledger_fold import LedgerFold


def settled(policy: PolicyDefinition, decision: dict[str, Any], reward: float) -> dict[str, Any]:
    """Give the ledger's record of a decision whose window has closed; it names nobody."""
    return {
        "action_id": decision["action_id"],
        "revision": 2,
        "is_settled": True,
        "policy": policy.name,
        "generation": policy.generation,
        "segment": decision["segment"],
        "arm": decision["arm"],
        "reward": round(reward * 2**policy.reward_exponent),
        "reward_exponent": policy.reward_exponent,
        "context_vector": b"",
        "decided_at_ms": decision["decided_at_ms"],
        "bucket": decision["decided_at_ms"] // policy.bucket_ms,
        "expires_at_ms": 2**50,
        "event_time_ms": decision["decided_at_ms"],
        "attribution": policy.statistics_hash,
        "outcomes": [],
        "decision": orjson.dumps(decision | {"subject_hash": None}),
        "is_erased": False,
        "is_reward_final": False,
    }


async def tell(broker: str, policy: PolicyDefinition, rows: Sequence[tuple[dict[str, Any], float]]) -> None:
    """Write decisions with their rewards, the snapshot that is made of them, and the policy."""
    records = [settled(policy, decision, reward) for decision, reward in rows]
    fold = LedgerFold(policy.name, policy.generation)
    fold.add(0, [ledger_record(offset, fields) for offset, fields in enumerate(records)])
    content = build_snapshot(policy, fold.rows(), fold.marks(), version=1, parent="")
    stored = {
        "name": policy.name,
        "generation": policy.generation,
        "definition": to_canonical_json(policy).decode(),
    }
    key = policy.name.encode()
    outbox = Outbox(broker)
    await outbox.start()
    try:
        await outbox.deliver(Record(REWARDS, 0, b"x", avro.encode("reward", fields)) for fields in records)
        await outbox.deliver(Record(DECISIONS, 0, b"x", orjson.dumps(decision)) for decision, _ in rows)
        await outbox.deliver(Record(topic, 0, key, content) for topic in (SNAPSHOTS, SNAPSHOT_HISTORY))
        await outbox.deliver([Record(POLICIES, 0, key + b"/1", avro.encode("policy", stored))])
    finally:
        await outbox.stop()
