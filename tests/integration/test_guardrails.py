"""Kill switches and the report as an operator meets them: by the commands, over a broker, without a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from aiokafka import AIOKafkaProducer
from click.testing import CliRunner

from pipeline.brokers import Broker, default_cache_dir, running_broker
from pipeline.cli import cli
from pipeline.codec import avro
from pipeline.policy.parsing.parse import load_policy
from pipeline.publish.snapshot import build_snapshot
from pipeline.serve import Decided, decide, load_snapshot
from pipeline.serve.node import ServingNode
from pipeline.serve.settings import ServeSettings
from pipeline.stream.log.topics import REWARDS
from tests.integration.test_node import publish, until

POLICY = """
name = "front"
[[arms]]
name = "plain"
[[arms]]
name = "promo"
[algorithm]
name = "beta_thompson"
[reward]
low = 0
high = 1
[[reward.outcomes]]
kind = "click"
worth = 1
window = "1h"
[guardrails]
control = "plain"
holdout = { share = 0.3 }
[analysis]
share = 0.4
"""


@pytest.fixture
def broker() -> Iterator[Broker]:
    with running_broker("embedded", cache_dir=default_cache_dir()) as running:
        yield running


@pytest.fixture
def policy_file(tmp_path: Path) -> Path:
    path = tmp_path / "front.toml"
    path.write_text(POLICY, encoding="utf-8")
    return path


async def run(broker: Broker, *arguments: str) -> str:
    """Run a command as its user does; in a thread, as it has a loop of its own."""
    invoked = await asyncio.to_thread(
        CliRunner().invoke, cli, arguments, env={"PIPELINE_BROKER": broker.bootstrap_servers}
    )
    assert invoked.exit_code == 0, invoked.output
    return invoked.stdout


async def test_a_kill_acts_on_a_running_node_without_a_worker_and_outlives_an_apply(broker, policy_file):
    definition = load_policy(POLICY, "test")
    await run(broker, "policy", "apply", str(policy_file))
    await publish(broker.bootstrap_servers, "front", build_snapshot(definition, [], {}, 1, ""))
    async with ServingNode(ServeSettings(broker.bootstrap_servers, "0123456789abcdef")) as node:
        await node.wait_ready("front")

        async def shown() -> tuple[set[str], str | None]:
            # A listed arm that is killed is told from one that is merely not drawn.
            answer = await node.decide("front", {}, action_id=None)
            assert isinstance(answer, Decided)
            return set(answer.probabilities), answer.fallback

        async def is_shown(arms: set[str]) -> bool:
            return (await shown())[0] == arms

        assert await is_shown({"plain", "promo"})
        assert "killed arms: promo" in await run(broker, "policy", "kill", "front", "--arm", "promo")
        await until(lambda: is_shown({"plain"}), "the killed arm to go")
        assert "already in force" in await run(broker, "policy", "apply", str(policy_file))
        assert "killed arms: promo" in await run(broker, "policy", "show", "front")
        assert "front is killed; killed arms: promo" in await run(broker, "policy", "kill", "front")

        async def is_killed() -> bool:
            return (await shown())[1] == "killed"  # but for those held out

        await until(is_killed, "the policy to be killed")
        assert "front is alive; killed arms: none" in await run(broker, "policy", "revive", "front")
        await until(lambda: is_shown({"plain", "promo"}), "the arm to come back")


def ledger(snapshot_content: bytes, decisions: int) -> list[dict[str, Any]]:
    """What JOIN writes of decisions that were made by this snapshot; promo is clicked, plain is not."""
    snapshot = load_snapshot(snapshot_content)
    rng = np.random.default_rng(3)
    records = []
    for number in range(decisions):
        subject = f"s{number % 200}"
        answer = decide(
            snapshot, "front", {}, None, rng=rng, action_id=f"a{number}", now_ms=number, subject_hash=subject
        )
        assert isinstance(answer, Decided)
        decision = answer.decision
        reward = 2**15 if decision.arm == "promo" and number % 2 else 0
        records.append(
            {
                "action_id": decision.action_id,
                "revision": 2,
                "is_settled": True,
                "policy": "front",
                "generation": 1,
                "segment": decision.segment,
                "arm": decision.arm,
                "reward": reward,
                "reward_exponent": 15,
                "context_vector": b"",
                "decided_at_ms": number,
                "bucket": 0,
                "expires_at_ms": 10**7,
                "event_time_ms": number,
                "attribution": "",
                "outcomes": [],
                "decision": avro.encode("decision", decision._asdict()),
                "is_analysis": decision.is_analysis,
            }
        )
    return records


async def test_the_lift_over_the_holdout_comes_out_of_the_ledger(broker, policy_file, tmp_path):
    await run(broker, "policy", "apply", str(policy_file))
    records = ledger(build_snapshot(load_policy(POLICY, "test"), [], {}, 1, ""), 600)
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers) as producer:
        for record in records:
            await producer.send(REWARDS, avro.encode("reward", record), record["action_id"].encode())
        await producer.flush()
    picture = tmp_path / "lift.png"
    report = orjson.loads(await run(broker, "report", "front", "--json", "--picture", str(picture)))
    groups = report["groups"]
    assert groups["policy"]["decisions"] + groups["holdout"]["decisions"] == 600
    assert groups["policy"]["subjects"] + groups["holdout"]["subjects"] == 200
    assert groups["holdout"]["mean_reward"] == 0.0  # the control is never clicked
    shown = sum(record["arm"] == "promo" for record in records)
    assert report["arms"]["policy"]["promo"]["decisions"] == shown
    earned = sum(record["reward"] for record in records) / 2**15
    assert groups["policy"]["mean_reward"] == pytest.approx(earned / groups["policy"]["decisions"])
    assert report["lift"]["difference"]["low"] > 0.0
    assert report["guardrails"] == {"holdout": groups["holdout"]["decisions"]}
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "lift: +" in await run(broker, "report", "front")
    # The policy has learned nothing from these, and they are told by themselves.
    members = [record for record in records if record["is_analysis"]]
    assert groups["analysis"]["decisions"] == len(members) > 0
    assert "lift of analysis: +" in await run(broker, "report", "front", "--group", "analysis")
    content = build_snapshot(load_policy(POLICY, "test"), [], {}, 1, "")
    await publish(broker.bootstrap_servers, "front", content)
    asked = ("evaluate", "front", "--group", "analysis", "--target", "logged", "--target", "latest", "--json")
    evaluated = orjson.loads(await run(broker, *asked))
    assert evaluated["decisions"] == len(members)
