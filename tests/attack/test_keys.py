"""What holders of keys may do, on a real node: a page invents nothing, nobody reaches others' policies, keys change."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from pipeline.cli.api_key import api_key
from pipeline.codec import avro
from pipeline.outcome_id import kept_id
from pipeline.policy.parsing.parse import parse_policy
from pipeline.serve import load_snapshot
from pipeline.serve.claims import parse_secrets
from pipeline.serve.http.server import listening
from pipeline.serve.keys import parse_keys
from pipeline.serve.node import ServingNode
from pipeline.serve.settings import ServeSettings
from pipeline.stream.log.topics import OUTCOMES
from tests.harness.certificates import issue
from tests.harness.taught import taught
from tests.samples import plain_policy

pytestmark = pytest.mark.attack

WITHIN_S = 20.0
SECRET = "0123456789abcdef"  # noqa: S105  of this test


def make_key(path: Path, *arguments: str) -> dict[str, str]:
    """Make a key as an operator does; return what its holder sends."""
    made = CliRunner().invoke(api_key, list(arguments))
    assert made.exit_code == 0, made.output
    path.write_text((path.read_text() if path.exists() else "") + made.stdout)
    return {"authorization": f"Bearer {made.stderr.split()[-1]}"}


PAGE = ("--name", "page", "--right", "decide", "--right", "outcomes", "--policy", "homepage", "--claim", "click=1")


@asynccontextmanager
async def site(folder: Path, **settings: Any) -> AsyncIterator[tuple[ServingNode, httpx.AsyncClient]]:
    keys, secret = folder / "keys.toml", folder / "secret"
    secret.write_text(SECRET)
    node = ServingNode(
        ServeSettings(
            "127.0.0.1:1",
            keys=parse_keys(keys.read_text(), "keys"),
            keys_file=keys,
            claim_secrets=parse_secrets(secret.read_text(), "secret"),
            claim_secret_file=secret,
            **settings,
        )
    )
    for name in ("homepage", "checkout"):
        node.follower.snapshots[name] = load_snapshot(taught(parse_policy(plain_policy() | {"name": name}, name), 1))
        node.follower._published_at_ms[name] = 0
    async with (
        asyncio.timeout(60),
        listening(node, "127.0.0.1", 0) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        yield node, client


def watch(node: ServingNode, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bytes]]:
    """Note what a node hands over to be logged."""
    sent: list[tuple[str, bytes]] = []
    monkeypatch.setattr(node.delivery, "send", lambda topic, _key, record: sent.append((topic, record)))
    return sent


async def test_a_page_tells_outcomes_of_decisions_that_it_was_given_and_dates_and_names_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = make_key(tmp_path / "keys.toml", *PAGE)
    async with site(tmp_path) as (node, client):
        sent = watch(node, monkeypatch)
        shown = (await client.post("/v1/policies/homepage/decide", json={}, headers=page)).json()
        other = (await client.post("/v1/policies/homepage/decide", json={}, headers=page)).json()
        sound = {"action_id": shown["action_id"], "kind": "click", "claim": shown["claim"]}
        ahead_ms = int(time.time() * 1000) + 299_000
        for refused, word in (
            ({"action_id": "made-up", "kind": "click"}, "claim-needed"),
            (sound | {"action_id": "made-up"}, "claim-refused"),
            (sound | {"action_id": other["action_id"]}, "claim-refused"),
            (sound | {"kind": "like"}, "claim-refused"),
            (sound | {"value": 2.0}, "claim-refused"),
            (sound | {"value": -2.0}, "claim-refused"),
            (sound | {"occurred_at_ms": ahead_ms}, "claim-refused"),
            (sound | {"occurred_at_ms": ahead_ms - 600_000}, "claim-refused"),
            (sound | {"outcome_id": "another"}, "claim-refused"),
            (sound | {"claim": shown["claim"][:-4] + "AAAA"}, "claim-refused"),
            (sound | {"claim": "x" * 100_000}, "claim-needed"),
        ):
            for path, body in (("outcomes", refused), ("outcomes/batch", {"outcomes": [sound, refused]})):
                answer = await client.post(f"/v1/{path}", json=body, headers=page)
                assert (answer.status_code, answer.json()["error"]) == (403, word), refused
        named = await client.post("/v1/policies/homepage/decide", json={"action_id": "mine"}, headers=page)
        assert (named.status_code, named.json()["error"]) == (403, "action-id-refused")
        batch = {"requests": [{}, {"action_id": "mine"}]}
        assert (await client.post("/v1/policies/homepage/decide/batch", json=batch, headers=page)).status_code == 403
        assert OUTCOMES not in {topic for topic, _ in sent}
        before_ms = int(time.time() * 1000)
        for _ in range(3):  # as often as it needs to arrive: it counts once
            told = await client.post("/v1/outcomes", json=sound, headers=page)
            assert told.json() == {"outcome_id": f"{shown['action_id']}-click"}
        logged = [avro.decode_as("outcome", record) for topic, record in sent if topic == OUTCOMES]
        assert {each["outcome_id"] for each in logged} == {kept_id(f"{shown['action_id']}-click", shown["action_id"])}
        assert all(before_ms <= each["occurred_at_ms"] <= int(time.time() * 1000) for each in logged)


async def test_a_batch_gives_claims_too_and_another_key_can_not_use_them(tmp_path: Path) -> None:
    page = make_key(tmp_path / "keys.toml", *PAGE)
    thief = make_key(tmp_path / "keys.toml", *("--name", "thief"), *PAGE[2:])
    async with site(tmp_path) as (_, client):
        batch = await client.post("/v1/policies/homepage/decide/batch", json={"requests": [{}]}, headers=page)
        (shown,) = batch.json()["answers"]
        told = {"action_id": shown["decided"]["action_id"], "kind": "click", "claim": shown["decided"]["claim"]}
        assert (await client.post("/v1/outcomes", json=told, headers=thief)).json()["error"] == "claim-refused"
        assert (await client.post("/v1/outcomes", json=told, headers=page)).status_code == 200


async def test_a_key_of_one_policy_reaches_no_other(tmp_path: Path) -> None:
    rights = [word for right in ("decide", "outcomes", "operate") for word in ("--right", right)]
    mine = make_key(tmp_path / "keys.toml", "--name", "mine", *rights, "--policy", "homepage")
    theirs = make_key(tmp_path / "keys.toml", "--name", "theirs", *rights, "--policy", "checkout")
    async with site(tmp_path) as (_, client):
        shown = (await client.post("/v1/policies/checkout/decide", json={}, headers=theirs)).json()
        for path in ("decide", "decide/batch", "explain"):
            body = {"requests": [{}]} if path == "decide/batch" else {}
            refused = await client.post(f"/v1/policies/checkout/{path}", json=body, headers=mine)
            assert (refused.status_code, refused.json()["error"]) == (403, "forbidden")
            assert (await client.post(f"/v1/policies/homepage/{path}", json=body, headers=mine)).status_code == 200
        path = f"/v1/decisions/{shown['action_id']}/explain"
        assert (await client.get(path, headers=mine)).status_code == 403
        assert (await client.get(path, headers=theirs)).status_code == 200
        told = {"action_id": shown["action_id"], "kind": "click"}
        assert (await client.post("/v1/outcomes", json=told, headers=mine)).json()["error"] == "claim-needed"
        told["claim"] = shown["claim"]
        assert (await client.post("/v1/outcomes", json=told, headers=mine)).json()["error"] == "claim-refused"
        assert (await client.post("/v1/outcomes", json=told, headers=theirs)).status_code == 200
        listed = (await client.get("/v1/policies", headers=mine)).json()["policies"]
        assert [each["policy"] for each in listed] == ["homepage"]


async def until(asked: Any, what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not await asked():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.05)


async def test_keys_change_without_a_restart_and_a_faulty_file_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = tmp_path / "keys.toml"
    old = make_key(keys, "--name", "shop", "--right", "decide")
    late = make_key(keys, "--name", "late", "--right", "decide", "--expires", "2020-01-01")
    ops = make_key(keys, "--name", "ops", "--right", "operate")
    async with site(tmp_path) as (_, client):

        async def status(headers: dict[str, str]) -> int:
            return (await client.post("/v1/policies/homepage/decide", json={}, headers=headers)).status_code

        assert (await status(old), await status(late)) == (200, 401)
        entry_of_old = keys.read_text()
        new = make_key(keys, "--name", "shop", "--right", "decide")
        assert await status(new) in {200, 401}

        async def both() -> bool:
            return await status(new) == 200 and await status(old) == 200

        await until(both, "the second key of a name is not taken")
        both_entries = keys.read_text()
        keys.write_text(both_entries + "[[keys]]\nfaulty")

        async def told() -> bool:
            return "not-renewed" in caplog.text

        await until(told, "a faulty file is not told")
        assert await both()
        replacing = tmp_path / "replacing"
        replacing.write_text(both_entries.removeprefix(entry_of_old) + entry_of_old.partition("\n\n")[2])
        os.replace(replacing, keys)  # noqa: PTH105  in one step, as is done with secrets

        async def only_new() -> bool:
            return await status(new) == 200 and await status(old) == 401

        await until(only_new, "a key that was taken away is still one")
        health = (await client.get("/healthz", headers=ops)).json()["keys"]
        used = {each["name"]: each["last_used_ms"] for each in health}
        assert used["late"] is None
        assert used["shop"] > 0


async def test_the_secret_of_claims_is_rotated_without_losing_any(tmp_path: Path) -> None:
    page = make_key(tmp_path / "keys.toml", *PAGE)
    async with site(tmp_path) as (_, client):

        async def shown() -> dict[str, Any]:
            answer = await client.post("/v1/policies/homepage/decide", json={}, headers=page)
            return {"action_id": answer.json()["action_id"], "kind": "click", "claim": answer.json()["claim"]}

        async def status(told: dict[str, Any]) -> int:
            return (await client.post("/v1/outcomes", json=told, headers=page)).status_code

        before = await shown()
        (tmp_path / "secret").write_text(f"another-secret-of-ours\n{SECRET}\n")
        assert await status(before) == 200
        (tmp_path / "secret").write_text("another-secret-of-ours\n")

        async def is_refused() -> bool:
            return await status(before) == 403

        await until(is_refused, "a secret that was taken away still signs")
        assert await status(await shown()) == 200


async def test_a_certificate_stands_for_a_key_and_authorities_and_certificates_change_without_a_restart(
    tmp_path: Path,
) -> None:
    make_key(tmp_path / "keys.toml", "--name", "shop", "--right", "decide", "--certificate", "shop.internal")
    bearer = make_key(tmp_path / "keys.toml", "--name", "other", "--right", "decide")
    node_files = issue(tmp_path / "node", "127.0.0.1")
    shop, stranger = issue(tmp_path / "shop", "shop.internal"), issue(tmp_path / "stranger", "shop.internal")
    authorities = tmp_path / "clients.pem"
    authorities.write_bytes(shop.authority.read_bytes())
    certificate, key = tmp_path / "served.pem", tmp_path / "served.key"

    def serve(files: Any) -> None:
        certificate.write_bytes(files.certificate.read_bytes())
        key.write_bytes(files.key.read_bytes())

    serve(node_files)
    options = {"tls_certificate": certificate, "tls_key": key, "tls_client_ca": authorities}
    async with site(tmp_path, **options) as (_, client):
        url = str(client.base_url)

        async def status(authority: Path, files: Any = None, headers: dict[str, str] | None = None) -> int:
            context = ssl.create_default_context(cafile=authority)
            if files is not None:
                context.load_cert_chain(files.certificate, files.key)
            try:
                async with httpx.AsyncClient(base_url=url, verify=context) as once:
                    answer = await once.post("/v1/policies/homepage/decide", json={}, headers=headers or {})
            except httpx.TransportError:
                return 0
            return answer.status_code

        assert await status(node_files.authority, shop) == 200
        assert await status(node_files.authority) == 401
        assert await status(node_files.authority, headers=bearer) == 200
        assert await status(node_files.authority, stranger) == 0
        # Now the other authority's, and a node's certificate of another one.
        authorities.write_bytes(stranger.authority.read_bytes())
        renewed = issue(tmp_path / "renewed", "127.0.0.1")
        serve(renewed)

        async def is_renewed() -> bool:
            return await status(renewed.authority, stranger) == 200

        await until(is_renewed, "certificates are not read again")
        assert await status(renewed.authority, shop) == 0
        assert await status(node_files.authority, stranger) == 0
