"""`pipeline evaluate` on the ledger of a policy, from a broker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from pipeline.brokers import running_broker
from pipeline.codec import avro
from pipeline.learn.ledger import ledger_record
from pipeline.policy.canonical import to_canonical_json
from pipeline.publish.snapshot import build_snapshot
from pipeline.stream.log.outbox import Outbox, Record
from pipeline.stream.log.topics import DECISIONS, POLICIES, REWARDS, SNAPSHOT_HISTORY, SNAPSHOTS
from tests.ledger_fold import LedgerFold
from tests.samples import define, plain_decision, plain_policy

POLICY = define(plain_policy())
GRID = 1 << POLICY.reward_exponent
RATES = {"a": 0.1, "b": 0.5}
N = 2_000
VISITORS = 250


def ledger() -> list[dict[str, Any]]:
    """Draw a with 0.8 and b with 0.2, and settle each decision; a revision of before it settled stands first."""
    rng = np.random.default_rng(1)
    records = []
    for action in range(N):
        arm = "a" if rng.random() < 0.8 else "b"
        propensity = {"a": 0.8, "b": 0.2}
        decision = plain_decision(
            f"x{action}",
            action,
            arm=arm,
            propensity=propensity[arm],
            eligible=list(propensity),
            probabilities=list(propensity.values()),
            subject_hash=f"s{action % VISITORS}",
        )
        settled = {
            "action_id": f"x{action}",
            "revision": 2,
            "is_settled": True,
            "policy": POLICY.name,
            "generation": POLICY.generation,
            "segment": "other",
            "arm": arm,
            "reward": GRID if rng.random() < RATES[arm] else 0,
            "reward_exponent": POLICY.reward_exponent,
            "context_vector": b"",
            "decided_at_ms": action,
            "bucket": 0,
            "expires_at_ms": 60_000,
            "event_time_ms": 10_000,
            "attribution": POLICY.statistics_hash,
            "outcomes": [],
            "decision": orjson.dumps(decision | {"subject_hash": None}),
            "is_erased": False,
            "is_reward_final": False,
        }
        records += [settled | {"revision": 1, "is_settled": False, "reward": 0}, settled]
    return records


@pytest.fixture
async def broker(tmp_path: Path):
    with running_broker("embedded", cache_dir=tmp_path) as started:
        records = ledger()
        fold = LedgerFold(POLICY.name, POLICY.generation)
        fold.add(0, [ledger_record(offset, fields) for offset, fields in enumerate(records)])
        content = build_snapshot(POLICY, fold.rows(), fold.marks(), version=1, parent="")
        outbox = Outbox(started.bootstrap_servers)
        await outbox.start()
        try:
            await outbox.deliver(Record(REWARDS, 0, b"x", avro.encode("reward", fields)) for fields in records)
            # Whom they were made for stands in `decisions` alone, in another order than they settled in.
            decided = [orjson.dumps(orjson.loads(fields["decision"]) | {"subject_hash": f"s{i % VISITORS}"})
                       for i, fields in enumerate(records[1::2])]  # fmt: skip
            await outbox.deliver(Record(DECISIONS, i % 4, b"x", raw) for i, raw in enumerate(reversed(decided)))
            key = POLICY.name.encode()
            await outbox.deliver(Record(topic, 0, key, content) for topic in (SNAPSHOTS, SNAPSHOT_HISTORY))
            definition = to_canonical_json(POLICY).decode()
            stored = {"name": POLICY.name, "generation": POLICY.generation, "definition": definition}
            await outbox.deliver([Record(POLICIES, 0, key + b"/1", avro.encode("policy", stored))])
        finally:
            await outbox.stop()
        yield started.bootstrap_servers


async def test_the_ledger_says_what_its_own_policy_and_others_earn(broker):
    command = [sys.executable, "-m", "pipeline", "evaluate", "homepage", "--broker", broker, "--json"]
    command += [f"--target={target}" for target in ("logged", "uniform", "homepage", "homepage@1")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: ASYNC221
    assert done.returncode == 0, done.stderr
    report = orjson.loads(done.stdout)
    assert report["decisions"] == N
    assert (report["by"], report["subjects"], report["without_subject"]) == ("subject", VISITORS, 0)
    # What b earns above a is 0.4: 0.1 + 0.4 · P(b). The snapshot shows b but for the floor of 1 %.
    expected = {
        "logged": 0.1 + 0.4 * 0.2,
        "uniform": 0.1 + 0.4 * 0.5,
        "homepage": 0.1 + 0.4 * 0.99,
        "homepage@1": 0.1 + 0.4 * 0.99,
    }
    assert [target["target"] for target in report["targets"]] == list(expected)
    for target in report["targets"]:
        for estimate in target["estimates"]:
            # Weights of up to 5 on 2,000 decisions: a standard error of about 0.03.
            assert estimate["value"] == pytest.approx(expected[target["target"]], abs=0.12), estimate
    flattered = [any("flatters" in words for words in target["warnings"]) for target in report["targets"]]
    assert flattered == [False, False, False, True]


async def test_a_generation_that_has_decided_nothing_is_said_to(broker):
    command = [sys.executable, "-m", "pipeline", "evaluate", "homepage", "--broker", broker, "--generation", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: ASYNC221
    assert done.returncode == 1
    assert "the ledger of homepage has no decision of generation 2; it has of: 1" in done.stderr


async def test_a_policy_that_is_not_applied_is_no_target(broker):
    command = [sys.executable, "-m", "pipeline", "evaluate", "homepage", "--broker", broker, "--target", "nobody"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: ASYNC221
    assert done.returncode == 1
    assert "no such policy is applied; applied are homepage" in done.stderr


async def test_a_policy_without_a_snapshot_is_named(broker):
    command = [sys.executable, "-m", "pipeline", "evaluate", "nobody", "--broker", broker]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: ASYNC221
    assert done.returncode == 1
    assert "policy 'nobody' has none; policies that do: ['homepage']" in done.stderr
