"""Producers with a schema registry: Confluent's serializer, a real registry behind TLS and a password."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from pipeline.brokers.local_kafka import LocalKafka
from pipeline.brokers.ports import free_ports
from pipeline.codec import avro
from pipeline.codec.wire import read_accepted
from pipeline.stream.log.topics import DECISIONS, OUTCOMES, REWARDS
from tests.harness.certificates import issue
from tests.harness.client import Client, partition_of
from tests.harness.command import pipeline
from tests.harness.place import Place, on_kafka
from tests.harness.poison import now_ms
from tests.harness.registry import Front, front_of, running_registry
from tests.harness.worker import Worker
from tests.samples import define, plain_decision, plain_outcome, plain_policy

pytestmark = [pytest.mark.kafka, pytest.mark.asyncio(loop_scope="module")]

PARTITIONS = 2
USERNAME, PASSWORD = "pipeline", "registry-secret"
CLICK = {"kind": "click", "worth": 1.0, "window": "2h"}
HOMEPAGE = define(plain_policy(settle="optimistic", outcomes=(CLICK,), grace="1h"))
MICROS = {"type": "long", "logicalType": "timestamp-micros"}


def schema(name: str, *fields: tuple[str, Any], **more: Any) -> str:
    listed = [{"name": field, "type": kind, **more.get(field, {})} for field, kind in fields]
    return json.dumps({"type": "record", "name": name, "namespace": "shop", "fields": listed})


# As a Java class might have it: another order, a null, an enum, a renamed field, microseconds.
CLICKED = schema(
    "Clicked",
    ("occurred_at_ms", MICROS),
    ("action_id", "string"),
    ("kind", {"type": "enum", "name": "Kind", "symbols": ["view", "click"]}),
    ("value", ["null", "double"]),
    ("id", "string"),
    ("page", ["null", "string"]),
    id={"aliases": ["outcome_id"]},
)
SHOWN = schema(
    "Shown",
    ("policy", "string"),
    ("arm", "string"),
    ("action_id", "string"),
    ("segment", "string"),
    ("propensity", "float"),
    ("decided_at_ms", MICROS),
    ("context", {"type": "map", "values": ["null", "long", "string"]}),
)
JSON_OBJECT = '{"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}'
# A second version, under an id of its own.
CLICKED_LATER = json.dumps({**json.loads(CLICKED), "doc": "with a note"})


class Shop(NamedTuple):
    """A producer with a registry, and a worker that reads it."""

    client: Client
    worker: Worker
    front: Front
    registry: SchemaRegistryClient
    environment: dict[str, str]
    place: Place
    metrics_port: int

    async def waiting(self) -> list[str]:
        """Give the partitions that wait for the registry, as Prometheus reads them."""
        async with httpx.AsyncClient() as prometheus:
            text = (await prometheus.get(f"http://127.0.0.1:{self.metrics_port}/metrics")).text
        return re.findall(r'^pipeline_waits_for_registry\{partition="(\d+)"\} 1\.0$', text, re.MULTILINE)

    async def send(self, topic: str, text: str, record: dict[str, Any]) -> bytes:
        """Send a record as Confluent's serializer writes it."""
        serialize = AvroSerializer(self.registry, text)
        context = SerializationContext(topic, MessageField.VALUE)
        raw: bytes = await asyncio.to_thread(serialize, record, context)
        action_id = record["action_id"]
        await self.client.send(topic, partition_of(action_id, PARTITIONS), raw, action_id.encode())
        return raw

    async def credited(self) -> set[str]:
        records = [avro.decode_as("reward", record.value) for record in await self.client.read(REWARDS)]
        return {record["action_id"] for record in records if record["reward"] == 2**15}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(kafka: LocalKafka, kafka_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    issued = issue(folder / "certificates", "127.0.0.1")
    (folder / "password").write_text(f"{PASSWORD}\n")
    place = await asyncio.to_thread(on_kafka, kafka, "registry", PARTITIONS)
    with running_registry(kafka_cache, folder / "registry.log") as registry:
        async with front_of(registry, USERNAME, PASSWORD, issued) as (front, address):
            settings = {
                "url": address,
                "basic.auth.user.info": f"{USERNAME}:{PASSWORD}",
                "ssl.ca.location": str(issued.authority),
            }
            environment = {
                "PIPELINE_REGISTRY": address,
                "PIPELINE_REGISTRY_USERNAME": USERNAME,
                "PIPELINE_REGISTRY_PASSWORD_FILE": str(folder / "password"),
                "PIPELINE_REGISTRY_CA_FILE": str(issued.authority),
            }
            async with Client(place.broker, app_id=place.app_id, partitions=PARTITIONS) as client:
                await client.apply(HOMEPAGE)
                (port,) = free_ports(1)
                with place.worker(folder, environment=environment, metrics_port=str(port)) as worker:
                    client.watch(worker)
                    yield Shop(client, worker, front, SchemaRegistryClient(settings), environment, place, port)
                    assert worker.is_running
                assert PASSWORD not in worker.log.read_text()


async def test_decisions_and_outcomes_by_their_producer_s_own_schemas_meet(shop: Shop) -> None:
    at_ms = now_ms()
    context = {"visits": 3, "x": None}
    shown = {**plain_decision("avro", 0, propensity=0.5), "decided_at_ms": 1_000 * at_ms, "context": context}
    raw = await shop.send(DECISIONS, SHOWN, shown)
    click = {"id": "o-1", "action_id": "avro", "kind": "click", "value": None, "page": "home"}
    await shop.send(OUTCOMES, CLICKED, {**click, "occurred_at_ms": 1_000 * at_ms + 999})

    async def is_credited() -> bool:
        return "avro" in await shop.credited()

    await shop.client.until(is_credited, what="the click to be credited")
    assert await shop.client.dead_letters() == []
    ledger = [avro.decode_as("reward", record.value) for record in await shop.client.read(REWARDS)]
    last = next(record for record in ledger if record["action_id"] == "avro")
    # Nobody needs the registry to read what the ledger says.
    assert last["decision"] != raw
    decided = read_accepted(last["decision"])
    assert (decided.decided_at_ms, decided.context) == (at_ms, {"visits": 3.0})


async def test_while_the_registry_is_away_what_needs_it_waits_and_what_does_not_goes_on(shop: Shop) -> None:
    names = [name for name in (f"away-{n}" for n in range(100)) if partition_of(name, PARTITIONS) == 0]
    waits, (elsewhere,) = names[0], [n for n in (f"on-{n}" for n in range(100)) if partition_of(n, PARTITIONS) == 1][:1]
    at_ms = now_ms()
    await shop.client.decide([plain_decision(waits, at_ms), plain_decision(elsewhere, at_ms)])
    await shop.client.quiet()
    # Registered while it is there, asked for while it is not: another id than any that the worker knows.
    serialize = AvroSerializer(shop.registry, CLICKED_LATER)
    click = {"id": "o-2", "action_id": waits, "kind": "click", "value": 1.0, "page": None}
    click["occurred_at_ms"] = 1_000 * at_ms
    raw = await asyncio.to_thread(serialize, click, SerializationContext(OUTCOMES, MessageField.VALUE))
    shop.front.is_away = True
    await shop.client.send(OUTCOMES, 0, raw, waits.encode())

    async def is_asked_again() -> bool:
        return shop.front.turned_away >= 2

    await shop.client.until(is_asked_again, what="the registry to be asked again")
    await shop.client.observe([plain_outcome(elsewhere, at_ms)])

    async def is_elsewhere_credited() -> bool:
        return elsewhere in await shop.credited()

    await shop.client.until(is_elsewhere_credited, what="the other partition to go on")
    assert waits not in await shop.credited()
    assert await shop.client.dead_letters() == []
    assert await shop.waiting() == ["0"]
    shop.front.is_away = False

    async def is_credited() -> bool:
        return waits in await shop.credited()

    await shop.client.until(is_credited, what="what has waited to be credited")
    assert await shop.waiting() == []


async def test_json_is_read_protobuf_and_unknown_ids_are_named(shop: Shop) -> None:
    at_ms = now_ms()
    proto = 'syntax = "proto3"; message Clicked { string action_id = 1; }'
    by_json = await asyncio.to_thread(shop.registry.register_schema, "json-value", Schema(JSON_OBJECT, "JSON"))
    by_proto = await asyncio.to_thread(shop.registry.register_schema, "proto-value", Schema(proto, "PROTOBUF"))
    await shop.client.decide([plain_decision("json", at_ms)])
    click = json.dumps(plain_outcome("json", at_ms)).encode()
    for schema_id, body in ((by_json, click), (by_proto, b"\0\x0a\x01x"), (99_999, b"\x02x")):
        await shop.client.send(OUTCOMES, partition_of("json", PARTITIONS), b"\0" + schema_id.to_bytes(4, "big") + body)

    async def is_credited() -> bool:
        return "json" in await shop.credited()

    await shop.client.until(is_credited, what="the JSON click to be credited")
    await shop.client.quiet()
    found = {letter["reason"]: letter["detail"] for letter in await shop.client.dead_letters()}
    assert found.keys() == {"unsupported-schema", "unknown-fingerprint"}
    assert "Protobuf" in found["unsupported-schema"]
    assert "99999" in found["unknown-fingerprint"]


async def test_a_recount_from_the_events_asks_the_registry_and_comes_to_the_same(shop: Shop, tmp_path: Path) -> None:
    await shop.client.quiet()
    counted = (await shop.client.snapshots("homepage"))[-1]
    command = ["replay", "--policy", "homepage", "--into", "2", "--work-dir", str(tmp_path), "--json"]
    await pipeline(shop.place, *command, environment=shop.environment)
    await pipeline(shop.place, "replay", "promote", "homepage", "2")

    async def is_promoted() -> bool:
        return bool((await shop.client.snapshots("homepage"))[-1]["generation"] == 2)

    await shop.client.until(is_promoted, what="the replayed generation to be published")
    last = (await shop.client.snapshots("homepage"))[-1]
    assert counts(last) == counts(counted)
    assert "equal" in await pipeline(shop.place, "verify", "--policy", "homepage", environment=shop.environment)


def counts(snapshot: dict[str, Any]) -> dict[str, Any]:
    return {s["segment"]: (s["arms"], s["counts"], s["reward_sums"]) for s in snapshot["segments"]}


async def test_the_doctor_says_whether_the_registry_answers_and_takes_the_credentials(shop: Shop) -> None:
    async def seen(**changed: str) -> tuple[str, str]:
        found = await pipeline(
            shop.place, "doctor", "--json", environment={**shop.environment, **changed}, codes=(0, 1)
        )
        (finding,) = [each for each in json.loads(found)["findings"] if each["what"].startswith("registry ")]
        return finding["status"], finding["seen"]

    assert await seen() == ("ok", "answers, and takes these credentials")
    status, said = await seen(PIPELINE_REGISTRY_USERNAME="nobody")
    assert (status, "refuses the credentials (HTTP 401)" in said) == ("fail", True)
    shop.front.is_away = True
    try:
        status, said = await seen()
    finally:
        shop.front.is_away = False
    assert (status, "does not answer" in said) == ("fail", True)


async def test_a_registry_that_refuses_the_credentials_is_refused_at_start(shop: Shop) -> None:
    others = {**shop.environment, "PIPELINE_REGISTRY_USERNAME": "nobody"}
    with pytest.raises(AssertionError, match="refuses the credentials") as told:
        await pipeline(shop.place, "worker", "--state-dir", "unused", environment=others)
    assert PASSWORD not in str(told.value)
