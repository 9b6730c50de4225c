"""`decide` over HTTP, served by ASGI's own messages in front of the router: half of what a framework costs is saved.

It takes, checks and answers what the other routes would, in the same order: key and rate, body, decision.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec
from starlette.types import ASGIApp, Message, Receive, Send

from pipeline.errors import DecodeError, RecordError
from pipeline.serve.access import Access, RefusedError, Scope
from pipeline.serve.answers import ErrorAnswer, decided_answer
from pipeline.serve.bodies import DecideBody
from pipeline.serve.decided import NoAnswer
from pipeline.serve.metrics import NodeMetrics
from pipeline.serve.node import ServingNode
from pipeline.serve.reading import reader_of

MAX_BODY_BYTES = 1 << 20
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


def too_large() -> DecodeError:
    """Return the error of a body beyond `MAX_BODY_BYTES`."""
    return DecodeError("body-too-large", f"expected at most {MAX_BODY_BYTES} bytes")


class DecideFront:
    """The application that decides, and hands everything else to another one."""

    def __init__(self, others: ASGIApp, node: ServingNode, access: Access, metrics: NodeMetrics) -> None:
        self._others = others
        self._node = node
        self._access = access
        self._metrics = metrics
        self._read = reader_of(DecideBody)
        self._write = msgspec.json.Encoder().encode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        policy = _asked(scope)
        if not policy:
            await self._others(scope, receive, send)
            return
        started_s = time.perf_counter()
        status = 500
        try:
            try:
                status, answer, headers = await self._serve(scope, receive, policy)
            except Exception as error:
                fault = ErrorAnswer("internal-error", f"{type(error).__name__}; see the node's log")
                await self._respond(send, 500, fault, {})
                raise  # the server logs it
            await self._respond(send, status, answer, headers)
        finally:
            self._metrics.observe("decide", status, time.perf_counter() - started_s)

    async def _serve(self, scope: Scope, receive: Receive, policy: str) -> tuple[int, msgspec.Struct, dict[str, str]]:
        try:
            self._access.admit(scope, "decide")
            raw = await _body(receive)
            if raw is None:
                return _told(CLIENT_GONE)
            body = self._read(raw)
            answer = await self._node.decide(
                policy, body.context, body.eligible, body.subject, body.action_id, body.candidates
            )
        except (RecordError, RefusedError) as error:
            return _told(refusal(error))
        if isinstance(answer, NoAnswer):
            return 409, ErrorAnswer(answer.reason, answer.detail), {}
        return 200, decided_answer(answer, self._node.expires_at_ms(answer)), {}

    async def _respond(self, send: Send, status: int, answer: msgspec.Struct, headers: dict[str, str]) -> None:
        content = self._write(answer)
        head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        head += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": content})


def _asked(scope: Scope) -> str:
    """Return the policy that is asked to decide; empty where the request is another one."""
    if scope["type"] != "http" or scope["method"] != "POST":
        return ""
    path: str = scope["path"]
    if not (path.startswith(_BEFORE) and path.endswith(_AFTER)):
        return ""
    policy = path[len(_BEFORE) : -len(_AFTER)]
    return "" if "/" in policy else policy


async def _body(receive: Receive) -> bytes | None:
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
            if len(raw) > MAX_BODY_BYTES or not message.get("more_body", False):
                break
            message = await receive()
    if len(raw) > MAX_BODY_BYTES:
        raise too_large()
    return bytes(raw)


def _told(told: Refusal) -> tuple[int, ErrorAnswer, dict[str, str]]:
    status, word, detail, headers = told
    return status, ErrorAnswer(word, detail), headers
