"""Rolling back, pinning and letting go, with real workers: what is published, and who follows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from pipeline.brokers import default_cache_dir, running_broker
from pipeline.brokers.local_kafka import LocalKafka
from pipeline.cli import cli
from pipeline.codec import avro
from pipeline.codec.wire import decode_event
from pipeline.errors import ConfigError, UnavailableError
from pipeline.events import Decision
from pipeline.publish.snapshot import snapshot_id
from pipeline.serve.decision.decide import Decided
from pipeline.serve.node import ServingNode
from pipeline.serve.settings import ServeSettings
from pipeline.stream.log.topics import DECISIONS, SNAPSHOT_HISTORY
from tests.harness.client import Client
from tests.harness.poison import now_ms
from tests.harness.topics import make_topics
from tests.harness.worker import Worker
from tests.samples import define, plain_decision, plain_policy

Fields = Mapping[str, Any]
SALT = "0123456789abcdef"
POLICY = plain_policy(settle="optimistic", grace="1h", publish={"interval": "20ms"})
"""Counts a decision as soon as it is read."""


class Loop:
    """A broker with a worker; commands are given to it as an operator gives them."""

    def __init__(self, client: Client, worker: Worker) -> None:
        self.client = client
        self.worker = worker
        self.decided = 0

    async def learn(self, count: int = 1) -> None:
        """Decide `count` times for arm a."""
        ids = range(self.decided, self.decided + count)
        await self.client.decide(plain_decision(f"x{number}", now_ms() + number) for number in ids)
        self.decided += count

    async def published(self, expected: Mapping[str, Any], *, what: str) -> Fields:
        """Wait for the newest snapshot to be so, its `count` being that of all decisions; return it."""

        async def newest() -> Fields | None:
            found = await self.versions()
            return found[-1] if found and expected.items() <= found[-1].items() else None

        seen: Fields | None = await self.client.until(newest, what=what)
        assert seen is not None
        return seen

    async def versions(self) -> list[Fields]:
        """All published snapshots, each with its count and id."""
        # A worker that was started again sends the last one once more.
        contents = dict.fromkeys(record.value for record in await self.client.read(SNAPSHOT_HISTORY))
        found = [(avro.decode_as("snapshot", content), snapshot_id(content)) for content in contents]
        return [{**one, "count": sum(sum(part["counts"]) for part in one["segments"]), "id": id_} for one, id_ in found]

    async def invoke(self, *arguments: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, cli, arguments, env={"PIPELINE_BROKER": self.client.broker})

    async def run(self, *arguments: str) -> str:
        result = await self.invoke("snapshot", *arguments)
        assert result.exit_code == 0, (arguments, result.output, result.exception)
        return result.stdout

    async def asked(self, *arguments: str) -> Any:
        return orjson.loads(await self.run(*arguments, "--json"))


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Loop]:
    with running_broker("embedded", cache_dir=default_cache_dir()) as broker:
        async with Client(broker.bootstrap_servers) as client:
            await client.apply(define(POLICY))
            with Worker(broker.bootstrap_servers, folder) as worker:
                client.watch(worker)
                yield Loop(client, worker)


async def test_a_rollback_is_published_at_once_and_held_while_learning_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path) as loop:
        await loop.learn(2)
        old = await loop.published({"count": 2}, what="two decisions")
        await loop.learn(3)
        new = await loop.published({"count": 5}, what="five decisions")

        told = await loop.asked("rollback", "homepage", "--to", str(old["version"]))
        again = (await loop.versions())[-1]
        assert told["published_version"] == again["version"] == new["version"] + 1
        own = {"version", "parent", "rollback_of", "id"}
        assert {name: again[name] for name in again.keys() - own} == {name: old[name] for name in old.keys() - own}
        assert (again["parent"], again["rollback_of"]) == (new["id"], old["version"])

        # Killed and without a disk: what the changelog says is held too.
        await loop.learn(4)
        await loop.client.quiet()
        loop.worker.kill()
        loop.worker.start()
        await loop.learn(1)
        await loop.client.quiet()
        assert max(one["version"] for one in await loop.versions()) == again["version"]
        rows = await loop.asked("list", "--policy", "homepage")
        assert [(row["version"], row["rollback_of"], row["is_held"]) for row in rows[-2:]] == [
            (new["version"], 0, False),
            (again["version"], old["version"], True),
        ]

        told = await loop.asked("unpin", "homepage")
        # 2 + 3 decisions before, 4 + 1 beside it.
        last = await loop.published({"count": 10}, what="what was learned meanwhile")
        assert told["published_version"] == again["version"] + 1 <= last["version"]
        assert await loop.asked("unpin", "homepage") == told | {"is_given": False, "published_version": None}

        for version in (old["version"], again["version"], last["version"]):
            verified = await loop.invoke("verify", "--policy", "homepage", "--version", str(version))
            assert (verified.exit_code, verified.stdout[:6]) == (0, "equal:")
        words = await loop.run("diff", "homepage", str(new["version"]), str(again["version"]))
        assert f"version {again['version']} is the content of version {old['version']}, published again" in words


async def test_a_pin_holds_the_present_version(tmp_path: Path) -> None:
    async with running(tmp_path) as loop:
        await loop.learn(2)
        present = await loop.published({"count": 2}, what="two decisions")
        assert (await loop.asked("pin", "homepage"))["version"] == present["version"]
        await loop.client.until(lambda: said(loop.worker, "directive-obeyed"), what="the worker to know")
        await loop.learn(3)
        await loop.client.quiet()
        (row,) = [row for row in await loop.asked("list") if row["is_held"]]
        assert (row["version"], row["count"]) == (present["version"], 2)
        assert (await loop.asked("pin", "homepage"))["is_given"] is False
        shown = await loop.invoke("policy", "show", "homepage")
        assert ", held" in shown.stdout
        told = await loop.asked("unpin", "homepage")
        assert told["published_version"] == present["version"] + 1
        await loop.published({"count": 5}, what="what was learned meanwhile")


async def test_a_dry_run_says_what_would_change_and_changes_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as loop:
        await loop.learn(2)
        old = await loop.published({"count": 2}, what="two decisions")
        await loop.client.apply(define(POLICY | {"arms": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}))
        new = await loop.published({"version": old["version"] + 1}, what="the new definition")
        words = await loop.run("rollback", "homepage", "--to", str(old["version"]), "--dry-run")
        assert f"from version {new['version']} to {old['version']}:" in words
        assert "arm c: gone" in words
        for command in (("rollback", "homepage", "--to", "1"), ("pin", "homepage"), ("unpin", "homepage")):
            assert (await loop.asked(*command, "--dry-run"))["is_given"] is False
        await loop.learn(1)
        await loop.published({"count": 3}, what="learning to go on")


async def test_what_can_not_be_rolled_back_to_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as loop:
        await loop.published({"version": 1}, what="the first snapshot")
        for arguments, fault in (
            (("rollback", "homepage", "--to", "9"), "no version 9; held are: 1 to 1"),
            (("pin", "other"), "policy 'other' has none"),
            (("unpin", "other"), "'other' is not applied"),
        ):
            refused = await loop.invoke("snapshot", *arguments)
            assert isinstance(refused.exception, ConfigError)
            assert fault in " ".join(refused.exception.faults)


async def test_a_directive_that_no_worker_acts_on_is_said_to_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.cli.directives.OBEYED_WITHIN_S", 0.5)
    async with running(tmp_path) as loop:
        await loop.published({"version": 1}, what="the first snapshot")
        loop.worker.kill()
        waiting = await loop.invoke("snapshot", "rollback", "homepage", "--to", "1")
        assert isinstance(waiting.exception, UnavailableError)
        assert "no worker is running" in str(waiting.exception)
        loop.worker.start()
        await loop.published({"version": 2, "rollback_of": 1}, what="the worker to act on it")


async def said(worker: Worker, event: str) -> bool:
    return event in worker.log.read_text("utf-8")


@pytest.mark.kafka
async def test_serving_nodes_follow_a_rollback_under_load(kafka: LocalKafka, tmp_path: Path) -> None:
    """Nodes decide all the while; from the moment that both have switched, only the new version decides."""
    servers, app_id = kafka.bootstrap_servers, "rollback"
    await make_topics(servers, app_id, 3)
    async with Client(servers, app_id=app_id, partitions=3) as client:
        await client.apply(define(POLICY))
        with Worker(servers, tmp_path, app_id=app_id, partitions=3) as worker:
            client.watch(worker)
            loop = Loop(client, worker)
            nodes = [ServingNode(ServeSettings(servers, SALT, port=0)) for _ in range(2)]
            async with asyncio.timeout(240), nodes[0], nodes[1]:
                await asyncio.gather(*(node.wait_ready("homepage") for node in nodes))
                load = asyncio.create_task(decide_all_the_while(nodes))
                try:
                    await asyncio.gather(*(node.wait_ready("homepage", 5) for node in nodes))
                    told = await loop.asked("rollback", "homepage", "--to", "2")
                    version = told["published_version"]
                    await asyncio.gather(*(node.wait_ready("homepage", version) for node in nodes))
                    after = [await node.decide("homepage", {}) for node in nodes for _ in range(100)]
                    held = [await node.wait_ready("homepage") for node in nodes]
                    done = await loop.asked("unpin", "homepage")
                    await asyncio.gather(*(node.wait_ready("homepage", version + 1) for node in nodes))
                finally:
                    load.cancel()
                await asyncio.gather(*(node.flush() for node in nodes))
            assert all(isinstance(answer, Decided) for answer in after)
            assert {answer.snapshot_version for answer in after if isinstance(answer, Decided)} == {version}
            assert done["published_version"] == version + 1
            await client.quiet()
            assert_lineage(await loop.versions(), version)
            decisions = {
                decision.action_id: decision
                for decision in (decode_event(one.value, "decision", {}) for one in await client.read(DECISIONS))
                if isinstance(decision, Decision)
            }
            logged = [decisions[answer.decision.action_id] for answer in after if isinstance(answer, Decided)]
            assert {(one.snapshot_version, one.snapshot_id) for one in logged} == {(version, held[0].id)}
            verified = await loop.invoke("verify", "--policy", "homepage", "--version", str(version))
            assert verified.exit_code == 0, verified.output


async def decide_all_the_while(nodes: list[ServingNode]) -> None:
    while True:
        for node in nodes:
            await node.decide("homepage", {})
        await asyncio.sleep(0.002)


def assert_lineage(versions: list[Fields], rolled_back: int) -> None:
    assert [one["version"] for one in versions] == list(range(1, len(versions) + 1))
    assert [one["parent"] for one in versions] == ["", *(one["id"] for one in versions[:-1])]
    assert [one["version"] for one in versions if one["rollback_of"]] == [rolled_back]
    by_version = {one["version"]: one for one in versions}
    assert by_version[rolled_back]["posterior_sha256"] == by_version[2]["posterior_sha256"]
