"""The node's HTTP routes: `operations.py` is the table, and `/openapi.json` says what each takes and answers.

`decide` is asked a thousand times as often as all others, so it is served in front of the router (`fast_path.py`).

Every error has a body {error, detail}: a word of a closed set, and what was seen and what to do.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from importlib import metadata, resources
from typing import Any

import msgspec
import orjson
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from pipeline.errors import RecordError
from pipeline.serve.http.access import Access
from pipeline.serve.http.batches import Batches
from pipeline.serve.http.fast_path import CLIENT_GONE, DecideFront, refusal, too_large
from pipeline.serve.http.metrics import NodeMetrics
from pipeline.serve.http.openapi import Operation, openapi
from pipeline.serve.http.operations import OPERATIONS
from pipeline.serve.http.refused import RefusedError
from pipeline.serve.http.web_pages import WebPages
from pipeline.serve.messages import answers, bodies
from pipeline.serve.messages.decided import NoAnswer
from pipeline.serve.messages.reading import reader_of
from pipeline.serve.node import ServingNode
from pipeline.serve.settings import ServeSettings

Handler = Callable[[Request, Any], Awaitable[Response]]
_IN_ROWS: dict[str, type[msgspec.Struct]] = {"decide_many": bodies.DecideManyRows, "outcomes": bodies.OutcomesRows}
"""What a long body is read as at first, by operation: its rows are read in pieces."""


def build_routes(node: ServingNode, metrics: NodeMetrics | None = None, access: Access | None = None) -> ASGIApp:
    """Return the application around a node that somebody else starts and stops; it counts in `metrics`."""
    settings = node.settings
    access = access or Access(settings)
    metrics = metrics or NodeMetrics(node)
    handlers = _Handlers(node, access, metrics)
    document = openapi(OPERATIONS, metadata.version("bandit-pipeline"), needs_keys=bool(settings.keys))
    routed = Starlette(
        routes=[
            *(
                Route(
                    each.path,
                    _endpoint(each, getattr(handlers, each.name), access, metrics, settings.limits.body_bytes),
                    methods=[each.method],
                )
                for each in OPERATIONS
                if each.name != "decide"
            ),
            Route("/v1/policies/{policy}/decide", _post_only),
            Route("/openapi.json", _constant(orjson.dumps(document), "application/json")),
            Route("/docs", _constant(_docs_page(), "text/html")),
        ],
        exception_handlers={HTTPException: _not_served, Exception: _failed},
    )
    pages = None if settings.keys else WebPages(settings.host, settings.server_names, settings.origins)
    front = DecideFront(routed, node, access, metrics, pages)
    if not settings.origins:
        return front
    return CORSMiddleware(
        front,
        allow_origins=settings.origins,
        allow_methods=["GET", "POST"],
        allow_headers=["authorization", "content-type"],
    )


def build_metrics_routes(metrics: NodeMetrics, settings: ServeSettings) -> Starlette:
    """Return the application for a listener of its own: there Prometheus is told, without a key, what was counted."""
    pages = WebPages(settings.metrics_host, settings.server_names, settings.origins)

    async def told(request: Request) -> Response:
        try:
            pages.check(request.scope)
        except RefusedError as error:
            return _error(*refusal(error))
        return _exposed(metrics)

    return Starlette(routes=[Route("/metrics", told)], exception_handlers={HTTPException: _not_served})


class _Handlers:
    """What serves each operation, by its name."""

    def __init__(self, node: ServingNode, access: Access, metrics: NodeMetrics) -> None:
        self._node = node
        self._access = access
        self._metrics = metrics
        self._batches = Batches(node, access)

    async def decide_many(self, request: Request, body: bodies.DecideManyRows) -> Response:
        content = await self._batches.decide(request.state.caller, request.path_params["policy"], body)
        return Response(content, media_type="application/json")

    async def explain(self, request: Request, body: bodies.ExplainBody) -> Response:
        policy, caller = request.path_params["policy"], request.state.caller
        cost = 2 * self._node.cost_of(policy, bodies.DecideBody(eligible=body.eligible, candidates=body.candidates))
        self._access.charge(caller, cost)
        pieces = self._node.explaining(policy, body.context, body.eligible, body.candidates)
        answer = await self._node.in_turn(pieces, caller.name)
        if isinstance(answer, NoAnswer):
            return _error(409, answer.reason, answer.detail)
        return _json(200, answer)

    async def explain_decision(self, request: Request, _: None) -> Response:
        action_id = bodies.kept_identifier("action_id", request.path_params["action_id"])
        caller = request.state.caller
        answer = await self._node.in_turn(self._node.explaining_decision(action_id), caller.name)
        if answer is None:
            return _error(
                404,
                "decision-not-held",
                "this node did not make that decision, or too long ago: ask the node that made it, soon after",
            )
        if caller.key is not None and not caller.key.may("decide", answer.policy):
            return _error(403, "forbidden", f"key {caller.key.name} lacks the policy {answer.policy}")
        return _json(200, answer)

    async def outcome(self, request: Request, body: bodies.OutcomeBody) -> Response:
        caller = request.state.caller
        (outcome_id,) = await self._node.take_outcomes(self._access.accept(caller, [body]), caller=caller.name)
        return _json(200, answers.OutcomeAnswer(outcome_id))

    async def outcomes(self, request: Request, body: bodies.OutcomesRows) -> Response:
        return _json(200, answers.OutcomesAnswer(await self._batches.take(request.state.caller, body)))

    async def policies(self, request: Request, _: None) -> Response:
        key = request.state.caller.key
        shown = [each for each in self._node.policies() if key is None or key.may("operate", each.policy)]
        return _json(200, answers.PoliciesAnswer(shown))

    async def healthz(self, request: Request, _: None) -> Response:
        health = self._node.health()
        if not self._access.has(request.scope, "operate"):
            health = {"status": health["status"]}
        elif self._access.keys:
            health["keys"] = [
                {
                    "name": key.name,
                    "last_used_ms": self._access.last_used_ms.get(key.name),
                    "expires_at_ms": key.expires_at_ms,
                }
                for key in self._access.keys
            ]
        return _json(200, msgspec.convert(health, answers.HealthAnswer))

    async def readyz(self, _: Request, __: None) -> Response:
        answer = self._node.readiness()
        return _json(200 if answer.is_ready else 503, answer)

    async def metrics(self, _: Request, __: None) -> Response:
        return _exposed(self._metrics)


def _exposed(metrics: NodeMetrics) -> Response:
    return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)


def _endpoint(
    operation: Operation, handler: Handler, access: Access, metrics: NodeMetrics, body_bytes: int
) -> Callable[[Request], Awaitable[Response]]:
    """Admit, read, serve, and time it; whatever is wrong with a request is answered here."""
    body = _IN_ROWS.get(operation.name, operation.body)
    read = None if body is None else reader_of(body)
    right = operation.right

    async def serve(request: Request) -> Response:
        try:
            if right is not None:
                request.state.caller = access.admit(request.scope, right, request.path_params.get("policy"))
            return await handler(request, None if read is None else read(await _body(request, body_bytes)))
        except ClientDisconnect:
            return _error(*CLIENT_GONE)
        except (RecordError, RefusedError) as error:
            return _error(*refusal(error))

    async def endpoint(request: Request) -> Response:
        started_s = time.perf_counter()
        status = 500
        try:
            response = await serve(request)
            status = response.status_code
        finally:
            metrics.observe(operation.name, status, time.perf_counter() - started_s)
        return response

    return endpoint


async def _body(request: Request, most: int) -> bytes:
    """Read the body, but no more than is accepted."""
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > most:
            raise too_large(most)
    return bytes(raw)


async def _post_only(_: Request) -> Response:
    raise HTTPException(405, headers={"allow": "POST"})


def _constant(content: bytes, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    headers = {"content-security-policy": "default-src 'self' 'unsafe-inline'", "x-content-type-options": "nosniff"}

    async def endpoint(_: Request) -> Response:
        return Response(content, media_type=media_type, headers=headers)

    return endpoint


def _docs_page() -> bytes:
    return resources.files("pipeline.serve.http").joinpath("docs.html").read_bytes()


async def _not_served(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    word = {404: "not-found", 405: "method-not-allowed"}.get(status, "not-served")
    headers = error.headers if isinstance(error, HTTPException) else None
    return _error(status, word, f"{request.method} {request.url.path} is not served", dict(headers or {}))


async def _failed(_: Request, error: Exception) -> Response:
    return _error(500, "internal-error", f"{type(error).__name__}; see the node's log")


def _error(status: int, word: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    response = _json(status, answers.ErrorAnswer(word, detail))
    response.headers.update(headers or {})
    return response


_encode = msgspec.json.Encoder().encode


def _json(status: int, body: msgspec.Struct) -> Response:
    return Response(_encode(body), status, media_type="application/json")
