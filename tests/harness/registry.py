"""A real schema registry with Confluent's API, from Maven's repository, and a front with TLS and passwords before it.

Apicurio Registry keeps its schemas in memory here. What it can do by itself for authentication wants an identity
provider, so a front stands before it as a gateway does in front of many.
"""

from __future__ import annotations

import asyncio
import base64
import shutil
import ssl
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from pipeline.brokers.folder import taking_turns
from pipeline.brokers.kafka_jars import find_java
from pipeline.brokers.ports import free_ports
from tests.harness.certificates import Issued

VERSION = "3.0.9"
"""The last that runs on Java 17, as Kafka 4 does."""
ARTIFACT = f"io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"
RUNNER = f"apicurio-registry-app-{VERSION}-runner.jar"
API = "/apis/ccompat/v7"
RESOLVED_WITHIN_S = 600.0
STARTED_WITHIN_S = 90.0


def registry_folder(cache_dir: Path) -> Path:
    """Return where the registry lies unpacked, fetched with Maven if it is not there yet."""
    folder = cache_dir / "registry" / VERSION
    with taking_turns(cache_dir / "registry"):
        if not (folder / RUNNER).is_file():
            maven = shutil.which("mvn")
            if maven is None:
                pytest.skip("no mvn on the path: install Apache Maven (needed once)")
            fetched = folder.with_suffix(".part")
            shutil.rmtree(fetched, ignore_errors=True)
            goal = ["dependency:copy", f"-Dartifact={ARTIFACT}", f"-DoutputDirectory={fetched}"]
            subprocess.run([maven, "--batch-mode", "--quiet", *goal], check=True, timeout=RESOLVED_WITHIN_S)
            (archive,) = fetched.glob("*.tar.gz")
            with tarfile.open(archive) as packed:
                packed.extractall(fetched, filter="data")
            archive.unlink()
            fetched.rename(folder)
    return folder


@contextmanager
def running_registry(cache_dir: Path, log: Path) -> Iterator[str]:
    """Run a registry; yield the address of its API."""
    folder = registry_folder(cache_dir)
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}{API}"
    options = ["-Xmx400m", "-XX:TieredStopAtLevel=1", "-Dquarkus.http.host=127.0.0.1", f"-Dquarkus.http.port={port}"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [find_java(), *options, "-Dapicurio.storage.kind=sql", "-Dapicurio.storage.sql.kind=h2", "-jar", RUNNER],
            cwd=folder,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline_s = time.monotonic() + STARTED_WITHIN_S
        while not _answers(f"{address}/subjects"):
            assert process.poll() is None, f"the registry ended: {log.read_text()[-2000:]}"
            assert time.monotonic() < deadline_s, f"no registry in {STARTED_WITHIN_S:.0f} s: {log.read_text()[-2000:]}"
            time.sleep(0.2)  # between two looks
        yield address
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310  of this machine
            return True
    except (urllib.error.URLError, OSError):
        return False


class Front:
    """Asks for a password over TLS, and hands on to the registry; what is away answers nobody."""

    def __init__(self, registry: str, username: str, password: str) -> None:
        self._port = int(registry.split(":")[2].split("/", maxsplit=1)[0])
        self._wanted = b"basic " + base64.b64encode(f"{username}:{password}".encode())
        self.is_away = False
        self.turned_away = 0
        """How many came while it was away."""
        self.asked: list[str] = []
        """Paths, in order."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and close."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if self.is_away:
                self.turned_away += 1
                return
            self.asked.append(head.split(b" ")[1].decode())
            said = [line.partition(b":") for line in head.split(b"\r\n")]
            headers = {name.lower(): value.strip() for name, _, value in said}
            body = await reader.readexactly(int(headers.get(b"content-length", b"0")))
            given = headers.get(b"authorization", b"")
            if given[:6].lower() + given[6:] != self._wanted:
                writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                await writer.drain()
                return
            behind, to_it = await asyncio.open_connection("127.0.0.1", self._port)
            kept = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
            to_it.write(b"\r\n".join((kept[0], b"Connection: close", *kept[1:])) + body)
            writer.write(await behind.read())
            await writer.drain()
            to_it.close()
        finally:
            writer.close()


@asynccontextmanager
async def front_of(registry: str, username: str, password: str, issued: Issued) -> AsyncIterator[tuple[Front, str]]:
    """Run a front; yield it and its address."""
    front = Front(registry, username, password)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(issued.certificate, issued.key)
    server = await asyncio.start_server(front.serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    try:
        yield front, f"https://127.0.0.1:{port}{API}"
    finally:
        server.close()
