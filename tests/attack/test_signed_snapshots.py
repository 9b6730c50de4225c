"""Signatures from end to end, by the command lines: a worker signs, a node takes what is signed and nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import httpx
import msgspec
import pytest

from pipeline.brokers import default_cache_dir, running_broker
from pipeline.codec import avro
from pipeline.stream.log.outbox import Outbox, Record
from pipeline.stream.log.topics import SNAPSHOTS
from tests.harness.client import Client
from tests.harness.node import Node
from tests.harness.poison import now_ms
from tests.harness.worker import Worker
from tests.samples import define, plain_decision, plain_policy

pytestmark = pytest.mark.attack
HOMEPAGE = define(plain_policy(settle="optimistic", publish={"interval": "100ms"}))


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """A private key and its public one, made as the command's help says."""
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    return private, public


async def test_what_the_worker_signs_goes_live_and_is_kept_and_what_nobody_signed_never_does(
    tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    (private, public), kept = keys, tmp_path / "kept"
    options = "--snapshot-keys", str(public), "--snapshot-dir", str(kept)
    with running_broker("embedded", cache_dir=default_cache_dir()) as broker:
        async with Client(broker.bootstrap_servers) as client:
            await client.apply(HOMEPAGE)
            with Worker(broker.bootstrap_servers, tmp_path, snapshot_signing_key=str(private)) as worker:
                client.watch(worker)
                await client.decide(plain_decision(f"x{number}", now_ms()) for number in range(20))
                await client.until(lambda: client.snapshots("homepage"), what="a snapshot")
                node = Node(broker.bootstrap_servers, tmp_path / "node", *options)
                with node:
                    await client.until(lambda: version_of(node), what="a signed snapshot in use")
                    last = (await client.published(SNAPSHOTS))[-1].content
                    await forge(broker.bootstrap_servers, last)

                    async def is_refused() -> bool:
                        return "snapshot-refused" in node.log.read_text()

                    await client.until(is_refused, what="the forged record refused")
                    live = await version_of(node) or 0
                    await client.decide(plain_decision(f"y{number}", now_ms()) for number in range(20))

                    async def is_later() -> bool:
                        return (await version_of(node) or 0) > live

                    await client.until(is_later, what="the next signed snapshot in use, over a forged record")

                    async def is_kept() -> bool:
                        return any(version_in(file) >= live for file in kept.glob("*.snapshot"))

                    await client.until(is_kept, what="the live snapshot on the node's disk")
    assert kept.stat().st_mode & 0o777 == 0o700
    # Nobody is there to be asked any more.
    alone = Node("127.0.0.1:9", tmp_path / "alone", *options)
    with alone:
        assert (await version_of(alone) or 0) >= live


async def version_of(node: Node) -> int | None:
    async with httpx.AsyncClient(base_url=node.url) as client:
        answer = await client.post("/v1/policies/homepage/decide", json={})
    return answer.json()["snapshot_version"] or None if answer.status_code == 200 else None


def version_in(file: Path) -> int:
    """Read a kept snapshot's version: behind its hash stands [format, policy, record, …]."""
    _, _, record, *_ = msgspec.msgpack.decode(file.read_bytes()[32:])
    return int(avro.decode_as("snapshot", record)["version"])


async def forge(broker: str, content: bytes) -> None:
    """Write what was published once more, by somebody without the key."""
    outbox = Outbox(broker)
    await outbox.start()
    try:
        await outbox.deliver([Record(SNAPSHOTS, number, b"homepage", content) for number in range(4)])
    finally:
        await outbox.stop()
