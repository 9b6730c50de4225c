from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.policy.definition import PolicyDefinition
from pipeline.serve import load_snapshot
from pipeline.serve.node import ServingNode
from pipeline.serve.routes import build_routes
from pipeline.serve.settings import ServeSettings

DECIDE = "/v1/policies/homepage/decide"
SOUND = {"age": 1, "device": "mobile"}
Content = Callable[..., bytes]


@pytest.fixture
def node(linear: PolicyDefinition, content_of: Content) -> ServingNode:
    """A node that was not started, with a live snapshot."""
    made = ServingNode(ServeSettings("127.0.0.1:1", "0123456789abcdef"), rng=np.random.default_rng(1))
    made.follower.snapshots["homepage"] = load_snapshot(content_of(linear, {}))
    made.follower._published_at_ms["homepage"] = 0
    return made


@pytest.fixture
async def client(node: ServingNode) -> AsyncIterator[httpx.AsyncClient]:
    # Starlette answers 500 and raises again, for the server's log; a client sees the answer.
    transport = httpx.ASGITransport(build_routes(node), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://node") as made:
        yield made


async def test_a_decision_is_told_with_all_its_probabilities(node: ServingNode, client: httpx.AsyncClient) -> None:
    response = await client.post(DECIDE, json={"context": SOUND, "action_id": "x1", "eligible": ["news", "best", "?"]})
    assert response.status_code == 200
    body = response.json()
    assert body.pop("probabilities") == pytest.approx({"best": 0.5, "news": 0.5}, abs=1e-6)
    assert body.pop("propensity") == pytest.approx(0.5, abs=1e-6)
    assert body.pop("arm") in {"best", "news"}
    assert body == {
        "action_id": "x1",
        "snapshot_version": 7,
        "snapshot_id": node.follower.snapshots["homepage"].id,
        "segment": "other",
        "reason": "policy",
        "ignored": 1,
    }


async def test_a_fallback_says_why(client: httpx.AsyncClient) -> None:
    body = (await client.post(DECIDE, json={"context": {"age": 1}})).json()
    assert (body["reason"], body["fallback"]) == ("fallback", "unencodable-context")
    assert body["detail"] == "missing-feature: device is not in the context"


async def test_an_outcome_is_taken_and_named(node: ServingNode, client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/outcomes", json={"action_id": "x1", "kind": "click", "outcome_id": "o1"})
    assert (response.status_code, response.json()) == (200, {"outcome_id": "o1"})
    made = (await client.post("/v1/outcomes", json={"action_id": "x1", "kind": "click"})).json()["outcome_id"]
    assert len(made) == 32
    assert node.delivery.undelivered == 2


async def test_health_tells_what_is_live_and_what_waits(node: ServingNode, client: httpx.AsyncClient) -> None:
    await client.post(DECIDE, json={"context": SOUND})
    body = (await client.get("/healthz")).json()
    live = body["snapshots"]["homepage"]
    assert (live["version"], live["id"]) == (7, node.follower.snapshots["homepage"].id)
    assert live["age_ms"] > 0
    assert (body["status"], body["undelivered"], body["dropped"]) == ("ok", 1, 0)


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "error"),
    [
        ("POST", DECIDE, b"", 400, "not-decodable"),
        ("POST", DECIDE, b"[]", 400, "not-decodable"),
        ("POST", DECIDE, b'{"elegible": []}', 400, "unknown-field"),
        ("POST", DECIDE, b'{"context": 1}', 400, "wrong-type"),
        ("POST", DECIDE, b'{"action_id": ""}', 400, "out-of-range"),
        ("POST", DECIDE, b" " * (1 << 20) + b"{}", 413, "body-too-large"),
        ("POST", DECIDE, b'{"context": {"t": "' + b"x" * ((1 << 20) - 40) + b'"}}', 413, "record-too-large"),
        ("POST", DECIDE, b'{"eligible": []}', 409, "no-eligible-arm"),
        ("POST", DECIDE, b'{"eligible": ["old"]}', 409, "no-eligible-arm"),
        ("POST", "/v1/policies/unheard-of/decide", b"{}", 409, "no-snapshot"),
        ("POST", "/v1/policies/" + "p" * 257 + "/decide", b"{}", 400, "out-of-range"),
        ("POST", "/v1/outcomes", b"{}", 400, "missing-field"),
        ("POST", "/v1/outcomes", b'{"action_id": "x", "kind": "click", "occurred_at_ms": -1}', 400, "out-of-range"),
        ("POST", "/v1/policies/homepage", b"{}", 404, "not-found"),
        ("GET", "/", b"", 404, "not-found"),
        ("GET", DECIDE, b"", 405, "method-not-allowed"),
        ("POST", "/healthz", b"", 405, "method-not-allowed"),
    ],
)
async def test_every_error_has_its_status_and_a_word_and_a_detail(
    method: str, path: str, content: bytes, status: int, error: str, client: httpx.AsyncClient
) -> None:
    response = await client.request(method, path, content=content)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"error", "detail"}
    assert body["error"] == error
    assert body["detail"]


async def test_a_wrong_method_is_told_the_right_one(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/outcomes")).headers["allow"] == "POST"


async def test_a_fault_of_our_own_is_told_without_its_insides(
    node: ServingNode, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(node, "health", fail)
    response = await client.get("/healthz")
    assert response.status_code == 500
    assert response.json() == {"error": "internal-error", "detail": "RuntimeError; see the node's log"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
CONTEXT = st.fixed_dictionaries({}, optional={"age": JSON, "device": JSON, "premium": JSON}) | st.dictionaries(
    st.text(), JSON
)
ELIGIBLE = st.none() | st.lists(st.sampled_from(["news", "best", "old"]) | st.text(min_size=1, max_size=5))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(context=CONTEXT, eligible=ELIGIBLE, policy=st.sampled_from(["homepage", "other"]))
async def test_a_well_formed_request_is_never_answered_with_a_500(
    context: dict[str, Any], eligible: list[str] | None, policy: str, client: httpx.AsyncClient
) -> None:
    content = orjson.dumps({"context": context, "eligible": eligible})
    response = await client.post(f"/v1/policies/{policy}/decide", content=content)
    assert response.status_code in {200, 409}
    if response.status_code == 200:
        body = response.json()
        assert body["propensity"] == body["probabilities"][body["arm"]]
        assert eligible is None or set(body["probabilities"]) <= set(eligible)
