"""The `policies` topic as compaction leaves it: every generation with actions in flight must still be known."""

from __future__ import annotations

import pytest

from pipeline.brokers import default_cache_dir, running_broker
from pipeline.cli import control as command
from pipeline.cli.directives import read_book
from pipeline.codec import avro
from pipeline.errors import ConfigError
from pipeline.policy.canonical import to_canonical_json
from pipeline.policy.definition import PolicyDefinition
from pipeline.stream.log.outbox import Outbox
from pipeline.stream.log.topics import POLICIES
from tests.harness.client import Client
from tests.samples import define, plain_policy


async def test_compaction_keeps_the_last_definition_of_every_generation():
    definitions = [
        plain_policy(generation=1),
        plain_policy(generation=1, exploration={"floor": 0.1}),
        plain_policy(generation=2),
    ]
    with running_broker("embedded", cache_dir=default_cache_dir()) as broker:
        async with Client(broker.bootstrap_servers) as client:
            for plain in definitions:
                await client.apply(define(plain))
            kept = {record.key: avro.decode_as("policy", record.value) for record in await client.read(POLICIES)}
    # A compacted topic holds the last record of each key, and an action of generation 1 may settle a month later.
    assert sorted(record["generation"] for record in kept.values()) == [1, 2]


async def test_a_definition_that_may_not_follow_is_not_written():
    with running_broker("embedded", cache_dir=default_cache_dir()) as broker:
        async with Client(broker.bootstrap_servers) as client:
            await client.apply(define(plain_policy(generation=2)))
            with pytest.raises(ConfigError, match="generation"):
                await client.apply(define(plain_policy(generation=1)))
            assert len(await client.read(POLICIES)) == 1


async def test_of_two_definitions_applied_at_once_the_one_that_may_not_follow_is_written_over(monkeypatch):
    first = define(plain_policy(generation=2))
    second = define(plain_policy(generation=2, attribution={"settle": "wait", "grace": "7s"}))
    with running_broker("embedded", cache_dir=default_cache_dir()) as broker:
        async with Client(broker.bootstrap_servers) as client:
            await client.apply(define(plain_policy()))
            put = command._put

            async def overtaken(outbox: Outbox, definition: PolicyDefinition, follows: str | None) -> None:
                """Between another's look at `policies` and what it writes, this one is applied."""
                monkeypatch.setattr(command, "_put", put)
                await put(outbox, first, follows)
                await put(outbox, definition, follows)

            monkeypatch.setattr(command, "_put", overtaken)
            with pytest.raises(ConfigError, match="applied at the same time"):
                await client.apply(second)
            book = await read_book(broker.bootstrap_servers)
            assert book.latest("homepage") == first
            # What compaction would leave is what is in force.
            kept = {record.key: avro.decode_as("policy", record.value) for record in await client.read(POLICIES)}
    assert kept[b"homepage/2"]["definition"] == to_canonical_json(first).decode()
