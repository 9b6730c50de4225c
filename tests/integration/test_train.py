"""`pipeline train` on the ledger of a policy, from a broker."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.brokers import running_broker
from pipeline.codec import avro
from pipeline.policy.parsing.parse import load_policy
from pipeline.publish.snapshot import build_snapshot
from pipeline.stream.log.outbox import Outbox, Record
from pipeline.stream.log.topics import REWARDS, SNAPSHOT_HISTORY, SNAPSHOTS
from tests.samples import define, linear_policy, plain_decision
from tests.unit.train.test_train_network import corners

FEATURES = [{"name": name, "kind": "numeric", "low": -1.0, "high": 1.0} for name in "xy"]
POLICY = define(linear_policy(context=FEATURES))
N = 600


def ledger() -> list[dict[str, Any]]:
    """Reward arm a where the signs of x and y agree, and arm b where they don't."""
    examples = corners(N, seed=1)
    records = []
    for action, (vector, arm, reward) in enumerate(zip(*examples, strict=True)):
        context = {"x": float(vector[1]) / 4096, "y": float(vector[2]) / 4096}
        decision = plain_decision(f"x{action}", action, arm="ab"[arm], context=context)
        records.append(
            {
                "action_id": f"x{action}",
                "revision": 2,
                "is_settled": True,
                "policy": POLICY.name,
                "generation": POLICY.generation,
                "segment": "other",
                "arm": "ab"[arm],
                "reward": int(reward) << POLICY.reward_exponent,
                "reward_exponent": POLICY.reward_exponent,
                "context_vector": vector.tobytes(),
                "decided_at_ms": action,
                "bucket": 0,
                "expires_at_ms": 60_000,
                "event_time_ms": 10_000,
                "attribution": POLICY.statistics_hash,
                "outcomes": [],
                "decision": orjson.dumps(decision),
                "is_erased": False,
                "is_reward_final": False,
            }
        )
    return records


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[str]:
    with running_broker("embedded", cache_dir=tmp_path) as started:
        content = build_snapshot(POLICY, [], {}, version=1, parent="")
        outbox = Outbox(started.bootstrap_servers)
        await outbox.start()
        try:
            await outbox.deliver(Record(REWARDS, 0, b"x", avro.encode("reward", fields)) for fields in ledger())
            key = POLICY.name.encode()
            await outbox.deliver(Record(topic, 0, key, content) for topic in (SNAPSHOTS, SNAPSHOT_HISTORY))
        finally:
            await outbox.stop()
        yield started.bootstrap_servers


async def test_a_network_is_trained_from_the_ledger_and_proposed_as_the_next_generation(broker: str, tmp_path: Path):
    out = tmp_path / "homepage-2.toml"
    command = [sys.executable, "-m", "pipeline", "train", "homepage", "--broker", broker, "--out", str(out), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)  # noqa: ASYNC221
    assert done.returncode == 0, done.stderr
    said = orjson.loads(done.stdout)
    assert (said["decisions"], said["refused"], said["generation"]) == (N, 0, 2)
    # No line tells agreeing signs from others (0.25 is the rewards' variance); a network on 480 of them does.
    assert said["error_after"] < 0.6 * said["error_before"]
    policy = load_policy(out.read_text("utf-8"), out.name)
    assert (policy.generation, policy.dimension) == (2, 33)
