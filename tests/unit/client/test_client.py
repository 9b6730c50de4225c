from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pytest

from pipeline.client import http as module
from pipeline.client.core import Calls, NodeError
from pipeline.client.http import AsyncNodeClient, NodeClient
from pipeline.errors import UnavailableError
from pipeline.policy.definition import PolicyDefinition
from pipeline.publish.snapshot import build_snapshot
from pipeline.serve import load_snapshot
from pipeline.serve.http.routes import build_routes
from pipeline.serve.keys import ApiKey, hash_key
from pipeline.serve.messages.bodies import DecideBody, OutcomeBody
from pipeline.serve.node import ServingNode
from pipeline.serve.settings import ServeSettings
from tests.samples import define, plain_policy

URL = "http://node"
REFUSED = orjson.dumps({"error": "forbidden", "detail": "key shop lacks it"})


class Sender:
    """Stands in for a network: answers what it is told to, one after the other."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.requests: list[httpx.Request] = []
        self._answers = list(answers)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


Ask = Callable[..., Any]


def calls() -> Calls:
    numbers = itertools.count()
    return Calls(lambda: f"id-{next(numbers)}")


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Ask a stand-in with one of the two clients; waits are kept in `ask.waits`."""
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(module.time, "sleep", waits.append)
    monkeypatch.setattr(module.asyncio, "sleep", wait)

    async def asked(sender: Sender, call: Any, attempts: int = 3) -> Any:
        transport = httpx.MockTransport(sender)
        if request.param == "sync":
            with NodeClient(URL, attempts=attempts, http=httpx.Client(transport=transport)) as client:
                return client.ask(call)
        async with AsyncNodeClient(URL, attempts=attempts, http=httpx.AsyncClient(transport=transport)) as node:
            return await node.ask(call)

    asked.waits = waits  # type: ignore[attr-defined]
    return asked


async def test_a_lost_answer_is_asked_for_again_under_the_same_name(ask: Any) -> None:
    sender = Sender(
        httpx.ConnectError("away"),
        httpx.Response(503),
        httpx.Response(429, headers={"retry-after": "7"}),
        httpx.Response(200, json={"outcome_id": "o1"}),
    )
    assert await ask(sender, calls().outcome("x1", "click"), attempts=4) == "o1"
    ids = {orjson.loads(request.content)["outcome_id"] for request in sender.requests}
    assert len(ids) == 1
    assert ask.waits == [0.1, 0.2, 7.0]


async def test_a_node_that_never_answers_is_away(ask: Any) -> None:
    sender = Sender(*[httpx.ConnectError("refused")] * 3)
    with pytest.raises(UnavailableError, match=r"no node answers POST /v1/outcomes: .*refused"):
        await ask(sender, calls().outcome("x1", "click"))
    assert len(sender.requests) == 3


async def test_a_refusal_is_not_asked_again_and_says_why(ask: Any) -> None:
    sender = Sender(httpx.Response(403, content=REFUSED))
    with pytest.raises(NodeError, match="403 forbidden: key shop lacks it"):
        await ask(sender, calls().policies())
    assert len(sender.requests) == 1
    assert ask.waits == []


@pytest.mark.parametrize(("status", "text"), [(200, "<html>"), (404, "no such page")])
async def test_what_is_no_node_is_told_from_one(ask: Any, status: int, text: str) -> None:
    with pytest.raises(NodeError, match="not-understood"):
        await ask(Sender(httpx.Response(status, text=text)), calls().policies())


async def test_a_decision_that_may_have_been_logged_is_not_asked_for_again(ask: Any) -> None:
    # A second answer might be another arm, which JOIN would refuse as a conflicting duplicate.
    sender = Sender(httpx.ConnectError("away"), httpx.ReadTimeout("too late"))
    with pytest.raises(UnavailableError, match="too late"):
        await ask(sender, calls().decide("homepage", {}))
    assert len(sender.requests) == 2
    again = Sender(httpx.ReadTimeout("too late"), httpx.Response(200, json={"outcome_id": "o1"}))
    assert await ask(again, calls().outcome("x1", "click")) == "o1"


async def test_both_clients_do_all_that_a_node_offers() -> None:
    definition: PolicyDefinition = define(plain_policy())
    key = ApiKey("all", hash_key("pk_all"), frozenset({"decide", "outcomes", "operate"}))
    node = ServingNode(ServeSettings("127.0.0.1:1", keys=(key,)))
    node.follower.snapshots["homepage"] = load_snapshot(build_snapshot(definition, [], {}, 3, parent=""))
    node.follower._published_at_ms["homepage"] = 0
    http = httpx.AsyncClient(transport=httpx.ASGITransport(build_routes(node)))
    async with AsyncNodeClient(URL, "pk_all", http=http) as client:
        asked = client.calls
        shown = await client.ask(asked.decide("homepage", {"visits": 1}, eligible=["a"]))
        assert (shown.arm, shown.snapshot_version, shown.segment) == ("a", 3, "new")
        many = await client.ask(asked.decide_many("homepage", [DecideBody(), DecideBody(eligible=[])]))
        assert many[0].decided.arm in {"a", "b"}  # type: ignore[union-attr]
        assert many[1].refused.error == "no-eligible-arm"  # type: ignore[union-attr]
        assert await client.ask(asked.outcome(shown.action_id, "click", outcome_id="o1")) == "o1"
        assert await client.ask(asked.outcomes([OutcomeBody("x", "click", outcome_id="o2")])) == ["o2"]
        assert {arm.arm for arm in (await client.ask(asked.explain("homepage", {}))).arms} == {"a", "b"}
        assert (await client.ask(asked.explain_decision(shown.action_id))).arm == "a"
        assert [policy.policy for policy in await client.ask(asked.policies())] == ["homepage"]
        with pytest.raises(NodeError, match="400 out-of-range: policy is 'other c'"):
            await client.ask(asked.decide("other c", {}))
    assert node.delivery.undelivered == 4
