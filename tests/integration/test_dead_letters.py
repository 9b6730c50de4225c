"""A record that was refused is looked at, sent again after the fix, and counts once however often it is sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import pytest_asyncio
from click.testing import CliRunner, Result

from pipeline.brokers import default_cache_dir, running_broker
from pipeline.cli import cli
from pipeline.errors import ConfigError
from pipeline.stream.log.topics import DECISIONS, REWARDS
from tests.harness.client import Client, partition_of
from tests.harness.worker import Worker
from tests.samples import define, plain_decision, plain_outcome, plain_policy

pytestmark = pytest.mark.asyncio(loop_scope="module")

PARTITIONS = 4
CLICK = {"kind": "click", "worth": 1.0, "window": "2h"}
HOMEPAGE = define(plain_policy(settle="optimistic", outcomes=(CLICK,), grace="1h"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    """A client of a worker that knows no policy, on a broker of their own: a worker reads every record of it."""
    folder = tmp_path_factory.mktemp("worker")
    with running_broker("embedded", cache_dir=default_cache_dir()) as broker:
        async with Client(broker.bootstrap_servers, partitions=PARTITIONS) as client:
            with Worker(broker.bootstrap_servers, folder) as worker:
                client.watch(worker)
                yield client
            assert worker.exit_code == 0


async def invoke(client: Client, *arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, cli, arguments, env={"PIPELINE_BROKER": client.broker})


async def run(client: Client, *arguments: str) -> bytes:
    """Run a command of `pipeline`; return what it prints."""
    result = await invoke(client, *arguments)
    assert result.exit_code == 0, (arguments, result.output, result.exception)
    return result.stdout_bytes


async def asked(client: Client, *arguments: str) -> Any:
    return orjson.loads(await run(client, *arguments, "--json"))


async def letters(client: Client, reason: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await asked(client, "dead-letters", "list", "--reason", reason)
    return found


async def newest(client: Client) -> dict[str, Any]:
    return (await client.snapshots("homepage"))[-1]


async def test_a_letter_is_listed_and_shown_with_its_bytes(client: Client) -> None:
    raw = b"\x8f no record"
    offset = await client.send(DECISIONS, 3, raw, b"its key")
    (letter,) = await client.until(lambda: letters(client, "not-decodable"), what="the dead letter")
    source = f"decisions/3/{offset}"
    assert (letter["source"], letter["record_key"], letter["replayed_at_ms"]) == (source, "its key", None)

    assert [letter] == await asked(client, "dead-letters", "list", "--source", "decisions", "--since", "2020-01-01")
    for elsewhere in (["--source", "outcomes"], ["--until", "2020-01-01T00:00:00Z"], ["--until", "1577836800000"]):
        assert await asked(client, "dead-letters", "list", *elsewhere) == []
    assert source in (await run(client, "dead-letters", "list")).decode()

    assert await run(client, "dead-letters", "show", source, "--raw") == raw
    shown = await asked(client, "dead-letters", "show", source)
    assert (shown["encoding"], shown["content"], shown["bytes"]) == ("hex", raw.hex(), len(raw))
    assert shown["cure"].startswith("mend the producer")
    assert raw.hex() in (await run(client, "dead-letters", "show", source)).decode()
    missing = await invoke(client, "dead-letters", "show", "decisions/3/999")
    assert isinstance(missing.exception, ConfigError)


async def test_a_refused_decision_counts_after_the_fix_and_a_second_replay_changes_nothing(client: Client) -> None:
    # The spaces are the producer's own: what is replayed is its bytes, not what they say.
    shown_ms = round(time.time() * 1000) - 10_000
    raw = orjson.dumps(plain_decision("x", shown_ms, arm="b")).replace(b",", b" , ")
    partition = partition_of("x", PARTITIONS)
    source = f"decisions/{partition}/{await client.send(DECISIONS, partition, raw, b'x')}"
    await client.observe([plain_outcome("x", shown_ms + 1_000)])
    await client.until(lambda: letters(client, "unknown-policy"), what="the dead letter")

    async def sent() -> list[tuple[int, bytes, bytes]]:
        found = await client.read(DECISIONS)
        return [(record.partition, record.key, record.value) for record in found if record.key == b"x"]

    async def replay(*options: str) -> tuple[list[str], list[str]]:
        done = await asked(client, "dead-letters", "replay", "--reason", "unknown-policy", *options)
        return done["to_send"], done["already_replayed"]

    await client.apply(HOMEPAGE)
    # A snapshot of nothing yet: the worker knows the policy.
    await client.until(lambda: client.snapshots("homepage"), what="the first snapshot")

    assert await replay("--dry-run") == ([source], [])
    assert len(await sent()) == 1
    assert await replay() == ([source], [])

    async def is_credited() -> bool:
        counts = {s["segment"]: (s["counts"], s["reward_sums"]) for s in (await newest(client))["segments"]}
        # Arms a and b; one click is worth 1, 2^15 on the grid.
        return bool(counts["other"] == ([0, 1], [0, 2**15]))

    await client.until(is_credited, what="the decision and its click to count")
    await client.quiet()
    posterior = (await newest(client))["posterior_sha256"]
    ledger = [record.value for record in await client.read(REWARDS)]

    assert await replay() == ([], [source])
    assert len(await sent()) == 2
    assert (await letters(client, "unknown-policy"))[0]["replayed_at_ms"] is not None

    assert await replay("--again") == ([source], [])
    # Produced, replayed, replayed again: the same bytes under the same key in the same partition.
    assert await sent() == [(partition, b"x", raw)] * 3
    await client.quiet()
    assert [record.value for record in await client.read(REWARDS)] == ledger
    assert len(await letters(client, "unknown-policy")) == 1
    assert (await newest(client))["posterior_sha256"] == posterior

    versions = ("1", str((await newest(client))["version"]))
    changed = await asked(client, "snapshot", "diff", "homepage", *versions)
    (count,) = changed["counts"]
    assert (count["segment"], count["arm"]) == ("other", "b")
    assert count["after"] == {"count": 1, "reward_sum": 1.0, "mean": 1.0}
    assert [move["partition"] for move in changed["offsets"]] == [partition]
    in_words = (await run(client, "snapshot", "diff", "homepage", *versions)).decode()
    assert "0 → 1" in in_words
    assert "definition: the same" in in_words
