"""A record that can't be used: one dead letter with its reason and its bytes, and the partition goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import orjson
import pytest
import pytest_asyncio

from pipeline.brokers import default_cache_dir, running_broker
from pipeline.codec import avro
from pipeline.codec.wire import MAX_RECORD_BYTES, decode_event
from pipeline.events import Decision
from pipeline.join.dead_letter import BEGINNING_BYTES
from pipeline.stream.log.topics import DECISIONS, OUTCOMES, REWARDS
from tests.harness.client import Client, partition_of
from tests.harness.poison import ALONE, UNDECODABLE, decision, now_ms
from tests.harness.worker import Worker
from tests.samples import define, linear_policy, plain_outcome, plain_policy
from tests.traffic import as_avro

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOUR_MS = 3_600_000
ORPHAN_HOLD_MS = HOUR_MS
CLICK = {"kind": "click", "worth": 1.0, "window": "2h"}
HOMEPAGE = define(plain_policy(settle="optimistic", outcomes=(CLICK,), grace="1h"))
LINEAR = define(linear_policy(settle="optimistic", outcomes=(CLICK,), grace="1h") | {"name": "linear"})


class Loop(NamedTuple):
    """One worker for all tests of this module."""

    client: Client
    worker: Worker


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def loop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Loop]:
    folder = tmp_path_factory.mktemp("worker")
    with running_broker("embedded", cache_dir=default_cache_dir()) as broker:
        async with Client(broker.bootstrap_servers) as client:
            for definition in (HOMEPAGE, LINEAR):
                await client.apply(definition)
            with Worker(broker.bootstrap_servers, folder, idle_after="2") as worker:
                client.watch(worker)
                yield Loop(client, worker)
                assert worker.is_running
            assert worker.exit_code == 0


@pytest.mark.parametrize("what", ALONE)
async def test_a_bad_record_is_dead_lettered_once_and_the_partition_goes_on(loop: Loop, what: str) -> None:
    topic, reason, raw = ALONE[what]()
    await assert_refused(loop.client, topic, reason, raw)


@pytest.mark.parametrize("what", UNDECODABLE)
async def test_a_sound_decision_with_a_bad_context_is_in_the_ledger_and_no_dead_letter(loop: Loop, what: str) -> None:
    reason, raw = UNDECODABLE[what]()
    event = decode_event(raw, "decision")
    assert isinstance(event, Decision)
    await loop.client.send(DECISIONS, 1, raw)
    await credited(loop.client, 1)
    rewards = [avro.decode_as("reward", record.value) for record in await loop.client.read(REWARDS)]
    (told,) = [one for one in rewards if one["action_id"] == event.action_id]
    assert (told["undecodable"], told["context_vector"]) == (reason, b"")
    assert not [letter for letter in await loop.client.dead_letters() if event.action_id.encode() in letter["raw"]]


async def test_an_outcome_of_a_kind_that_the_policy_does_not_have(loop: Loop) -> None:
    shown = decision()
    raw = orjson.dumps(plain_outcome(shown["action_id"], shown["decided_at_ms"], kind="applause"))
    await loop.client.send(DECISIONS, 1, orjson.dumps(shown))
    await credited(loop.client, 1)
    await assert_refused(loop.client, OUTCOMES, "unknown-outcome-kind", raw, partition=1)


async def test_a_decision_with_a_known_id_and_other_content(loop: Loop) -> None:
    shown = decision(arm="a")
    await loop.client.send(DECISIONS, 1, orjson.dumps(shown))
    await assert_refused(
        loop.client, DECISIONS, "conflicting-duplicate", orjson.dumps(shown | {"arm": "b"}), partition=1
    )


async def test_a_repeat_is_no_bad_record(loop: Loop) -> None:
    shown = decision()
    for raw in (orjson.dumps(shown), orjson.dumps(shown), as_avro(DECISIONS, shown)):
        await loop.client.send(DECISIONS, 1, raw)
    await credited(loop.client, 1)
    assert shown["action_id"] not in {orphan_of(letter["raw"]) for letter in await loop.client.dead_letters()}


async def test_an_outcome_whose_decision_does_not_come(loop: Loop) -> None:
    """
    an hour ago        now                in 5 s
    C occurred         read: it waits     ┤ its hour of waiting is over, which the worker's ticks say

    A decision says what time it is: where there is none, an outcome waits its hour by the wall clock.
    """
    await credited(loop.client, 2)
    occurred_ms = now_ms() - ORPHAN_HOLD_MS + 5_000
    nobody = next(name for name in map("nobody-{}".format, range(100)) if partition_of(name, 4) == 2)
    raw = orjson.dumps(plain_outcome(nobody, occurred_ms))
    offset = await loop.client.send(OUTCOMES, 2, raw)
    letter = await only_letter(loop.client, OUTCOMES, 2, offset)
    assert (letter["reason"], letter["raw"], letter["record_key"]) == ("no-decision", raw, b"key")


async def test_a_decision_that_comes_when_its_grace_is_over(loop: Loop) -> None:
    """Window 2 h and grace 1 h: a decision of more than 3 h ago can't be credited any more."""
    await credited(loop.client, 0)
    await loop.client.tick(now_ms())
    raw = orjson.dumps(decision(decided_at_ms=now_ms() - 3 * HOUR_MS - 60_000))
    await assert_refused(loop.client, DECISIONS, "too-late", raw)


async def test_a_hundred_bad_records_between_good_ones_stop_nothing(loop: Loop) -> None:
    offsets = [await loop.client.send(DECISIONS, 0, b"bad %d" % number) for number in range(100)]
    await credited(loop.client, 0)
    await only_letter(loop.client, DECISIONS, 0, offsets[-1])
    found = [letter["source_offset"] for letter in await loop.client.dead_letters() if letter["raw"][:4] == b"bad "]
    assert found == offsets


async def assert_refused(client: Client, topic: str, reason: str, raw: bytes | None, partition: int = 0) -> None:
    """Send a bad record and good ones behind it in both topics; see the one dead-lettered and the others credited."""
    offset = await client.send(topic, partition, raw)
    await credited(client, partition)
    letter = await only_letter(client, topic, partition, offset)
    assert letter["reason"] == reason
    is_cut = len(raw or b"") > MAX_RECORD_BYTES
    assert letter["raw"] == (raw or b"")[: BEGINNING_BYTES if is_cut else None]
    assert letter["raw_bytes"] == len(raw or b"")
    assert letter["record_key"] == b"key"
    assert letter["detail"]


async def credited(client: Client, partition: int) -> None:
    """Show and click something, and wait until the ledger has it: all that was sent before has been read."""
    shown = next(one for one in iter(decision, None) if partition_of(one["action_id"], 4) == partition)
    await client.send(DECISIONS, partition, orjson.dumps(shown))
    await client.send(OUTCOMES, partition, orjson.dumps(plain_outcome(shown["action_id"], shown["decided_at_ms"])))

    async def is_credited() -> bool:
        rewards = [avro.decode_as("reward", record.value) for record in await client.read(REWARDS)]
        return any(r["action_id"] == shown["action_id"] and r["reward"] == 2**15 for r in rewards)

    await client.until(is_credited, what=f"{shown['action_id']} to be credited")


async def only_letter(client: Client, topic: str, partition: int, offset: int) -> dict[str, Any]:
    """Wait for the dead letter of a record, of which there must be one only."""
    found = await client.until(
        lambda: letters(client, topic, partition, offset), what=f"a dead letter of {topic}/{partition}/{offset}"
    )
    (letter,) = found
    return letter


async def letters(client: Client, topic: str, partition: int, offset: int) -> list[dict[str, Any]]:
    where = (topic, partition, offset)
    found = await client.dead_letters()
    assert all(letter["reason"] and letter["detail"] for letter in found)
    return [one for one in found if (one["source_topic"], one["source_partition"], one["source_offset"]) == where]


def orphan_of(raw: bytes) -> str | None:
    """Return the action id in a dead letter's bytes, where they are JSON."""
    is_whole = raw[:1] == b"{" and raw[-1:] == b"}"
    return orjson.loads(raw).get("action_id") if is_whole else None
