"""An apprentice by the command line: it waits, meets the mark of its file, is shown itself, and stays so."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from pipeline.brokers import running_broker
from pipeline.cli import cli
from pipeline.codec import avro
from pipeline.policy.parsing.parse import load_policy
from pipeline.stream.log.outbox import Outbox, Record
from pipeline.stream.log.topics import DECISIONS, REWARDS
from tests.integration.test_processes import POLICY
from tests.samples import plain_decision

LEARNER = POLICY.replace('"homepage"', '"learner"').replace(
    'name = "beta_thompson"', 'name = "epsilon_greedy"\nepsilon = 0.1'
)
FOLLOWS = '[rollout]\nof = "homepage"\nshare = 0.5\nmode = "apprentice"\nuntil = "gain.low > 0 and subjects >= 300"\n'
LESSONS = 400


@pytest.fixture
def broker(tmp_path: Path):
    with running_broker("embedded", cache_dir=tmp_path) as started:
        yield started.bootstrap_servers


def run(broker: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["policy", *arguments, "--broker", broker])


def look(broker: str, *options: str) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(run(broker, "ramp", "learner", "--json", *options).stdout)
    return found


async def teach(broker: str, first: int, count: int) -> None:
    """Let homepage draw evenly between a, which nobody clicks, and b, which half of the visitors do."""
    definition = load_policy(LEARNER + FOLLOWS, "the test")
    shown, told = [], []
    for number in range(first, first + count):
        arm = "ab"[number % 2]
        decision = plain_decision(
            f"x{number}",
            number,
            policy="learner",
            segment="all",
            arm=arm,
            eligible=["a", "b"],
            probabilities=[0.5, 0.5],
            guardrails=["apprentice:homepage"],
            snapshot_version=1,
        )
        fields = {
            "action_id": f"x{number}",
            "revision": 2,
            "is_settled": True,
            "policy": "learner",
            "generation": 1,
            "segment": "all",
            "arm": arm,
            "reward": 2**definition.reward_exponent if number % 4 == 1 else 0,
            "reward_exponent": definition.reward_exponent,
            "context_vector": b"",
            "decided_at_ms": number,
            "bucket": 0,
            "expires_at_ms": 60_000,
            "event_time_ms": 10_000,
            "attribution": definition.statistics_hash,
            "outcomes": [],
            "decision": orjson.dumps(decision),
            "is_erased": False,
            "is_reward_final": False,
        }
        told.append(Record(REWARDS, 0, b"x", avro.encode("reward", fields)))
        shown.append(Record(DECISIONS, 0, b"x", orjson.dumps(decision | {"subject_hash": f"s{number}"})))
    outbox = Outbox(broker)
    await outbox.start()
    try:
        await outbox.deliver(told)
        await outbox.deliver(shown)
    finally:
        await outbox.stop()


def test_an_apprentice_waits_meets_its_mark_and_is_ramped_from_then_on(broker: str, tmp_path: Path) -> None:
    for name, text in (("homepage", POLICY), ("learner", LEARNER + FOLLOWS)):
        (tmp_path / f"{name}.toml").write_text(text, "utf-8")
        applied = run(broker, "apply", str(tmp_path / f"{name}.toml"))
        assert applied.exit_code == 0, applied.output
    asyncio.run(teach(broker, 0, 40))
    waiting = look(broker)
    assert (waiting["act"], waiting["share"], waiting["figures"]["subjects"]) == ("wait", 0.5, 40.0)
    promoted = run(broker, "promote", "learner", "--yes")
    assert "it is an apprentice" in str(promoted.exception)
    asyncio.run(teach(broker, 40, LESSONS - 40))
    dry = look(broker)
    # Greedy shows b in .95: .95 · .5 earned, where .25 was.
    assert dry["figures"]["gain.value"] == pytest.approx(0.225, abs=0.08)
    assert (dry["act"], dry["is_done"], dry["figures"]["subjects"]) == ("graduate", False, float(LESSONS))
    assert dry["figures"]["gain.low"] > 0.0
    (shown,) = orjson.loads(run(broker, "show", "learner", "--json").stdout)
    assert (shown["rollout"]["mode"], shown["rollout"]["share"]) == ("apprentice", 0.5)
    done = look(broker, "--yes", "--actor", "tester")
    assert (done["act"], done["share"], done["is_done"]) == ("graduate", 0.05, True)
    again = run(broker, "apply", str(tmp_path / "learner.toml"))
    assert "rollout.mode stays serve" in again.output
    (shown,) = orjson.loads(run(broker, "show", "learner", "--json").stdout)
    assert (shown["rollout"]["mode"], shown["rollout"]["share"]) == ("serve", 0.05)
