"""`decide` over HTTP, served by ASGI's own messages in front of the router: half of what a framework costs is saved.

It takes, checks and answers what the other routes would, in the same order: key and rate, body, decision.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import msgspec
from starlette import types
from starlette.types import ASGIApp, Message, Receive, Send

from pipeline.errors import DecodeError, RecordError
from pipeline.serve.batching import Waiter
from pipeline.serve.http.access import Access, Caller
from pipeline.serve.http.metrics import NodeMetrics
from pipeline.serve.http.refused import RefusedError, Scope
from pipeline.serve.http.web_pages import WebPages
from pipeline.serve.messages.answers import ErrorAnswer, decided_answer
from pipeline.serve.messages.bodies import PARTS, DecideBody
from pipeline.serve.messages.decided import Decided, NoAnswer
from pipeline.serve.messages.reading import reader_of
from pipeline.serve.node import ServingNode
from pipeline.serve.pieces import Pieces

log = logging.getLogger(__name__)

_STATUSES = {"body-too-large": 413, "record-too-large": 413, "action-id-taken": 409}
SHORT_BYTES = 4 << 10
"""Of a body that is read sooner than a turn is waited for."""
STRANGERS = "strangers"
"""Whose turn it is to be refused, of all that show no key."""
_BEFORE, _AFTER = "/v1/policies/", "/decide"

Refusal = tuple[int, str, str, dict[str, str]]
"""Status, word, what was seen and what to do, headers."""

CLIENT_GONE: Refusal = (400, "body-incomplete", "the client went away before its body was complete", {})
"""Read by nobody."""


def refusal(error: RecordError | RefusedError) -> Refusal:
    """Return what a request is answered that can't be served."""
    if isinstance(error, RefusedError):
        return error.status, error.word, error.detail, error.headers
    return _STATUSES.get(error.reason, 400), error.reason, error.detail, {}


def too_large(most: int) -> DecodeError:
    """Return the error of a body of more bytes than are accepted."""
    return DecodeError("body-too-large", f"expected at most {most} bytes")


class Told(NamedTuple):
    """How an answer is told."""

    caller: Caller
    policy: str
    fields: Sequence[str] | None


class Asker(Waiter[Decided | NoAnswer], Protocol):
    """Who waits for an answer that is told in a way of its own."""

    told: Told | None


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

    def ask(self, scope: Scope, policy: str, raw: bytes, waiter: Asker) -> None:
        """Put a request of a short body that has come whole; whoever waits is answered in this turn of the loop."""
        name = STRANGERS
        try:
            caller = self._admit(scope, policy)
            name = caller.name
            body = self._read(raw)
            cost = self._check(caller, policy, body)
            if body.fields is not None or (caller.key is not None and caller.key.needs_claims):
                waiter.told = Told(caller, policy, body.fields)
            self._node.put(policy, body, waiter, caller.name, cost)
        except Exception as error:  # noqa: BLE001  it is logged, and answered
            # In turn: a flood of what is refused would be answered before anything that is asked.
            self._node.later(partial(waiter.set_exception, error), name)

    def written(self, answer: Decided | NoAnswer, told: Told | None = None) -> tuple[int, bytes]:
        """Return the status and body that tell an answer."""
        if isinstance(answer, NoAnswer):
            return 409, self._write(ErrorAnswer(answer.reason, answer.detail))
        expires_at_ms = self._node.expires_at_ms(answer)
        if told is None:
            return 200, self._write(decided_answer(answer, expires_at_ms))
        claim = self._access.claim(told.caller, told.policy, answer, expires_at_ms)
        fields = PARTS if told.fields is None else told.fields
        return 200, self._write(decided_answer(answer, expires_at_ms, claim, fields))

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

    def _admit(self, scope: Scope, policy: str) -> Caller:
        if self._pages is not None:
            self._pages.check(scope)
        return self._access.admit(scope, "decide", policy)

    def _check(self, caller: Caller, policy: str, body: DecideBody) -> int:
        """Return what a request costs, and count it."""
        if body.action_id is not None:
            self._access.check_named(caller, (body.action_id,))
        cost = self._node.cost_of(policy, body)
        self._access.charge(caller, cost)
        return cost

    async def _others_if_welcome(self, scope: types.Scope, receive: Receive, send: Send) -> None:
        if self._pages is not None:
            try:
                self._pages.check(scope)
            except RefusedError as error:
                await _respond(send, *self.refused(error))
                return
        await self._others(scope, receive, send)

    def _reading(self, raw: bytes) -> Pieces[DecideBody]:
        """Read a long body when it is its caller's turn: of many that have come at once each is a piece."""
        yield
        return self._read(raw)  # type: ignore[no-any-return]  # what it was made for

    async def _serve(self, scope: Scope, receive: Receive, policy: str) -> tuple[int, bytes, dict[str, str]]:
        caller = self._admit(scope, policy)
        raw = await _body(receive, self._node.settings.limits.body_bytes)
        if raw is None:
            status, word, detail, headers = CLIENT_GONE
            return status, self._write(ErrorAnswer(word, detail)), headers
        body = self._read(raw) if len(raw) <= SHORT_BYTES else await self._node.in_turn(self._reading(raw), caller.name)
        self._check(caller, policy, body)
        answer = await self._node.decide(
            policy, body.context, body.eligible, body.subject, body.action_id, body.candidates, caller=caller.name
        )
        return *self.written(answer, Told(caller, policy, body.fields)), {}


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
