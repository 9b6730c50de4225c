"""`decide` over HTTP, served by ASGI's own messages in front of the router: half of what a framework costs is saved.

It takes, checks and answers what the other routes would, in the same order: key and rate, body, decision.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import msgspec
from starlette import types
from starlette.types import ASGIApp, Message, Receive, Send

from pipeline.errors import DecodeError, RecordError
from pipeline.serve.batching import Waiter
from pipeline.serve.http.access import Access
from pipeline.serve.http.metrics import NodeMetrics
from pipeline.serve.http.refused import RefusedError, Scope
from pipeline.serve.http.web_pages import WebPages
from pipeline.serve.messages.answers import ErrorAnswer, decided_answer
from pipeline.serve.messages.bodies import DecideBody
from pipeline.serve.messages.decided import Decided, NoAnswer
from pipeline.serve.messages.reading import reader_of
from pipeline.serve.node import ServingNode

log = logging.getLogger(__name__)

_TOO_LARGE = frozenset({"body-too-large", "record-too-large"})
_BEFORE, _AFTER = "/v1/policies/", "/decide"

Refusal = tuple[int, str, str, dict[str, str]]
"""Status, word, what was seen and what to do, headers."""

CLIENT_GONE: Refusal = (400, "body-incomplete", "the client went away before its body was complete", {})
"""Read by nobody."""


def refusal(error: RecordError | RefusedError) -> Refusal:
    """Return what a request is answered that can't be served."""
    if isinstance(error, RefusedError):
        return error.status, error.word, error.detail, error.headers
    return 413 if error.reason in _TOO_LARGE else 400, error.reason, error.detail, {}


def too_large(most: int) -> DecodeError:
    """Return the error of a body of more bytes than are accepted."""
    return DecodeError("body-too-large", f"expected at most {most} bytes")


class DecideFront:
    """The application that decides, and hands everything else to another one."""

    def __init__(
        self, others: ASGIApp, node: ServingNode, access: Access, metrics: NodeMetrics, pages: WebPages | None = None
    ) -> None:
        self.answers_at_once = node.settings.when_full == "shed"
        """Whether `ask` may be used: no request ever waits for room."""
        self._others = others
        self._node = node
        self._access = access
        self._pages = pages
        self._metrics = metrics
        self._read = reader_of(DecideBody)
        self._write = msgspec.json.Encoder().encode

    async def __call__(self, scope: types.Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        policy = asked_policy(scope)
        if not policy:
            await self._others_if_welcome(scope, receive, send)
            return
        started_s = time.perf_counter()
        status = 500
        try:
            try:
                status, content, headers = await self._serve(scope, receive, policy)
            except Exception as error:  # noqa: BLE001  it is logged, and answered
                status, content, headers = self.refused(error)
            await _respond(send, status, content, headers)
        finally:
            self.observe(status, time.perf_counter() - started_s)

    def ask(self, scope: Scope, raw: bytes, waiter: Waiter[Decided | NoAnswer]) -> None:
        """Put a request of a short body that has come whole; whoever waits is answered in this turn of the loop."""
        try:
            self._admit(scope)
            self._node.put(asked_policy(scope), self._read(raw), waiter)
        except Exception as error:  # noqa: BLE001  it is logged, and answered
            waiter.set_exception(error)

    def written(self, answer: Decided | NoAnswer) -> tuple[int, bytes]:
        """Return the status and body that tell an answer."""
        if isinstance(answer, NoAnswer):
            return 409, self._write(ErrorAnswer(answer.reason, answer.detail))
        return 200, self._write(decided_answer(answer, self._node.expires_at_ms(answer)))

    def refused(self, error: Exception) -> tuple[int, bytes, dict[str, str]]:
        """Return the status, body and headers that tell why a request was not served."""
        if isinstance(error, RecordError | RefusedError):
            status, word, detail, headers = refusal(error)
            return status, self._write(ErrorAnswer(word, detail)), headers
        log.error("decide-failed", exc_info=error)
        return 500, self._write(ErrorAnswer("internal-error", f"{type(error).__name__}; see the node's log")), {}

    def observe(self, status: int, seconds: float) -> None:
        """Count a request."""
        self._metrics.observe("decide", status, seconds)

    def _admit(self, scope: Scope) -> None:
        if self._pages is not None:
            self._pages.check(scope)
        self._access.admit(scope, "decide")

    async def _others_if_welcome(self, scope: types.Scope, receive: Receive, send: Send) -> None:
        if self._pages is not None:
            try:
                self._pages.check(scope)
            except RefusedError as error:
                await _respond(send, *self.refused(error))
                return
        await self._others(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, policy: str) -> tuple[int, bytes, dict[str, str]]:
        self._admit(scope)
        raw = await _body(receive, self._node.settings.limits.body_bytes)
        if raw is None:
            status, word, detail, headers = CLIENT_GONE
            return status, self._write(ErrorAnswer(word, detail)), headers
        body = self._read(raw)
        answer = await self._node.decide(
            policy, body.context, body.eligible, body.subject, body.action_id, body.candidates
        )
        return *self.written(answer), {}


def asked_policy(scope: Scope) -> str:
    """Return the policy that is asked to decide; empty where the request is another one."""
    if scope["type"] != "http" or scope["method"] != "POST":
        return ""
    path: str = scope["path"]
    if not (path.startswith(_BEFORE) and path.endswith(_AFTER)):
        return ""
    policy = path[len(_BEFORE) : -len(_AFTER)]
    return "" if "/" in policy else policy


async def _respond(send: Send, status: int, content: bytes, headers: dict[str, str]) -> None:
    head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    head += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": content})


async def _body(receive: Receive, most: int) -> bytes | None:
    """Read the body, but no more than is accepted; None: the client went away."""
    message: Message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        raw: Any = message.get("body", b"")
    else:
        raw = bytearray()
        while True:
            if message["type"] == "http.disconnect":
                return None
            raw += message.get("body", b"")
            if len(raw) > most or not message.get("more_body", False):
                break
            message = await receive()
    if len(raw) > most:
        raise too_large(most)
    return bytes(raw)
