"""Policies that follow another one, ramped by the command line on a real Kafka: up, back, and halted."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer

from pipeline.audit.entry import latest_of_each
from pipeline.audit.read import read_audits
from pipeline.brokers.local_kafka import LocalKafka
from tests.integration.test_processes import POLICY, Deployment
from tests.samples import plain_decision, plain_outcome

pytestmark = pytest.mark.kafka

WITHIN_S = 60.0
FAST = POLICY.replace('window = "10s"', 'window = "1s"').replace('grace = "30s"', 'grace = "5s"')
FOLLOWER = '[rollout]\nof = "homepage"\nshare = 0.0\n'
OLD, SHARE = 1_600, 0.2
FIRST_STEP = 0.05
"""Of `pipeline policy ramp` as it comes."""
# Subjects and the share of them that click. Of the old policy 20 % do. 400 of 2,000 are 20 %, 900 of 2,500 are not.
NEW = {"better": (400, 0.6), "worse": (400, 0.0), "uneven": (900, 0.6)}


class Ramp:
    """A deployment, and its ramps."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment

    def look(self, name: str, *options: str, ends: int = 0) -> dict[str, Any]:
        ended = self.deployment.run("policy", "ramp", name, "--steps", "20,50,100", "--json", *options)
        assert ended.returncode == ends, (ended.stdout, ended.stderr)
        found: dict[str, Any] = orjson.loads(ended.stdout)
        return found

    def until(self, name: str, has_come: Any, what: str) -> dict[str, Any]:
        deadline_s = time.monotonic() + WITHIN_S
        while not has_come(found := orjson.loads(self._ask(name))):
            assert time.monotonic() < deadline_s, (what, found, self.deployment.log.read_text("utf-8")[-2_000:])
        return found

    def _ask(self, name: str) -> str:
        """A look alone, whatever it says."""
        return self.deployment.run("policy", "ramp", name, "--steps", "20,50,100", "--json").stdout

    def share(self, name: str) -> float:
        (shown,) = orjson.loads(self.deployment.run("policy", "show", name, "--json").stdout)
        return shown["rollout"]["share"]

    def send(self, policy: str, count: int, rate: float, decided_at_ms: int) -> None:
        producer = Producer(
            {"bootstrap.servers": self.deployment.kafka.bootstrap_servers, "partitioner": "murmur2_random"}
        )
        for number in range(count):
            key = f"{policy}-{number}"
            subject = f"{policy}{number}".encode().hex().rjust(32, "0")
            decision = plain_decision(
                key, decided_at_ms, policy=policy, segment="all", subject_hash=subject, snapshot_version=1
            )
            producer.produce("decisions", orjson.dumps(decision), key.encode())
            if number < rate * count:
                producer.produce("outcomes", orjson.dumps(plain_outcome(key, decided_at_ms + 1)), key.encode())
        assert producer.flush(WITHIN_S) == 0


@pytest.fixture
def ramp(own_kafka: LocalKafka, tmp_path: Path) -> Ramp:
    deployment = Deployment(own_kafka, tmp_path)
    deployment.do("topics", "create", "--partitions", "2")
    for name in ("homepage", *NEW):
        declared = FAST.replace('"homepage"', f'"{name}"') + (FOLLOWER if name in NEW else "")
        (tmp_path / f"{name}.toml").write_text(declared, "utf-8")
        deployment.do("policy", "apply", f"{name}.toml")
    return Ramp(deployment)


async def test_of_two_people_who_ramp_at_once_one_goes_a_step_up_and_the_other_finds_it_done(ramp: Ramp) -> None:
    asked = [(name, seat) for name in NEW for seat in range(2)]
    with ThreadPoolExecutor(len(asked)) as seats:  # all of them at once: each policy by two processes
        ended = list(seats.map(lambda one: ramp.deployment.run("policy", "ramp", one[0], "--yes", "--json"), asked))
    for (name, _), one in zip(asked, ended, strict=True):
        assert one.returncode == 0, (name, one.stdout, one.stderr)
        assert orjson.loads(one.stdout)["share"] == FIRST_STEP
    for name in NEW:
        assert ramp.share(name) == FIRST_STEP
    # What is recorded is what has come to be: of one policy twice where both wrote the same, never a second step.
    audits = latest_of_each(await read_audits(ramp.deployment.kafka.bootstrap_servers))
    steps = [(one.policy, orjson.loads(one.after)) for one in audits if one.command == "policy ramp"]
    assert {name for name, _ in steps} == set(NEW)
    assert all(after["rollout"]["share"] == FIRST_STEP for _, after in steps), steps


@pytest.mark.faults
async def test_a_ramp_goes_up_on_proof_back_on_harm_and_halts_where_the_groups_are_not_as_they_were_to_be(
    ramp: Ramp,
) -> None:
    refused = ramp.deployment.run("policy", "ramp", "better", "--if", "lift.lo > 0")
    assert refused.returncode == 1
    assert "there is no figure 'lift.lo'" in refused.stderr
    assert "kind.click.low" in refused.stderr
    with ramp.deployment.workers("--idle-after", "0.5"):
        for name in NEW:
            assert ramp.look(name)["act"] == "up"  # a look alone
            assert ramp.share(name) == 0.0
            assert ramp.look(name, "--yes")["share"] == SHARE
        since_ms = max(
            ramp.until(name, lambda found: found["since_ms"] is not None, "the step to be live")["since_ms"]
            for name in NEW
        )
        ramp.send("homepage", OLD, 0.2, since_ms + 1)
        for name, (count, rate) in NEW.items():
            ramp.send(name, count, rate, since_ms + 1)
        for name, (count, _) in NEW.items():
            seen = {"decisions.new": count, "decisions.old": OLD}
            ramp.until(name, lambda found, seen=seen: seen.items() <= found["figures"].items(), "all to settle")
        _better(ramp)
        _worse(ramp)
        _uneven(ramp)
    audits = latest_of_each(await read_audits(ramp.deployment.kafka.bootstrap_servers))
    told = [(one.policy, one.target) for one in audits if one.command == "policy ramp"]
    first = [(name, "definition") for name in NEW]
    steps = [
        ("better", "definition"),
        ("worse", "ramp"),
        ("worse", "definition"),
        ("uneven", "ramp"),
        ("uneven", "ramp"),
    ]
    assert told == [*first, *steps]
    (proof,) = [orjson.loads(one.after) for one in audits if one.policy == "better"][-1:]
    assert proof["because"]["figures"]["lift.low"] > 0


def _better(ramp: Ramp) -> None:
    found = ramp.look("better", "--once", "--yes")
    # 0.6 - 0.2, and its deviation is sqrt(.6·.4/400 + .2·.8/1600) = 0.026.
    assert found["figures"]["lift.value"] == pytest.approx(0.4)
    assert 0.4 - 5 * 0.026 < found["figures"]["lift.low"] < 0.4
    assert (found["act"], found["share"], ramp.share("better")) == ("up", 0.5, 0.5)
    # The next line of the crontab: what proved the step before proves nothing of this one.
    assert ramp.look("better", "--once", "--yes")["act"] == "wait"
    assert ramp.share("better") == 0.5
    refused = ramp.deployment.run("policy", "promote", "better", "--yes")
    assert (refused.returncode, ramp.share("better")) == (1, 0.5)


def _worse(ramp: Ramp) -> None:
    found = ramp.look("worse", "--once", "--yes", ends=1)
    assert (found["act"], ramp.share("worse")) == ("back", 0.0)
    assert found["figures"]["lift.high"] < 0
    again = ramp.look("worse", "--once", "--yes", ends=1)
    assert (again["act"], ramp.share("worse")) == ("halted", 0.0)
    assert "lift.high < 0" in again["why"]


def _uneven(ramp: Ramp) -> None:
    found = ramp.look("uneven", "--once", "--yes", ends=1)
    assert found["figures"]["lift.low"] > 0  # however good it looks
    assert (found["act"], ramp.share("uneven")) == ("pause", SHARE)
    assert ramp.look("uneven", "--once", "--yes", ends=1)["act"] == "halted"
    ramp.deployment.do("policy", "ramp", "uneven", "--resume", "--yes")
    # Afresh: nothing has been decided since.
    assert ramp.look("uneven", "--once", "--yes")["act"] == "wait"
