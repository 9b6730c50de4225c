"""One answer per person, as callers meet it: nodes that were started by the command, asked over HTTP, one killed and
started again; then the snapshot of the next epoch, and what is logged."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from scipy.stats import chisquare

from pipeline.brokers import Broker
from pipeline.events import Decision
from pipeline.policy.parsing.parse import load_policy
from pipeline.publish.partials import Mark
from pipeline.publish.snapshot import build_snapshot, snapshot_id
from pipeline.stream.log.topics import DECISIONS
from tests.harness.node import Node
from tests.integration.test_node import SALT, WITHIN_S, publish, read, until

NAME = "one-answer"
DECIDE = f"/v1/policies/{NAME}/decide"
NODES = 3
SUBJECTS = 2_000
AT_ONCE = 100
WEEK_MS = 7 * 86_400_000
DEFINITION = load_policy(
    f"""
name = "{NAME}"
arms = [{{ name = "low" }}, {{ name = "middle" }}, {{ name = "high" }}]
exploration = {{ floor = 0.1 }}
[algorithm]
name = "beta_thompson"
[reward]
low = 0
high = 1
outcomes = [{{ kind = "click", worth = 1, window = "1h" }}]
[assignment]
sticky = "subject"
epoch = "7d"
""",
    NAME,
)


def of_week(week: int, after: bytes = b"") -> bytes:
    """A snapshot of what nobody has clicked yet: each arm has a third."""
    marks = {0: Mark(week, week * WEEK_MS + 1)}
    return build_snapshot(DEFINITION, [], marks, week, snapshot_id(after) if after else "")


@asynccontextmanager
async def nodes_of(servers: str, folder: Path) -> AsyncIterator[tuple[list[Node], httpx.AsyncClient]]:
    with ExitStack() as running:
        nodes = [Node(servers, folder / f"node-{number}", "--subject-salt", SALT) for number in range(NODES)]
        for node in nodes:
            running.callback(node.kill)
        await asyncio.gather(*(asyncio.to_thread(node.start) for node in nodes))
        async with httpx.AsyncClient(timeout=WITHIN_S) as client:
            yield nodes, client


async def ask(client: httpx.AsyncClient, node: Node, subject: str | None, **more: Any) -> httpx.Response:
    body = more if subject is None else {"subject": subject, **more}
    return await client.post(f"{node.url}{DECIDE}", json=body)


async def until_live(client: httpx.AsyncClient, node: Node, version: int) -> None:
    async def is_live() -> bool:
        answer = (await ask(client, node, "whoever")).json()
        return answer.get("snapshot_version") == version and answer.get("reason") == "policy"

    await until(is_live, f"version {version} on {node.url}")


async def told(client: httpx.AsyncClient, node: Node, subjects: list[str]) -> dict[str, dict[str, Any]]:
    """Ask a node for many at once, some at a time; return each one's answer."""
    answers: dict[str, dict[str, Any]] = {}
    for start in range(0, len(subjects), AT_ONCE):
        some = subjects[start : start + AT_ONCE]
        body = {"requests": [{"subject": subject} for subject in some]}
        response = await client.post(f"{node.url}{DECIDE}/batch", json=body)
        assert response.status_code == 200, response.text
        answers |= zip(some, (one["decided"] for one in response.json()["answers"]), strict=True)
    return answers


async def test_a_person_is_given_one_answer_by_all_nodes_and_their_restarts_until_the_epoch_ends(
    embedded: Broker, tmp_path: Path
) -> None:
    servers = embedded.bootstrap_servers
    first = of_week(1)
    await publish(servers, NAME, first)
    subjects = [f"person {number}" for number in range(SUBJECTS)]
    async with nodes_of(servers, tmp_path) as (nodes, client):
        await asyncio.gather(*(until_live(client, node, 1) for node in nodes))
        # Everybody on one node, and the two others in turn: each person on two of them.
        everybody = await told(client, nodes[0], subjects)
        for number, node in enumerate(nodes[1:]):
            some = subjects[number :: NODES - 1]
            for subject, answer in (await told(client, node, some)).items():
                assert answer["arm"] == everybody[subject]["arm"]
                assert answer["propensity"] == everybody[subject]["propensity"]

        # Asked alone, as most callers do, and by a node that was killed and has started again.
        nodes[1].kill()
        nodes[1].start()
        await until_live(client, nodes[1], 1)
        for subject in subjects[:40]:
            alone = [(await ask(client, node, subject)).json() for node in nodes[:2]]
            assert {one["arm"] for one in alone} == {everybody[subject]["arm"]}

        shares = (await ask(client, nodes[0], subjects[0])).json()["probabilities"]
        counts = Counter(answer["arm"] for answer in everybody.values())
        # A right program fails this for one salt in a thousand; the salt is fixed.
        expected = [SUBJECTS * share for share in shares.values()]
        assert chisquare([counts[arm] for arm in shares], expected).pvalue > 0.001

        # Who loses its arm is given another, the same one everywhere, and nobody else moves.
        for subject in subjects[:20]:
            own = everybody[subject]["arm"]
            without = [arm for arm in shares if arm != own]
            others = {(await ask(client, node, subject, eligible=without)).json()["arm"] for node in nodes[:2]}
            assert len(others) == 1
            kept = (await ask(client, nodes[2], subject, eligible=[own, without[0]])).json()
            assert kept["arm"] == own

        # Nobody in particular can't be given one answer.
        refused = await ask(client, nodes[2], None)
        assert refused.status_code == 409
        assert refused.json()["error"] == "no-subject"
        assert "send `subject`" in refused.json()["detail"]

        # What is logged: the person's hash, the probability, and that the draw was the person's own.
        logged = everybody[subjects[7]]
        ((_, decision),) = await read(servers, DECISIONS, logged["action_id"])
        assert isinstance(decision, Decision)
        assert (decision.arm, decision.propensity) == (logged["arm"], shares[logged["arm"]])
        assert decision.guardrails == ("sticky",)
        assert decision.subject_hash is not None
        assert "person" not in repr(decision)

        # The next week draws anew: a third has the same arm as before.
        await publish(servers, NAME, of_week(2, after=first))
        await asyncio.gather(*(until_live(client, node, 2) for node in nodes))
        later = [await told(client, node, subjects[:300]) for node in nodes[:2]]
        assert all(later[0][one]["arm"] == later[1][one]["arm"] for one in later[0])
        same = sum(later[0][one]["arm"] == everybody[one]["arm"] for one in later[0])
        # 100 of 300, with a standard deviation of √(300 · 1/3 · 2/3) = 8.2.
        assert abs(same - 100) < 4 * 8.2
