"""A person's address in every field that anybody can send, by HTTP and by Kafka; then `forget`, and a search of all.

What is left, and for how long, is the table of docs/privacy.md: the test holds the list of exceptions to be that and no
longer. Each field has a mark of its own, so that a place says which of them it holds.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import rocksdict
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from pipeline.brokers.local_kafka import LocalKafka
from pipeline.codec import avro
from pipeline.policy.parsing.parse import load_policy
from pipeline.stream.log.topics import AUDIT, DEAD_LETTERS, DECISIONS, OUTCOMES, topic_specs
from tests.harness.client import Client
from tests.harness.command import pipeline
from tests.harness.node import Node
from tests.harness.place import Place, on_kafka

pytestmark = [pytest.mark.kafka, pytest.mark.attack]

JANE = "jane.canary@example.org"
MARK = re.compile(re.escape(JANE.encode()) + rb"(?:/([\w-]+))?")
SALT = "a salt that only this test knows"
WITHIN_S = 90.0
POLICY = """
name = "shop"
logged = ["page"]
[[arms]]
name = "bestseller"
features = { price = 0.0 }
[candidates]
features = ["price"]
[[context]]
name = "x"
kind = "numeric"
low = 0.0
high = 1.0
[[context]]
name = "device"
kind = "categorical"
values = ["mobile", "desktop"]
[segments]
default = "all"
[[segments.rules]]
name = "gold"
when = { tier = { equals = "gold" } }
[[guardrails.eligibility]]
arms = ["bestseller"]
never_when = { country = { equals = "AT" } }
[algorithm]
name = "hybrid_thompson"
[reward]
low = 0.0
high = 1.0
[[reward.outcomes]]
kind = "click"
worth = 1.0
window = "10m"
[attribution]
settle = "optimistic"
[publish]
interval = "100ms"
"""
SOUND = {"x": 0.5, "device": "mobile"}

# What is not reached, and how long it stays: docs/privacy.md. By topic, the marks that are found there.
LOGGED_FOR_EVER = {"page"}
"""Texts of a field that the policy declares as `logged`; of a decision that can't be found by its subject, too."""
DECLARED = {"x", "device", "tier", "country", "page"}


def mark(field: str) -> str:
    return f"{JANE}/{field}"


def subject_hash() -> str:
    return blake2b(JANE.encode(), key=SALT.encode(), digest_size=16).hexdigest()


def by_http() -> list[tuple[str, str, Any]]:
    """Give requests with the person in each field: method, path, and body (bytes as they are)."""
    decide, outcomes = "/v1/policies/shop/decide", "/v1/outcomes"
    contexts = [SOUND | {field: mark(field)} for field in DECLARED] + [
        SOUND | {"email": mark("email")},
        SOUND | {mark("name"): 1.0},
        SOUND | {"email": [mark("list")], "nested": {"a": mark("nested")}},
    ]
    bodies: list[tuple[str, Any]] = [(decide, {"context": context, "subject": JANE}) for context in contexts]
    bodies += [(decide, {"context": context}) for context in contexts]
    bodies += [
        (decide, {"context": SOUND, "subject": mark("subject")}),
        (decide, {"context": SOUND, "action_id": mark("action_id")}),
        (decide, {"context": SOUND, "eligible": [mark("eligible")]}),
        (decide, {"context": SOUND, "candidates": {mark("candidate"): {"price": 0.1}}}),
        (decide, {"context": SOUND, "candidates": {"sku": {"price": 0.1, mark("feature"): 0.1}}}),
        (decide, {"context": SOUND, "fields": [mark("fields")]}),
        (decide, {"context": SOUND, mark("key"): 1}),
        (decide, b'{"context": "' + mark("torn").encode()),
        (f"{decide}/batch", {"requests": [{"context": contexts[-3]}, {"context": contexts[-2]}]}),
        ("/v1/policies/shop/explain", {"context": contexts[-3]}),
        (f"/v1/policies/{mark('policy')}/decide", {"context": SOUND, "eligible": ["bestseller"]}),
        (f"/v1/policies/{JANE}/decide", {"context": SOUND, "eligible": ["bestseller"]}),
        (f"/{mark('path')}?q={mark('query')}", {}),
        (outcomes, {"action_id": "of-nothing", "kind": "click", "outcome_id": mark("outcome_id")}),
        (outcomes, {"action_id": "of-nothing", "kind": mark("kind")}),
        (outcomes, {"action_id": mark("of_action"), "kind": "click"}),
        (outcomes, {"action_id": "of-nothing", "kind": "click", "claim": mark("claim")}),
        (outcomes, {"action_id": "of-nothing", "kind": "click", "email": mark("email")}),
    ]
    return [("POST", path, body) for path, body in bodies] + [("GET", f"/v1/decisions/{mark('path')}/explain", b"")]


def decision(action_id: str, now_ms: int, **others: Any) -> dict[str, Any]:
    return {
        "action_id": action_id,
        "policy": "shop",
        "segment": "all",
        "arm": "bestseller",
        "propensity": 1.0,
        "context": SOUND,
        "decided_at_ms": now_ms,
        **others,
    }


def by_kafka(now_ms: int) -> list[tuple[str, bytes, bytes]]:
    """Give records with the person in each field: topic, key, value."""
    hers = {"subject_hash": subject_hash()}
    changes: list[dict[str, Any]] = [{"context": SOUND | {field: mark(field)}} for field in DECLARED]
    changes += [
        {"context": SOUND | {"email": mark("email")}},
        {"context": SOUND | {mark("name"): 1.0}},
        {"context": SOUND | {"email": [mark("list")], "nested": {"a": mark("nested")}}},
        {"candidates": {"sku": {mark("feature"): 0.1, "price": 0.1}}, "arm": "sku"},
        {"candidates": {mark("candidate"): {"price": 0.1}}},
        {"candidates": {mark("candidate"): {"price": 0.1}}, "arm": mark("candidate")},
        {"email": mark("of_its_own")},
    ]
    changes += [{field: mark(field)} for field in ("policy", "segment", "arm", "reason", "snapshot_id", "schema_hash")]
    changes += [{"eligible": ["bestseller", mark("eligible")], "probabilities": [1.0, 0.0]}]
    changes += [{"guardrails": [mark("guardrails")]}, {"subject_hash": mark("subject_hash")}, {"propensity": mark("p")}]
    records: list[tuple[str, bytes, bytes]] = []
    for place, change in enumerate(changes):
        for whose, fields in (("hers", hers), ("nobodys", {})):
            action_id = f"{whose}-{place}"
            value = orjson.dumps(decision(action_id, now_ms, **(fields | change)))
            records.append((DECISIONS, action_id.encode(), value))
    context = SOUND | {"email": mark("email"), "tier": mark("tier")}
    whole = dict.fromkeys(("subject_hash",)) | decision("in-avro", now_ms, context=context)
    whole |= {"generation": 1, "eligible": [], "probabilities": [], "context_vector": b"", "schema_hash": ""}
    whole |= {"snapshot_version": 0, "snapshot_id": "", "reason": "policy", "guardrails": [], "candidates": {}}
    records.append((DECISIONS, b"in-avro", avro.encode("decision", whole)))
    records.append((DECISIONS, mark("action_id").encode(), orjson.dumps(decision(mark("action_id"), now_ms))))
    records.append((DECISIONS, mark("key").encode(), b"no record of " + mark("garbage").encode()))
    outcome = {"outcome_id": "o", "action_id": "hers-0", "kind": "click", "occurred_at_ms": now_ms}
    ours: list[dict[str, Any]] = [
        {"outcome_id": mark("outcome_id"), "action_id": "hers-5"},
        {"outcome_id": mark("outcome_id"), "action_id": "nobodys-5"},
        {"outcome_id": mark("waiting"), "action_id": "of-nothing"},
        {"action_id": mark("of_action")},
        {"kind": mark("kind"), "action_id": "nobodys-5"},
        {"value": mark("value")},
        {"email": mark("of_its_own"), "action_id": "nobodys-6"},
    ]
    records += [(OUTCOMES, b"", orjson.dumps(outcome | change)) for change in ours]
    records.append((OUTCOMES, mark("key").encode(), mark("garbage").encode()))
    return records


async def send_by_http(node: Node) -> None:
    said = {"user-agent": mark("agent"), "cookie": f"id={mark('cookie')}", "x-user": mark("header"), "referer": "/"}
    async with httpx.AsyncClient(base_url=node.url, headers=said, timeout=WITHIN_S) as client:
        deadline = time.monotonic() + WITHIN_S
        body: dict[str, Any] = {"context": SOUND, "eligible": ["bestseller"]}
        while not (await client.post("/v1/policies/shop/decide", json=body)).json().get("snapshot_version"):
            assert time.monotonic() < deadline, "no snapshot"
            await asyncio.sleep(0.1)
        for method, path, content in by_http():
            raw = content if isinstance(content, bytes) else orjson.dumps(content)
            answer = await client.request(method, path, content=raw, headers={"content-type": "application/json"})
            assert answer.status_code < 500, answer.text
        metrics = (await client.get("/metrics")).text
        assert marks_in(metrics.encode()) == set()


def marks_in(raw: bytes) -> set[str]:
    return {(found or b"whole").decode() for found in MARK.findall(raw)}


def compact_at_once(broker: str, names: list[str]) -> None:
    """Let the broker compact what is written over, as it does within the hour by itself."""
    soon = {"segment.ms": "500", "min.cleanable.dirty.ratio": "0.001", "max.compaction.lag.ms": "500"}
    resources = [
        ConfigResource(
            ResourceType.TOPIC,
            name,
            incremental_configs=[
                ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in soon.items()
            ],
        )
        for name in names
    ]
    admin = AdminClient({"bootstrap.servers": broker})
    for done in admin.incremental_alter_configs(resources).values():
        done.result(WITHIN_S)


def marks_in_topic(broker: str, name: str) -> set[str]:
    """Read a topic whole, as any consumer does."""
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "search", "enable.auto.commit": False})
    found: set[str] = set()
    try:
        partitions = consumer.list_topics(name, WITHIN_S).topics[name].partitions
        for number in partitions:
            first, end = consumer.get_watermark_offsets(TopicPartition(name, number), WITHIN_S)
            consumer.assign([TopicPartition(name, number, first)])
            while consumer.position([TopicPartition(name, number)])[0].offset < end and first < end:
                message = consumer.poll(1.0)
                if message is None:
                    continue
                assert message.error() is None, message.error()
                parts = [message.key(), message.value(), *(value for _, value in message.headers() or [])]
                found |= set().union(*(marks_in(part or b"") for part in parts))
                if message.offset() + 1 >= end:
                    break
    finally:
        consumer.close()
    return found


def marks_in_rows(folder: Path) -> set[str]:
    """Read every row of the worker's RocksDB databases: what lies compressed in their files."""
    found: set[str] = set()
    for current in folder.rglob("CURRENT"):
        options = rocksdict.Options(raw_mode=True)
        families = rocksdict.Rdict.list_cf(str(current.parent), options)
        database = rocksdict.Rdict(
            str(current.parent),
            options,
            column_families={name: rocksdict.Options(raw_mode=True) for name in families},
            access_type=rocksdict.AccessType.read_only(),
        )
        for name in families:
            for key, value in database.get_column_family(name).items():
                found |= marks_in(bytes(key)) | marks_in(bytes(value))
        database.close()
    return found


def marks_in_files(folder: Path) -> dict[str, set[str]]:
    found = {str(path.relative_to(folder)): marks_in(path.read_bytes()) for path in folder.rglob("*") if path.is_file()}
    return {name: marks for name, marks in found.items() if marks}


@pytest.fixture
def place(kafka: LocalKafka) -> Place:
    return on_kafka(kafka, "canary", 1)


async def looked_through(place: Place, names: list[str]) -> AsyncIterator[Mapping[str, set[str]]]:
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        yield {name: await asyncio.to_thread(marks_in_topic, place.broker, name) for name in names}
        await asyncio.sleep(1.0)


async def test_a_person_in_every_field_is_found_after_forget_where_the_table_says_and_nowhere_else(
    place: Place, tmp_path: Path
) -> None:
    salts = tmp_path / "salts"
    salts.write_text(SALT)
    options = ("--subject-salt-file", str(salts), "--spill-dir", str(tmp_path / "spill"))
    options += ("--snapshot-dir", str(tmp_path / "kept"))
    specs = topic_specs(place.app_id, place.partitions)
    async with Client(place.broker, app_id=place.app_id, partitions=place.partitions) as client:
        await client.apply(load_policy(POLICY, "canary"))
        with (
            place.worker(tmp_path / "worker", orphan_hold_ms="1000") as worker,
            Node(place.broker, tmp_path / "node", *options) as node,
        ):
            client.watch(worker)
            await client.decide([decision("first", round(time.time() * 1000))])
            await send_by_http(node)
            for topic, key, value in by_kafka(round(time.time() * 1000)):
                await client.send(topic, 0, value, key)
            await client.quiet()
            # What waits for a decision in vain waits as long as it may: 1 s here.
            await asyncio.sleep(1.2)
            await client.decide([decision("later", round(time.time() * 1000))])
            await client.observe([{**OUTCOME, "occurred_at_ms": round(time.time() * 1000)}])
            await client.quiet()
            assert JANE.encode() in b"".join(record.value for record in await client.read(DEAD_LETTERS))
            said = await pipeline(place, "forget", "--user", JANE, "--salt-file", str(salts), "--json")
            assert orjson.loads(said)["actions"] > len(DECLARED)
            assert orjson.loads(said)["dead_letters"] > 10
            compacted = [spec.name for spec in specs if "compact" in spec.config.get("cleanup.policy", "")]
            await asyncio.to_thread(compact_at_once, place.broker, compacted)
            # Of decisions that no subject names, what is kept is kept: they are open still.
            held = {f"{place.app_id}-join-changelog": LOGGED_FOR_EVER}
            left: Mapping[str, set[str]] = {}
            async for left in looked_through(place, compacted):
                if {name: marks for name, marks in left.items() if marks} == held:
                    break
                # Only what lies behind the segment that is written to is compacted: it must be written to.
                await client.decide([decision(f"after-{time.time_ns()}", round(time.time() * 1000))])
                await client.send(DECISIONS, 0, b"no record")
            assert {name: marks for name, marks in left.items() if marks} == held
            await asyncio.to_thread(os.kill, node.pid, signal.SIGTERM)
        assert worker.exit_code == 0
    names = [spec.name for spec in specs if spec.name not in compacted] + [AUDIT]
    kept = {name: await asyncio.to_thread(marks_in_topic, place.broker, name) for name in dict.fromkeys(names)}
    # Raw, by their retention: what producers sent, and what nodes log of declared fields.
    assert kept.pop(DECISIONS) >= {"page", "email", "of_its_own"}
    assert kept.pop(OUTCOMES) >= {"outcome_id", "kind", "of_its_own"}
    assert kept.pop("rewards") == LOGGED_FOR_EVER
    assert {name: marks for name, marks in kept.items() if marks} == {}
    state = str(Path("worker") / "state")
    found = marks_in_files(tmp_path)
    assert {name: marks for name, marks in found.items() if not name.startswith(state)} == {}
    # Compressed, so a mark may be cut off there: rows tell which it is.
    assert set().union(*found.values()) <= LOGGED_FOR_EVER | {"whole"}
    assert marks_in_rows(tmp_path / "worker") == LOGGED_FOR_EVER


OUTCOME = {"outcome_id": "of-later", "action_id": "later", "kind": "click"}
