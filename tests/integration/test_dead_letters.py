"""A record that was refused is sent again after the fix, and counts once however often it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from pipeline.brokers import Broker, default_cache_dir, running_broker
from pipeline.cli import cli
from pipeline.stream.topics import DEAD_LETTERS, DECISIONS, REWARDS
from tests.harness.client import Client, partition_of
from tests.harness.worker import Worker
from tests.samples import define, plain_decision, plain_outcome, plain_policy

CLICK = {"kind": "click", "worth": 1.0, "window": "2h"}
HOMEPAGE = define(plain_policy(settle="optimistic", outcomes=(CLICK,), grace="1h"))
PARTITIONS = 4


@pytest.fixture
def broker() -> Iterator[Broker]:
    """One of this test's own: a worker reads every record of it."""
    with running_broker("embedded", cache_dir=default_cache_dir()) as own:
        yield own


async def run(broker: str, *arguments: str) -> bytes:
    """Run a command of `pipeline`; return what it prints."""
    result = await asyncio.to_thread(CliRunner().invoke, cli, arguments, env={"PIPELINE_BROKER": broker})
    assert result.exit_code == 0, (arguments, result.output, result.exception)
    return result.stdout_bytes


async def asked(broker: str, *arguments: str) -> Any:
    return orjson.loads(await run(broker, *arguments, "--json"))


async def test_a_refused_decision_is_credited_after_the_fix_and_a_second_replay_changes_nothing(
    broker: Broker, tmp_path: Path
) -> None:
    address = broker.bootstrap_servers
    # The spaces are the producer's own: what is replayed is the bytes, not what they say.
    raw = orjson.dumps(plain_decision("x", 1_000, arm="b")).replace(b",", b" , ")
    source = f"decisions/{partition_of('x', PARTITIONS)}/0"
    async with Client(address) as client:
        with Worker(address, tmp_path) as worker:
            client.watch(worker)
            await client.send(DECISIONS, partition_of("x", PARTITIONS), raw, b"x")
            await client.observe([plain_outcome("x", 2_000)])
            await client.until(lambda: client.read(DEAD_LETTERS), what="the dead letter")

            (letter,) = await asked(address, "dead-letters", "list", "--reason", "unknown-policy")
            assert (letter["source"], letter["record_key"], letter["replayed_at_ms"]) == (source, "x", None)
            assert await asked(address, "dead-letters", "list", "--reason", "unknown-arm") == []
            assert await asked(address, "dead-letters", "list", "--until", "2020-01-01") == []
            assert await run(address, "dead-letters", "show", source, "--raw") == raw
            shown = await asked(address, "dead-letters", "show", source)
            assert (shown["encoding"], shown["content"]) == ("json", orjson.loads(raw))
            assert b"homepage" in await run(address, "dead-letters", "show", source)

            await client.apply(HOMEPAGE)
            # A snapshot of nothing yet: the worker knows the policy.
            await client.until(lambda: client.snapshots("homepage"), what="the first snapshot")

            planned = await asked(address, "dead-letters", "replay", "--dry-run")
            assert (planned["dry_run"], planned["to_send"]) == (True, [source])
            assert len(await client.read(DECISIONS)) == 1

            done = await asked(address, "dead-letters", "replay", "--reason", "unknown-policy")
            assert done["to_send"] == [source]

            async def credited() -> dict[str, Any] | None:
                last = (await client.snapshots("homepage"))[-1]
                counts = {s["segment"]: (s["counts"], s["reward_sums"]) for s in last["segments"]}
                # Arms a and b; one click is worth 1, 2^15 on the grid.
                return last if counts["other"] == ([0, 1], [0, 2**15]) else None

            last = await client.until(credited, what="the decision and its click to count")
            await client.quiet()
            ledger = [record.value for record in await client.read(REWARDS)]

            passed_over = await asked(address, "dead-letters", "replay")
            assert (passed_over["to_send"], passed_over["already_replayed"]) == ([], [source])
            assert len(await client.read(DECISIONS)) == 2
            (letter,) = await asked(address, "dead-letters", "list")
            assert letter["replayed_at_ms"] is not None

            again = await asked(address, "dead-letters", "replay", "--again")
            assert again["to_send"] == [source]
            await client.quiet()
            # Once refused, twice replayed: the same key and bytes, in the same partition.
            sent = {(record.partition, record.key, record.value) for record in await client.read(DECISIONS)}
            assert sent == {(partition_of("x", PARTITIONS), b"x", raw)}
            assert len(await client.read(DECISIONS)) == 3
            assert [record.value for record in await client.read(REWARDS)] == ledger
            assert len(await asked(address, "dead-letters", "list")) == 1
            newest = (await client.snapshots("homepage"))[-1]
            assert newest["posterior_sha256"] == last["posterior_sha256"]

            changed = await asked(address, "snapshot", "diff", "homepage", "1", str(last["version"]))
            (tally,) = changed["tallies"]
            assert (tally["segment"], tally["arm"]) == ("other", "b")
            assert tally["after"] == {"count": 1, "reward_sum": 1.0, "mean": 1.0}
            assert [move["partition"] for move in changed["offsets"]] == [partition_of("x", PARTITIONS)]
            in_words = await run(address, "snapshot", "diff", "homepage", "1", str(last["version"]))
            assert "0 → 1" in in_words.decode()
            assert "definition: the same" in in_words.decode()
