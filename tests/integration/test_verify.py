"""`pipeline verify` recomputes a snapshot from the ledger, and turns red when one ledger record is another."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from pipeline.brokers import running_broker
from pipeline.codec import avro
from pipeline.learn.ledger import ledger_record
from pipeline.publish.snapshot import build_snapshot
from pipeline.replay.fold import LedgerFold
from pipeline.stream.outbox import Outbox, Record
from pipeline.stream.topics import REWARDS, SNAPSHOT_HISTORY, SNAPSHOTS
from tests.samples import define, plain_policy

POLICY = define(plain_policy())
GRID = 1 << POLICY.reward_exponent


def reward(action: int, units: int) -> dict[str, object]:
    """Make the ledger record of a settled decision for arm a or b, by turns."""
    return {
        "action_id": f"x{action}",
        "revision": 2,
        "is_settled": True,
        "policy": POLICY.name,
        "generation": POLICY.generation,
        "segment": "other",
        "arm": "ab"[action % 2],
        "reward": units,
        "reward_exponent": POLICY.reward_exponent,
        "context_vector": b"",
        "decided_at_ms": action,
        "bucket": 0,
        "expires_at_ms": 60_000,
        "event_time_ms": 10_000,
        "attribution": POLICY.statistics_hash,
        "outcomes": [],
        "decision": b"{}",
    }


LEDGER = [reward(action, GRID if action % 3 == 0 else 0) for action in range(30)]


def snapshot() -> bytes:
    """Publish what 30 records in partition 0 of the ledger make."""
    fold = LedgerFold(POLICY.name, POLICY.generation)
    fold.add(0, [ledger_record(offset, fields) for offset, fields in enumerate(LEDGER)])
    return build_snapshot(POLICY, fold.rows(), fold.marks(), version=1, parent="")


async def publish(broker: str, ledger: list[dict[str, object]]) -> None:
    outbox = Outbox(broker)
    await outbox.start()
    try:
        key = POLICY.name.encode()
        await outbox.deliver(Record(REWARDS, 0, b"x", avro.encode("reward", fields)) for fields in ledger)
        await outbox.deliver(Record(topic, 0, key, snapshot()) for topic in (SNAPSHOTS, SNAPSHOT_HISTORY))
    finally:
        await outbox.stop()


def verify(broker: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", "verify", "--broker", broker, "--policy", POLICY.name, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def broker(tmp_path: Path):
    with running_broker("embedded", cache_dir=tmp_path) as started:
        yield started.bootstrap_servers


async def test_a_snapshot_that_is_the_fold_of_its_ledger_is_equal(broker):
    await publish(broker, LEDGER)
    done = verify(broker)
    assert (done.returncode, done.stderr.strip()) == (0, "")
    assert done.stdout.startswith("equal: homepage version 1")
    fields = orjson.loads(verify(broker, "--version", "1", "--json").stdout)
    assert (fields["equal"], fields["ledger_records"], fields["difference"]) == (True, 30, None)


async def test_one_altered_ledger_record_is_named(broker):
    """Record 3 is for arm b, worth 1: altered to 0, arm b's sum is one less."""
    altered = [*LEDGER[:3], {**LEDGER[3], "reward": 0}, *LEDGER[4:]]
    await publish(broker, altered)
    done = verify(broker)
    assert done.returncode == 1
    assert "first difference: segment other, arm b: reward sum in grid units" in done.stdout
    fields = orjson.loads(verify(broker, "--json").stdout)
    # Of the actions 0, 3, … 27 that are worth 1, five are odd: 3, 9, 15, 21, 27.
    assert fields["difference"]["published"] == str(5 * GRID)
    assert fields["difference"]["recomputed"] == str(4 * GRID)


async def test_a_ledger_that_ends_too_early_is_said_to_be_incomplete(broker):
    await publish(broker, LEDGER[:-1])
    done = verify(broker)
    assert done.returncode == 70
    assert "ends at offset 29, 30 is needed" in done.stderr
