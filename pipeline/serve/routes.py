"""The node's HTTP routes.

    POST /v1/policies/{policy}/decide   {context, eligible?, subject?, action_id?}
                                        → 200 {action_id, arm, propensity, probabilities, …}
                                          409 there is nothing that could be shown
    POST /v1/outcomes                   {action_id, kind, value?, outcome_id?, occurred_at_ms?}
                                        → 200 {outcome_id}
    GET  /healthz                       → 200 {status, snapshots, undelivered, …}

Every error has a body {error, detail}: a word of a closed set, and what was seen and what to do.
"""

from __future__ import annotations

from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.errors import DecodeError, RecordError
from pipeline.serve.bodies import decide_body, outcome_body
from pipeline.serve.decide import Decided, NoAnswer
from pipeline.serve.node import ServingNode

MAX_BODY_BYTES = 1 << 20
TOO_LARGE = frozenset({"body-too-large", "record-too-large"})


def build_routes(node: ServingNode) -> Starlette:
    """Return the application around a node that somebody else starts and stops."""

    async def decide(request: Request) -> Response:
        body = decide_body(await _body(request))
        answer = await node.decide(
            request.path_params["policy"], body.context, body.eligible, body.subject, body.action_id
        )
        if isinstance(answer, NoAnswer):
            return _error(409, answer.reason, answer.detail)
        return _json(200, decided_answer(answer))

    async def outcome(request: Request) -> Response:
        return _json(200, {"outcome_id": await node.outcome(**outcome_body(await _body(request))._asdict())})

    async def healthz(_: Request) -> Response:
        return _json(200, node.health())

    return Starlette(
        routes=[
            Route("/v1/policies/{policy}/decide", decide, methods=["POST"]),
            Route("/v1/outcomes", outcome, methods=["POST"]),
            Route("/healthz", healthz, methods=["GET"]),
        ],
        exception_handlers={
            RecordError: _refused,
            ClientDisconnect: _gone,
            HTTPException: _not_served,
            Exception: _failed,
        },
    )


def decided_answer(answer: Decided) -> dict[str, Any]:
    """Return the body that tells a decision; `detail` says why the model was not asked."""
    decision = answer.decision
    body = {
        "action_id": decision.action_id,
        "arm": decision.arm,
        "propensity": decision.propensity,
        "probabilities": answer.probabilities,
        "snapshot_version": decision.snapshot_version,
        "snapshot_id": decision.snapshot_id,
        "segment": decision.segment,
        "reason": decision.reason,
        "ignored": answer.ignored,
    }
    if answer.fallback is not None:
        body |= {"fallback": answer.fallback, "detail": answer.detail}
    return body


async def _body(request: Request) -> bytes:
    """Read the body, but no more than is accepted."""
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_BODY_BYTES:
            raise DecodeError("body-too-large", f"expected at most {MAX_BODY_BYTES} bytes")
    return bytes(raw)


async def _refused(_: Request, error: Exception) -> Response:
    reason, detail = (error.reason, error.detail) if isinstance(error, RecordError) else ("refused", str(error))
    return _error(413 if reason in TOO_LARGE else 400, reason, detail)


async def _not_served(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    word = {404: "not-found", 405: "method-not-allowed"}.get(status, "not-served")
    response = _error(status, word, f"{request.method} {request.url.path} is not served")
    if isinstance(error, HTTPException):
        response.headers.update(error.headers or {})
    return response


async def _gone(_: Request, __: Exception) -> Response:
    return _error(400, "body-incomplete", "the client went away before its body was complete")  # read by nobody


async def _failed(_: Request, error: Exception) -> Response:
    return _error(500, "internal-error", f"{type(error).__name__}; see the node's log")


def _error(status: int, word: str, detail: str) -> Response:
    return _json(status, {"error": word, "detail": detail})


def _json(status: int, body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")
