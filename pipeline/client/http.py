"""Do with httpx what the core says."""

from __future__ import annotations

import asyncio
import time
from typing import Self, TypeVar
from uuid import uuid4

import httpx

from pipeline.client.core import LOST, NOBODY, Call, Calls, Reply, Send, converse

T = TypeVar("T")
TIMEOUT_S = 5.0
ATTEMPTS = 3


class NodeClient:
    """Asks a node and waits for its answer."""

    def __init__(
        self, url: str, key: str | None = None, *, attempts: int = ATTEMPTS, http: httpx.Client | None = None
    ) -> None:
        """Prepare; nothing is connected yet.

        Args:
            url: the node's, such as https://node.example:8080.
            key: an API key, where the node asks for one.
            attempts: how often a call is sent at most, until it is answered.
            http: a client of the caller's own, with its timeouts, proxies and certificates.
        """
        self.calls = Calls(_new_id, key)
        self._attempts = attempts
        self._http = http or httpx.Client(timeout=TIMEOUT_S)
        self._url = url.rstrip("/")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def ask(self, call: Call[T]) -> T:
        """Send a call until it is answered. Raises NodeError, or UnavailableError if no node answers."""
        talk = converse(call, self._attempts)
        try:
            step = next(talk)
            while True:
                if isinstance(step, Send):
                    step = talk.send(self._send(step))
                else:
                    time.sleep(step.seconds)
                    step = next(talk)
        except StopIteration as end:
            answer: T = end.value
            return answer

    def _send(self, send: Send) -> Reply:
        try:
            answer = self._http.request(send.method, self._url + send.path, content=send.body, headers=send.headers)
        except httpx.TransportError as error:
            return _no_answer(self._url, error)
        return Reply(answer.status_code, answer.content, answer.headers.get("retry-after"))


class AsyncNodeClient:
    """The same for asyncio."""

    def __init__(
        self, url: str, key: str | None = None, *, attempts: int = ATTEMPTS, http: httpx.AsyncClient | None = None
    ) -> None:
        """Prepare, as `NodeClient` does."""
        self.calls = Calls(_new_id, key)
        self._attempts = attempts
        self._http = http or httpx.AsyncClient(timeout=TIMEOUT_S)
        self._url = url.rstrip("/")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def ask(self, call: Call[T]) -> T:
        """Send a call until it is answered. Raises NodeError, or UnavailableError if no node answers."""
        talk = converse(call, self._attempts)
        try:
            step = next(talk)
            while True:
                if isinstance(step, Send):
                    step = talk.send(await self._send(step))
                else:
                    await asyncio.sleep(step.seconds)
                    step = next(talk)
        except StopIteration as end:
            answer: T = end.value
            return answer

    async def _send(self, send: Send) -> Reply:
        try:
            answer = await self._http.request(
                send.method, self._url + send.path, content=send.body, headers=send.headers
            )
        except httpx.TransportError as error:
            return _no_answer(self._url, error)
        return Reply(answer.status_code, answer.content, answer.headers.get("retry-after"))


def _no_answer(url: str, error: httpx.TransportError) -> Reply:
    is_unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    return Reply(NOBODY if is_unsent else LOST, f"{url}: {error!r}".encode())


def _new_id() -> str:
    return uuid4().hex
