from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.errors import ConfigError
from pipeline.policy.definition import PolicyDefinition
from pipeline.serve import load_snapshot
from pipeline.serve.http import access as module
from pipeline.serve.http.refused import RefusedError
from pipeline.serve.http.routes import OPERATIONS, build_routes
from pipeline.serve.http.server import listening
from pipeline.serve.keys import ApiKey, Right, hash_key
from pipeline.serve.node import ServingNode
from pipeline.serve.settings import ServeSettings
from tests.harness.certificates import issue

JSON_TYPE = {"content-type": "application/json"}
SALT = "0123456789abcdef"
Content = Callable[..., bytes]


def key_of(name: str, *rights: Right) -> ApiKey:
    return ApiKey(name, hash_key(f"pk_{name}"), frozenset(rights))


KEYS = (key_of("shop", "decide"), key_of("till", "outcomes"), key_of("ops", "operate"))


def bearer(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer pk_{name}"}


def client_of(definition: PolicyDefinition, content: bytes, **options: Any) -> httpx.AsyncClient:
    node = ServingNode(ServeSettings("127.0.0.1:1", SALT, **options))
    node.follower.snapshots[definition.name] = load_snapshot(content)
    node.follower._published_at_ms[definition.name] = 0
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(build_routes(node)), base_url="http://localhost", headers=JSON_TYPE
    )


@pytest.fixture
async def client(beta: PolicyDefinition, content_of: Content) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(beta, content_of(beta, {}), keys=KEYS) as made:
        yield made


def request_of(name: str) -> tuple[str, str, bytes]:
    operation = next(each for each in OPERATIONS if each.name == name)
    path = operation.path.format(policy="homepage", action_id="x")
    return operation.method, path, b"{}" if operation.body is not None else b""


GUARDED = [(each.name, each.right) for each in OPERATIONS if each.right is not None]


@pytest.mark.parametrize(("operation", "right"), GUARDED)
async def test_a_key_opens_what_it_has_the_right_for_and_nothing_else(
    operation: str, right: Right, client: httpx.AsyncClient
) -> None:
    method, path, content = request_of(operation)
    for key in KEYS:
        response = await client.request(method, path, content=content, headers=bearer(key.name))
        if right in key.rights:
            assert response.status_code not in {401, 403}, response.text
        else:
            assert response.status_code == 403
            assert response.json()["error"] == "forbidden"


@pytest.mark.parametrize(("operation", "_right"), GUARDED)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer("shop2"),
        {"authorization": "Basic pk_shop"},
        {"authorization": "pk_shop"},
        {"authorization": "Bearer"},
    ],
)
async def test_without_a_known_key_nothing_is_read_or_answered(
    operation: str, _right: Right, headers: dict[str, str], client: httpx.AsyncClient
) -> None:
    method, path, _ = request_of(operation)
    response = await client.request(method, path, content=b"no JSON at all", headers=headers)
    assert (response.status_code, response.json()["error"]) == (401, "unauthorized")
    assert response.headers["www-authenticate"] == "Bearer"


async def test_health_is_open_but_its_details_are_for_operators(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    assert (await client.get("/healthz", headers=bearer("shop"))).json() == {"status": "ok"}
    assert "homepage" in (await client.get("/healthz", headers=bearer("ops"))).json()["snapshots"]
    assert (await client.get("/readyz")).status_code == 503
    document = (await client.get("/openapi.json")).json()
    assert document["paths"]["/v1/outcomes"]["post"]["security"] == [{"key": []}]
    assert "security" not in document["paths"]["/healthz"]["get"]


async def test_whoever_asks_too_often_is_told_when_to_come_again(
    beta: PolicyDefinition, content_of: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1_000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now_s)
    options: dict[str, Any] = {"keys": (*KEYS, key_of("app", "decide")), "rate_per_s": 2.0, "burst": 3}
    async with client_of(beta, content_of(beta, {}), **options) as client:

        async def ask(name: str) -> httpx.Response:
            return await client.post("/v1/policies/homepage/decide", content=b"{}", headers=bearer(name))

        assert [(await ask("shop")).status_code for _ in range(4)] == [200, 200, 200, 429]
        refused = await ask("shop")
        assert (refused.json()["error"], refused.headers["retry-after"]) == ("too-many-requests", "1")
        assert (await ask("app")).status_code == 200
        now_s += 0.5
        assert [(await ask("shop")).status_code for _ in range(2)] == [200, 429]
        # A batch counts as many: two more after the first are not there.
        batch = {"requests": [{}, {}, {}]}
        url = "/v1/policies/homepage/decide/batch"
        assert (await client.post(url, json=batch, headers=bearer("app"))).status_code == 200
        assert (await client.post(url, json=batch, headers=bearer("app"))).status_code == 429


async def test_without_keys_an_address_is_limited(beta: PolicyDefinition, content_of: Content) -> None:
    async with client_of(beta, content_of(beta, {}), rate_per_s=0.001, burst=1) as client:
        statuses = [(await client.post("/v1/policies/homepage/decide", content=b"{}")).status_code for _ in range(2)]
        assert statuses == [200, 429]
        assert (await client.get("/healthz")).status_code == 200


async def test_no_key_and_no_person_is_ever_logged(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    for headers in (bearer("shop"), bearer("unknown-secret"), bearer("till")):
        for body in ({"subject": "ada@example.com"}, {"subject": ["ada@example.com"]}, {"subject": "\x00ada"}):
            await client.post("/v1/policies/homepage/decide", json=body, headers=headers)
    out = capfd.readouterr()
    written = "".join(record.getMessage() for record in caplog.records if not record.name.startswith("httpx"))
    for secret in ("pk_shop", "unknown-secret", "pk_till", "ada", SALT, *(key.sha256 for key in KEYS)):
        assert secret not in written + out.out + out.err


async def test_a_page_of_an_allowed_origin_may_call_and_others_may_not(
    beta: PolicyDefinition, content_of: Content
) -> None:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    async with client_of(beta, content_of(beta, {}), origins=("https://shop.example",), keys=KEYS) as client:
        for origin, is_allowed in (("https://shop.example", True), ("https://thief.example", False)):
            response = await client.options("/v1/policies/homepage/decide", headers={"origin": origin, **asked})
            assert (response.status_code == 200) == is_allowed
            assert (response.headers.get("access-control-allow-origin") == origin) == is_allowed
    async with client_of(beta, content_of(beta, {})) as client:
        response = await client.post(
            "/v1/policies/homepage/decide", content=b"{}", headers={"origin": "https://thief.example"}
        )
        assert "access-control-allow-origin" not in response.headers


async def test_a_node_with_a_certificate_speaks_tls_only(tmp_path: Path) -> None:
    authority, certificate, key = issue(tmp_path, "127.0.0.1")
    node = ServingNode(ServeSettings("127.0.0.1:1", tls_certificate=certificate, tls_key=key, metrics_port=0))
    context = ssl.create_default_context(cafile=authority)
    async with listening(node, "127.0.0.1", 0) as url:
        assert url.startswith("https://")
        async with httpx.AsyncClient(verify=context) as client:
            assert (await client.get(f"{url}/healthz")).status_code == 200
            with pytest.raises(httpx.TransportError):
                await client.get(f"{url.replace('https', 'http')}/healthz")
        async with httpx.AsyncClient() as client:
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await client.get(f"{url}/healthz")


async def test_a_certificate_that_can_not_be_used_is_refused(tmp_path: Path) -> None:
    _, certificate, _ = issue(tmp_path, "127.0.0.1")
    _, _, other_key = issue(tmp_path / "other", "127.0.0.1")
    node = ServingNode(ServeSettings("127.0.0.1:1", tls_certificate=certificate, tls_key=other_key))
    with pytest.raises(ConfigError, match=r"tls_certificate, tls_key: .* can't be used"):
        async with listening(node, "127.0.0.1", 0):
            pass


async def test_metrics_have_a_listener_of_their_own_where_no_key_is_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    node = ServingNode(ServeSettings("127.0.0.1:1", keys=KEYS, metrics_port=0))
    async with listening(node, "127.0.0.1", 0) as url, httpx.AsyncClient() as client:
        (told,) = [record.getMessage() for record in caplog.records if record.getMessage().startswith("metrics url=")]
        assert (await client.get(told.removeprefix("metrics url="))).status_code == 200
        assert (await client.get(told.removeprefix("metrics url=").replace("/metrics", "/healthz"))).status_code == 404
        assert (await client.get(f"{url}/metrics")).status_code == 401


async def test_a_page_s_key_is_charged_what_a_decision_costs_though_no_other_rate_is_set(
    beta: PolicyDefinition, content_of: Content
) -> None:
    page = ApiKey("page", hash_key("pk_page"), frozenset({"decide"}), claims={"click": 1.0})
    options: dict[str, Any] = {"keys": (page,), "page_rate_per_s": 0.001, "burst": 10}
    candidates = {f"new-{number}": {} for number in range(200)}
    async with client_of(beta, content_of(beta, {}), **options) as client:
        decide = "/v1/policies/homepage/decide"
        # 41 decisions' worth: a full bucket of 10 lets it through, and owes the rest.
        dear = await client.post(decide, json={"candidates": candidates}, headers=bearer("page"))
        assert dear.status_code == 200
        assert (await client.post(decide, json={}, headers=bearer("page"))).status_code == 429


def scope_from(client: str, *forwarded: str) -> dict[str, Any]:
    headers = [(b"authorization", b"Bearer pk_page")]
    headers += [(b"x-forwarded-for", each.encode()) for each in forwarded]
    return {"client": (client, 4_711), "headers": headers}


@pytest.mark.attack
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("2001:db8:0:1::1",), ("2001:db8:0:1:a:b:c:d",)),
        (("127.0.0.1", "2001:db8:0:1::1"), ("127.0.0.1", "192.0.2.1, 2001:DB8::1:0:0:0:2")),
        # A listener for both kinds tells an address of IPv4 so.
        (("::ffff:192.0.2.7",), ("192.0.2.7",)),
        (("::ffff:127.0.0.1", "192.0.2.7"), ("127.0.0.1", "::ffff:192.0.2.7")),
    ],
)
def test_whoever_has_many_addresses_of_one_network_has_one_rate(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    page = ApiKey("page", hash_key("pk_page"), frozenset({"decide", "outcomes"}), claims={"click": 1.0})
    settings = ServeSettings(
        "127.0.0.1:1", keys=(page,), proxies=("127.0.0.1",), page_rate_per_s=0.001, burst=2, claim_secrets=(b"x" * 16,)
    )
    access = module.Access(settings)
    access.admit(scope_from(*one), "decide", "homepage")
    access.admit(scope_from(*other), "decide", "homepage")
    for each in (one, other):
        with pytest.raises(RefusedError, match="too-many-requests"):
            access.admit(scope_from(*each), "decide", "homepage")
    access.admit(scope_from("2001:db8:0:2::1"), "decide", "homepage")
    access.admit(scope_from("::ffff:192.0.2.8"), "decide", "homepage")


@pytest.mark.attack
@pytest.mark.parametrize("name", ["jane@example.org", "Jane%20Doe", "%e2%82%ac", "%00", "%ff", "a%0d%0ab"])
async def test_a_path_names_nobody_where_it_would_be_logged(client: httpx.AsyncClient, name: str) -> None:
    for what, body in (
        ("decide", {"eligible": ["a"]}),
        ("decide/batch", {"requests": [{"eligible": ["a"]}]}),
        ("explain", {"eligible": ["a"]}),
    ):
        answer = await client.post(f"/v1/policies/{name}/{what}", json=body, headers=bearer("shop"))
        assert (answer.status_code, answer.json()["error"]) == (400, "out-of-range")
        assert "must name nobody" in answer.json()["detail"]
