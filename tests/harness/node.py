"""A serving node's process of a test's own, and what it answers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from pipeline.brokers.parent_watch import ParentWatch
from pipeline.brokers.ports import HOST, free_ports

ANSWERS_WITHIN_S = 90.0
STOPPED_WITHIN_S = 30.0


class Node:
    """`pipeline serve` on one port, which it keeps over `kill` and `start`."""

    def __init__(self, broker: str, folder: Path, *options: str) -> None:
        self._options = options
        self.log = folder / "node.log"
        self._broker = broker
        (self._port,) = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._parent_watch: ParentWatch | None = None
        self.url = f"http://{HOST}:{self._port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_")}
        arguments = ["serve", "--broker", self._broker, "--port", str(self._port), *self._options]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipeline", *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._parent_watch = ParentWatch(self._process.pid)
        self._wait_until_it_answers()

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process is not None
        return self._process.pid

    @property
    def port(self) -> int:
        """That it listens on."""
        return self._port

    def kill(self) -> None:
        """End it as `kill -9` does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None
        if self._parent_watch is not None:
            self._parent_watch.cut()
            self._parent_watch = None

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + ANSWERS_WITHIN_S
        while True:
            try:
                httpx.get(f"{self.url}/healthz")
            except httpx.TransportError:
                words = self.log.read_text("utf-8", "replace")[-2_000:]
                assert time.monotonic() < deadline, f"no answer in {ANSWERS_WITHIN_S:.0f} s: {words}"
            else:
                return


class Visitors:
    """What visitors ask of nodes, and what they were told."""

    def __init__(self, client: httpx.AsyncClient, policy: str) -> None:
        self.told: dict[str, dict[str, Any]] = {}
        """Answers by action_id."""
        self.outcomes: list[str] = []
        """Ids."""
        self._client = client
        self._policy = policy

    async def come(self, node: Node, count: int, **body: Any) -> list[dict[str, Any]]:
        """Ask `count` times; every other one likes what it sees. Returns the answers."""
        answers = []
        for _ in range(count):
            action_id = f"visit-{len(self.told)}"
            response = await self._client.post(
                f"{node.url}/v1/policies/{self._policy}/decide", json={"action_id": action_id, **body}
            )
            assert response.status_code == 200, response.text
            self.told[action_id] = response.json()
            answers.append(self.told[action_id])
            if len(self.told) % 2:
                # As opaque as a UUID: any other id is logged as a hash.
                outcome_id = f"{len(self.told):032x}"
                outcome = {"action_id": action_id, "kind": "click", "outcome_id": outcome_id}
                assert (await self._client.post(f"{node.url}/v1/outcomes", json=outcome)).status_code == 200
                self.outcomes.append(outcome_id)
        return answers

    async def health(self, node: Node) -> dict[str, Any]:
        """Return what a node says of itself."""
        response = await self._client.get(f"{node.url}/healthz")
        content: dict[str, Any] = response.json()
        return content
