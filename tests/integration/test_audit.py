"""Every command that changes a running system leaves its record: played by the command line, on a real Kafka."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    ResourceType,
)

from pipeline.audit.entry import Audit, latest_of_each
from pipeline.audit.read import read_audits
from pipeline.brokers.local_kafka import LocalKafka
from tests.integration.test_processes import POLICY, Deployment
from tests.samples import plain_decision, plain_outcome
from tests.unit.audit.test_audit_is_the_only_way import CHANGE

pytestmark = pytest.mark.kafka

WITHIN_S = 60.0
SUBJECT = "8f14e45fceea167a5a36dedd4bea2543"
FOLLOWER = POLICY.replace('"homepage"', '"homepage-v2"') + '[rollout]\nof = "homepage"\nshare = 0.05\n'


class Audited:
    """A deployment whose commands are Ada's, and what `audit` says of them."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        deployment.environment["PIPELINE_ACTOR"] = "ada"
        self.admin = AdminClient({"bootstrap.servers": deployment.kafka.bootstrap_servers})
        self._producer = Producer(
            {"bootstrap.servers": deployment.kafka.bootstrap_servers, "partitioner": "murmur2_random"}
        )
        self.played: set[str] = set()
        self._seen = 0

    def acts(self) -> Sequence[Audit]:
        found = asyncio.run(read_audits(self.deployment.kafka.bootstrap_servers))
        return latest_of_each(found)

    def play(self, *arguments: str, acts: int = 1) -> dict[str, Any]:
        """Run a command that leaves so many acts of its own; return the last one."""
        ended = self.deployment.run(*arguments)
        assert ended.returncode == 0, (arguments, ended.stdout, ended.stderr)
        assert "without a record" not in ended.stderr
        found = self.acts()
        new, self._seen = found[self._seen :], len(found)
        assert len(new) == acts, (arguments, new)
        for one in new:
            assert (one.state, one.actor) == ("done", "ada")
            assert " ".join(arguments).startswith(one.command)
            self.played.add(one.command)
        return _plain(new[-1]) if new else {}

    def produce(self, topic: str, value: bytes, key: bytes | None = None) -> None:
        self._producer.produce(topic, value, key)
        assert self._producer.flush(WITHIN_S) == 0

    def until(self, *arguments: str, said: bytes) -> None:
        deadline_s = time.monotonic() + WITHIN_S
        while said not in (ended := self.deployment.run(*arguments)).stdout.encode():
            assert time.monotonic() < deadline_s, (arguments, ended.stdout, ended.stderr)

    def set(self, topic: str, name: str, value: str) -> None:
        entry = ConfigEntry(
            name,
            value,
            source=ConfigSource.DYNAMIC_TOPIC_CONFIG,
            incremental_operation=AlterConfigOpType.SET,
        )
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        for told in self.admin.incremental_alter_configs([resource]).values():
            told.result(WITHIN_S)


def _plain(one: Audit) -> dict[str, Any]:
    return one._asdict() | {"before": orjson.loads(one.before), "after": orjson.loads(one.after)}


@pytest.fixture
def audited(own_kafka: LocalKafka, tmp_path: Path) -> Audited:
    (tmp_path / "homepage.toml").write_text(POLICY, "utf-8")
    (tmp_path / "follower.toml").write_text(FOLLOWER, "utf-8")
    return Audited(Deployment(own_kafka, tmp_path))


def test_what_operators_do_is_recorded_and_a_kill_waits_for_no_record(audited: Audited) -> None:
    made = audited.play("topics", "create", "--partitions", "2")
    assert {"audit", "policies", "decisions"} <= set(made["after"]["created"])
    audited.play("topics", "create", "--partitions", "2", acts=0)  # all are there: nothing was done
    _play_policies(audited)
    audited.set("decisions", "message.timestamp.type", "CreateTime")
    mended = audited.play("doctor", "--fix", "--yes")
    assert mended["after"] == ["set message.timestamp.type = LogAppendTime on topic decisions"]
    with audited.deployment.workers():
        _play_what_needs_a_worker(audited)
    assert audited.played == CHANGE
    audited.produce("audit", b"no record of ours")
    listed = audited.deployment.run("audit", "list", "--json", "--policy", "homepage-v2")
    assert [one["command"] for one in orjson.loads(listed.stdout)] == [
        *("policy apply", "policy rollout", "policy ramp", "policy promote")
    ]
    assert "record-passed-over place=audit/0" in listed.stderr
    assert "ada" in audited.deployment.run("audit", "list", "--last", "1").stdout
    _kill_without_the_topic(audited)


def _play_policies(audited: Audited) -> None:
    applied = audited.play("policy", "apply", "homepage.toml")
    assert (applied["policy"], applied["before"]) == ("homepage", None)
    assert applied["after"]["reward"]["high"] == 1.0
    audited.play("policy", "apply", "homepage.toml", acts=0)
    audited.play("policy", "apply", "follower.toml")
    rolled = audited.play("policy", "rollout", "homepage-v2", "--share", "20")
    assert rolled["before"]["rollout"] == {"share": 0.05}
    assert rolled["after"]["rollout"] == {"share": 0.2}
    ramped = audited.play("policy", "ramp", "homepage-v2", "--steps", "30,100", "--yes")
    assert ramped["after"]["rollout"] == {"share": 0.3}
    assert ramped["after"]["because"]["why"] == "the first step"
    killed = audited.play("policy", "kill", "homepage", "--arm", "b")
    assert (killed["before"], killed["after"]) == ({"b": "on"}, {"b": "off"})
    audited.play("policy", "revive", "homepage", "--arm", "b")


def _play_what_needs_a_worker(audited: Audited) -> None:
    now_ms = time.time_ns() // 1_000_000
    for number in range(5):
        key = f"action-{number}"
        subject = {"subject_hash": SUBJECT} if number == 0 else {}
        audited.produce("decisions", orjson.dumps(plain_decision(key, now_ms, segment="all", **subject)), key.encode())
        audited.produce("outcomes", orjson.dumps(plain_outcome(key, now_ms + 1)), key.encode())
    audited.produce("outcomes", b"no outcome", b"x")
    audited.deployment.until(lambda: audited.deployment.learned() == 5, "five clicks")
    is_proven = ("policy", "promote", "homepage-v2", "--if", "hours > -1")
    audited.until(*is_proven, said=b"would be: from 30 % to 100 %")
    audited.play(*is_proven, acts=0)
    promoted = audited.play(*is_proven, "--yes")
    assert promoted["before"]["rollout"] == {"share": 0.3}
    audited.play("snapshot", "pin", "homepage")
    audited.play("snapshot", "pin", "homepage", acts=0)
    audited.play("snapshot", "unpin", "homepage")
    back = audited.play("snapshot", "rollback", "homepage", "--to", "1")
    assert back["before"]["action"] == "unpin"
    assert (back["after"]["action"], back["after"]["version"]) == ("rollback", 1)
    audited.play("snapshot", "unpin", "homepage")
    audited.until("dead-letters", "list", "--json", said=b"not-decodable")
    audited.play("dead-letters", "replay", "--dry-run", acts=0)
    sent = audited.play("dead-letters", "replay")
    assert sent["after"] == {"sent back": {"outcomes: not-decodable": 1}}
    history = audited.deployment.folder / "history.jsonl"
    history.write_bytes(orjson.dumps(plain_decision("older", now_ms - 86_400_000, segment="all")))
    audited.play("backfill", "homepage", "--decisions", str(history), "--dry-run", acts=0)
    loaded = audited.play("backfill", "homepage", "--decisions", str(history))
    assert loaded["after"] == {"decision": "history.jsonl", "decisions": 1, "outcomes": 0}
    audited.play("backfill", "homepage", "--decisions", str(history), acts=0)
    audited.play("replay", "--policy", "homepage", "--into", "2")
    audited.play("replay", "promote", "homepage", "2")
    audited.play("forget", SUBJECT, "--dry-run", acts=0)
    # The replay has counted the person: it is run on, which is an act of its own.
    forgotten = audited.play("forget", SUBJECT, acts=2)
    assert forgotten["command"] == "forget"
    assert SUBJECT not in repr(audited.acts())


def _kill_without_the_topic(audited: Audited) -> None:
    for told in audited.admin.delete_topics(["audit"]).values():
        told.result(WITHIN_S)
    audited.until("doctor", "--json", said=b'"topic audit","seen":"is not there"')
    refused = audited.deployment.run("policy", "kill", "homepage", "--require-audit")
    assert refused.returncode == 3
    assert "nothing is done" in refused.stderr
    assert "topics create" in refused.stderr
    assert "KILLED" not in audited.deployment.run("policy", "show", "homepage").stdout
    killed = audited.deployment.run("policy", "kill", "homepage")
    assert killed.returncode == 0
    assert "homepage is killed" in killed.stdout
    assert "without a record" in killed.stderr
