from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import msgspec
import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.policy.definition import PolicyDefinition
from pipeline.serve import load_snapshot
from pipeline.serve.http.metrics import NodeMetrics
from pipeline.serve.http.routes import OPERATIONS, build_metrics_routes, build_routes
from pipeline.serve.messages.bodies import DecideManyBody, DecideManyRows, OutcomesBody, OutcomesRows
from pipeline.serve.node import ServingNode
from pipeline.serve.settings import ServeSettings

JSON_TYPE = {"content-type": "application/json"}
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
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=JSON_TYPE) as made:
        yield made


async def test_a_decision_is_told_with_all_its_probabilities(node: ServingNode, client: httpx.AsyncClient) -> None:
    response = await client.post(DECIDE, json={"context": SOUND, "action_id": "x1", "eligible": ["news", "best", "?"]})
    assert response.status_code == 200
    body = response.json()
    assert body.pop("probabilities") == pytest.approx({"best": 0.5, "news": 0.5}, abs=1e-6)
    assert body.pop("propensity") == pytest.approx(0.5, abs=1e-6)
    assert body.pop("arm") in {"best", "news"}
    assert set(body.pop("ranking")) == {"best", "news"}
    assert body == {
        "action_id": "x1",
        "snapshot_version": 7,
        "snapshot_id": node.follower.snapshots["homepage"].id,
        "segment": "other",
        "reason": "policy",
        "guardrails": [],
        "ignored": 1,
        "expires_at_ms": body["expires_at_ms"],
    }
    # The policy's one outcome kind counts for 5 s.
    assert 0 <= time.time() * 1000 + 5_000 - body["expires_at_ms"] < 60_000


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
        (
            "POST",
            DECIDE,
            b'{"eligible": ["%s"]}' % b'","'.join(b"%096d" % n for n in range(10_000)),
            413,
            "record-too-large",
        ),
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
NAMES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="@"), min_size=1, max_size=5)
ELIGIBLE = st.none() | st.lists(st.sampled_from(["news", "best", "old"]) | NAMES)


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


async def test_a_batch_is_answered_in_order_by_one_snapshot_and_logged(
    node: ServingNode, client: httpx.AsyncClient
) -> None:
    requests: list[dict[str, Any]] = [
        {"context": SOUND, "action_id": "x1"},
        {"context": {}, "eligible": ["news"]},
        {"context": SOUND, "eligible": ["old"]},
        {"context": {"age": 50, "device": "desktop"}, "eligible": ["news", "best"], "subject": "ada"},
    ]
    response = await client.post(f"{DECIDE}/batch", json={"requests": requests})
    assert response.status_code == 200
    first, second, third, fourth = response.json()["answers"]
    assert first["decided"]["action_id"] == "x1"
    assert (second["decided"]["arm"], second["decided"]["fallback"]) == ("news", "unencodable-context")
    assert third == {"refused": third["refused"]}
    assert third["refused"]["error"] == "no-eligible-arm"
    assert fourth["decided"]["reason"] == "policy"
    assert {each["decided"]["snapshot_version"] for each in (first, second, fourth)} == {7}
    assert node.delivery.undelivered == 3


async def test_a_batch_of_nothing_is_answered_with_nothing(client: httpx.AsyncClient) -> None:
    assert (await client.post(f"{DECIDE}/batch", json={"requests": []})).json() == {"answers": []}
    assert (await client.post("/v1/outcomes/batch", json={"outcomes": []})).json() == {"outcome_ids": []}


async def test_outcomes_are_taken_all_or_none(node: ServingNode, client: httpx.AsyncClient) -> None:
    sound = {"action_id": "x1", "kind": "click", "outcome_id": "o1"}
    faulty = {"action_id": "x2", "kind": "\ud83d"}  # half of an emoji
    response = await client.post("/v1/outcomes/batch", content=json.dumps({"outcomes": [sound, faulty]}))
    assert response.status_code == 400
    assert node.delivery.undelivered == 0
    response = await client.post("/v1/outcomes/batch", json={"outcomes": [sound, sound | {"outcome_id": "o2"}]})
    assert response.json() == {"outcome_ids": ["o1", "o2"]}
    assert node.delivery.undelivered == 2


async def test_what_would_be_decided_is_explained_and_nothing_is_logged(
    node: ServingNode, client: httpx.AsyncClient
) -> None:
    response = await client.post("/v1/policies/homepage/explain", json={"context": SOUND})
    body = response.json()
    assert response.status_code == 200
    assert {arm["arm"] for arm in body["arms"]} == {"news", "best", "fresh"}
    assert {effect["feature"] for effect in body["arms"][0]["features"]} == {"intercept", "age", "device"}
    assert not {"action_id", "arm", "propensity", "decided_at_ms"} & body.keys()
    assert node.delivery.undelivered == 0
    assert not node.journal.answers
    assert (await client.post("/v1/policies/other/explain", json={})).status_code == 409


async def test_a_recent_decision_is_explained_as_it_was_made(
    node: ServingNode, client: httpx.AsyncClient, linear: PolicyDefinition, content_of: Content
) -> None:
    made = (await client.post(DECIDE, json={"context": SOUND, "action_id": "a/b"})).json()
    # A later snapshot thinks otherwise.
    node.follower.snapshots["homepage"] = load_snapshot(content_of(linear, {"news": (90, 100)}, version=8))
    response = await client.get("/v1/decisions/a%2Fb/explain")
    assert response.status_code == 404  # a slash is two path segments, however it is written
    made = (await client.post(DECIDE, json={"context": SOUND, "action_id": "x1"})).json()
    node.follower.snapshots["homepage"] = load_snapshot(content_of(linear, {"best": (90, 100)}, version=9))
    body = (await client.get("/v1/decisions/x1/explain")).json()
    assert {arm["arm"]: arm["probability"] for arm in body["arms"]} == made["probabilities"]
    assert (body["arm"], body["propensity"], body["snapshot_version"]) == (made["arm"], made["propensity"], 8)
    news = next(arm for arm in body["arms"] if arm["arm"] == "news")
    assert news["mean"] == pytest.approx(sum(effect["effect"] for effect in news["features"]))
    response = await client.get("/v1/decisions/unheard-of/explain")
    assert (response.status_code, response.json()["error"]) == (404, "decision-not-held")


async def test_the_policies_are_listed_with_what_decides(client: httpx.AsyncClient) -> None:
    (policy,) = (await client.get("/v1/policies")).json()["policies"]
    assert (policy["policy"], policy["algorithm"], policy["snapshot_version"]) == ("homepage", "linear_thompson", 7)
    assert (policy["arms"], policy["features"], policy["outcomes"]) == (
        ["best", "fresh", "news"],
        ["age", "device"],
        ["click"],
    )


async def test_a_node_is_ready_while_a_snapshot_is_young_enough(node: ServingNode, client: httpx.AsyncClient) -> None:
    assert (await client.get("/readyz")).status_code == 503  # published in 1970
    node.follower._published_at_ms["homepage"] = int(time.time() * 1000)
    response = await client.get("/readyz")
    assert (response.status_code, response.json()["is_ready"]) == (200, True)
    node.follower.snapshots.clear()
    response = await client.get("/readyz")
    assert (response.status_code, response.json()["detail"]) == (503, "there is no snapshot yet")


async def test_metrics_count_what_was_answered(client: httpx.AsyncClient) -> None:
    await client.post(DECIDE, json={"context": SOUND})
    await client.post(DECIDE, json={"context": {}})
    await client.post(DECIDE, json={"eligible": []})
    await client.post(DECIDE, content=b"[")
    await client.post("/v1/outcomes", json={"action_id": "x1", "kind": "click"})
    response = await client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    told = dict(line.rsplit(" ", 1) for line in response.text.splitlines() if not line.startswith("#"))
    assert told['pipeline_decisions_total{policy="homepage",reason="policy"}'] == "1.0"
    assert told['pipeline_decisions_total{policy="homepage",reason="unencodable-context"}'] == "1.0"
    assert told['pipeline_unanswered_total{policy="homepage",reason="no-eligible-arm"}'] == "1.0"
    assert sum(float(count) for name, count in told.items() if name.startswith("pipeline_arm_decisions_total")) == 2.0
    assert told["pipeline_outcomes_total"] == "1.0"
    assert told['pipeline_snapshot_version{policy="homepage"}'] == "7.0"
    assert float(told['pipeline_snapshot_age_seconds{policy="homepage"}']) > 0.0
    assert told["pipeline_delivery_waiting"] == "3.0"
    assert told['pipeline_delivery_records_total{fate="shed"}'] == "0.0"
    assert told['pipeline_request_seconds_count{operation="decide",status="200"}'] == "2.0"
    assert told['pipeline_request_seconds_count{operation="decide",status="400"}'] == "1.0"


async def test_two_nodes_of_one_process_count_apart(node: ServingNode) -> None:
    for app in (build_routes(node), build_routes(node), build_metrics_routes(NodeMetrics(node), node.settings)):
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://localhost", headers=JSON_TYPE
        ) as client:
            assert (await client.get("/metrics")).status_code == 200


async def test_a_policy_that_nobody_declared_is_no_label(client: httpx.AsyncClient) -> None:
    for number in range(20):
        asked = {"context": {}, "eligible": ["a"]}
        await client.post(f"/v1/policies/made-up-{number}/decide", json=asked)
    text = (await client.get("/metrics")).text
    assert "made-up" not in text
    assert 'pipeline_decisions_total{policy="(unknown)"' in text


async def test_the_docs_page_needs_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    assert "://" not in page.text
    assert "openapi.json" in page.text


async def test_the_document_describes_every_route_and_every_type_that_it_names(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(operation.method, operation.path) for operation in OPERATIONS}
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert named <= set(document["components"]["schemas"])
    assert document["components"]["schemas"]["DecideBody"]["additionalProperties"] is False


async def test_every_answer_is_of_the_type_that_the_document_says(node: ServingNode, client: httpx.AsyncClient) -> None:
    node.follower._published_at_ms["homepage"] = int(time.time() * 1000)
    await client.post(DECIDE, json={"context": SOUND, "action_id": "x1"})
    bodies: dict[str, Any] = {operation.name: dict(operation.example) for operation in OPERATIONS}
    for operation in OPERATIONS:
        kind = operation.answers[200]
        if kind is None:
            continue
        path = operation.path.format(policy="homepage", action_id="x1")
        response = await client.request(
            operation.method, path, json=bodies[operation.name] if operation.body is not None else None
        )
        assert response.status_code == 200, (operation.name, response.text)
        read = msgspec.json.decode(response.content, type=kind)
        assert msgspec.to_builtins(read) == response.json(), operation.name


async def test_of_a_batch_all_decisions_are_logged_or_none(node: ServingNode, client: httpx.AsyncClient) -> None:
    # A name of 96 characters takes 99 in the body, and 98 with 8 of its probability in the record.
    too_large = {"context": SOUND, "eligible": [f"{number:096}" for number in range(10_000)]}
    requests = [{"context": SOUND, "action_id": f"a{number}"} for number in range(100)]
    response = await client.post(f"{DECIDE}/batch", json={"requests": [*requests[:1], {"context": {"note": "x"}}]})
    assert node.delivery.undelivered == 2
    # The body is within its bound, and the last record is not.
    response = await client.post(f"{DECIDE}/batch", json={"requests": [*requests[1:3], too_large]})
    assert (response.status_code, response.json()["error"]) == (413, "record-too-large")
    assert node.delivery.undelivered == 2
    assert (await client.get("/v1/decisions/a1/explain")).status_code == 404
    assert sum(node.journal.answers.values()) == 2


async def test_an_action_that_is_asked_for_again_gets_its_first_answer(
    node: ServingNode, client: httpx.AsyncClient
) -> None:
    first = (await client.post(DECIDE, json={"context": SOUND, "action_id": "a", "eligible": ["news", "?"]})).json()
    for _ in range(10):
        again = (await client.post(DECIDE, json={"context": {}, "action_id": "a"})).json()
        assert again == first
    many = await client.post(f"{DECIDE}/batch", json={"requests": [{"action_id": "a"}, {"action_id": "b"}] * 5})
    told = [each["decided"] for each in many.json()["answers"]]
    assert [each["arm"] for each in told[::2]] == [first["arm"]] * 5
    assert len({each["arm"] for each in told[1::2]}) == 1
    assert node.delivery.undelivered == 2  # a and b, once each
    other = await client.post("/v1/policies/other/decide", json={"action_id": "a"})
    assert (other.status_code, other.json()["error"]) == (409, "action-id-taken")


async def test_batches_that_ask_for_the_same_actions_side_by_side_get_the_same_answers(
    node: ServingNode, client: httpx.AsyncClient
) -> None:
    body = {"requests": [{"action_id": f"a{number}"} for number in range(60)] * 2}
    both = await asyncio.gather(*(client.post(f"{DECIDE}/batch", json=body) for _ in range(3)))
    told = {(each["decided"]["action_id"], each["decided"]["arm"]) for one in both for each in one.json()["answers"]}
    assert len(told) == 60
    assert node.delivery.undelivered == 60


async def test_a_fault_in_a_row_is_told_by_its_place(client: httpx.AsyncClient) -> None:
    for row, error, detail in (
        ({"context": 5}, "wrong-type", "requests[2].context is 5: Expected `object`, got `int`"),
        ({"contxt": {}}, "unknown-field", "requests[2]: Object contains unknown field `contxt`"),
        (7, "wrong-type", "requests[2] is 7: Expected `object`, got `int`"),
    ):
        refused = await client.post(f"{DECIDE}/batch", json={"requests": [{}, {}, row]})
        assert refused.status_code == 400
        assert refused.json() == {"error": error, "detail": detail}
    torn = await client.post(f"{DECIDE}/batch", content=b'{"requests": [{}, {"context": {"a": "\xff"}}]}')
    assert (torn.status_code, torn.json()["error"]) == (400, "not-decodable")
    outcomes = {"outcomes": [{"action_id": "a", "kind": "click"}, {"action_id": "b"}]}
    refused = await client.post("/v1/outcomes/batch", json=outcomes)
    assert refused.json()["detail"].startswith("outcomes[1]: Object missing required field `kind`")


def test_a_long_body_is_read_without_its_rows_as_it_is_with_them() -> None:
    for whole, rows in ((DecideManyBody, DecideManyRows), (OutcomesBody, OutcomesRows)):
        assert whole.__struct_fields__ == rows.__struct_fields__
        assert whole.__struct_defaults__ == rows.__struct_defaults__


async def test_answers_leave_out_what_nobody_asked_for(client: httpx.AsyncClient) -> None:
    small = {"action_id", "arm", "propensity", "snapshot_version", "reason", "expires_at_ms"}
    told = (await client.post(DECIDE, json={"context": SOUND, "fields": ["segment"]})).json()
    assert told.keys() == small | {"segment"}
    rest = {"segment", "snapshot_id", "guardrails", "ignored"}
    many = (await client.post(f"{DECIDE}/batch", json={"requests": [{"context": SOUND}]})).json()
    assert many["answers"][0]["decided"].keys() == small | rest
    asked = {"requests": [{"context": SOUND}], "fields": ["probabilities"]}
    many = (await client.post(f"{DECIDE}/batch", json=asked)).json()
    assert many["answers"][0]["decided"].keys() == small | {"probabilities"}
    refused = await client.post(DECIDE, json={"fields": ["everything"]})
    assert (refused.status_code, refused.json()["error"]) == (400, "out-of-range")
