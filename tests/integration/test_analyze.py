"""`pipeline analyze` and `pipeline advise` on the ledger of a policy that learns from context, from a broker."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import numpy as np
import orjson
import pytest

from pipeline.brokers import running_broker
from pipeline.codec import avro
from pipeline.policy.canonical import to_canonical_json
from pipeline.publish.snapshot import build_snapshot
from pipeline.stream.log.outbox import Outbox, Record
from pipeline.stream.log.topics import DECISIONS, POLICIES, REWARDS, SNAPSHOT_HISTORY, SNAPSHOTS
from tests.samples import define, linear_policy, plain_decision

POLICY = define(linear_policy())
GRID = 1 << POLICY.reward_exponent
N, VISITORS, HOUR_MS = 3_000, 600, 3_600_000


def ledger() -> list[dict[str, Any]]:
    """Draw b with 0.7 where x is above 0 and with 0.3 elsewhere; it earns 0.3 more there, and 0.3 less elsewhere."""
    rng = np.random.default_rng(1)
    xs, ys = rng.uniform(-1.0, 1.0, VISITORS), rng.uniform(0.0, 9.0, VISITORS)
    records = []
    for action in range(N):
        visitor = int(rng.integers(VISITORS))
        x = float(xs[visitor])
        chance = 0.7 if x > 0.0 else 0.3
        arm = "b" if rng.random() < chance else "a"
        probabilities = {"a": 1.0 - chance, "b": chance}
        mean = 0.4 + (0.0 if arm == "a" else 0.3 if x > 0.0 else -0.3)
        decision = plain_decision(
            f"x{action}",
            action * HOUR_MS,
            arm=arm,
            propensity=probabilities[arm],
            eligible=list(probabilities),
            probabilities=list(probabilities.values()),
            context={"x": x, "y": float(ys[visitor])},
            subject_hash=f"s{visitor}",
        )
        records.append(
            {
                "action_id": f"x{action}",
                "revision": 2,
                "is_settled": True,
                "policy": POLICY.name,
                "generation": POLICY.generation,
                "segment": "other",
                "arm": arm,
                "reward": GRID if rng.random() < mean else 0,
                "reward_exponent": POLICY.reward_exponent,
                "context_vector": b"",
                "decided_at_ms": action * HOUR_MS,
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


async def _fill(bootstrap_servers: str) -> None:
    content = build_snapshot(POLICY, [], {}, version=1, parent="")
    outbox = Outbox(bootstrap_servers)
    await outbox.start()
    try:
        records = ledger()
        nameless = [r | {"decision": orjson.dumps(orjson.loads(r["decision"]) | {"subject_hash": None})}
                    for r in records]  # fmt: skip
        await outbox.deliver(Record(REWARDS, 0, b"x", avro.encode("reward", fields)) for fields in nameless)
        await outbox.deliver(Record(DECISIONS, i % 4, b"x", r["decision"]) for i, r in enumerate(records))
        key = POLICY.name.encode()
        await outbox.deliver(Record(topic, 0, key, content) for topic in (SNAPSHOTS, SNAPSHOT_HISTORY))
        definition = to_canonical_json(POLICY).decode()
        stored = {"name": POLICY.name, "generation": POLICY.generation, "definition": definition}
        await outbox.deliver([Record(POLICIES, 0, key + b"/1", avro.encode("policy", stored))])
    finally:
        await outbox.stop()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory):
    with running_broker("embedded", cache_dir=tmp_path_factory.mktemp("broker")) as started:
        asyncio.run(_fill(started.bootstrap_servers))
        yield started.bootstrap_servers


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_running_policy_is_analyzed_by_subject(broker):
    done = run("analyze", "homepage", "--broker", broker, "--group-by", "x", "--json")
    assert done.returncode == 0, done.stderr
    found = orjson.loads(done.stdout)
    assert (found["decisions"], found["by"], found["personalise"]) == (N, "subject", "yes")
    # Half of them get 0.3 more than with either arm for all, but for those near the border.
    assert found["gain"]["low"] < 0.15 < found["gain"]["high"] + 0.03
    assert {effect["field"]: effect["adjusted"] < 0.01 for effect in found["effects"]} == {"x": True, "y": False}
    assert len(found["groups"]["shown"]) == 3
    assert found["convergence"]["decisions_per_day"] == pytest.approx(24)


def test_advice_on_a_policy_that_learns_from_context_is_three_sentences(broker):
    done = run("advise", "homepage", "--broker", broker, "--json")
    assert done.returncode == 0, done.stderr
    found = orjson.loads(done.stdout)
    which, worth, _ = found["sentences"]
    assert which.startswith("Show each visitor the arm by context: a for x to -0.")
    assert "b for x above" in which
    assert worth.startswith("Personalise: it gains +0.1")
    words = run("advise", "homepage", "--broker", broker)
    assert (words.returncode, words.stdout.count("Personalise")) == (0, 1)
