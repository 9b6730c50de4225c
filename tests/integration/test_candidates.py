"""Arms that come with a request, through the whole loop: no two requests bring the same one.

On the embedded broker (one worker, 4 partitions) and on Apache Kafka.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.brokers import default_cache_dir, running_broker
from pipeline.client.http import AsyncNodeClient
from pipeline.serve.http.server import listening
from pipeline.serve.node import ServingNode
from pipeline.serve.settings import ServeSettings
from tests.harness.worker import Worker

WITHIN_S, PARTITIONS = 60.0, 4
POLICY = """
name = "shop"
[[arms]]
name = "bestseller"
features = { price = 0.0, video = 0.0 }
[candidates]
features = ["price", "video"]
[[context]]
name = "x"
kind = "numeric"
low = 0.0
high = 1.0
[segments]
default = "all"
[algorithm]
name = "hybrid_thompson"
[reward]
low = 0.0
high = 1.0
[[reward.outcomes]]
kind = "click"
worth = 1.0
window = "10m"
[attribution]
settle = "optimistic"
[exploration]
floor = 0.02
[publish]
interval = "100ms"
"""


def run(broker: str, *arguments: str) -> str:
    command = [sys.executable, "-m", "pipeline", *arguments, "--broker", broker]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WITHIN_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def brought(name: str, number: int) -> dict[str, dict[str, float]]:
    return {f"{name}-{number}": {"price": number % 7 / 7, "video": float(number % 2)}}


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "embedded":
        with running_broker("embedded", cache_dir=default_cache_dir()) as running:
            yield running.bootstrap_servers
    else:
        servers = request.getfixturevalue("own_kafka").bootstrap_servers
        run(servers, "topics", "create", "--partitions", str(PARTITIONS))
        yield servers


async def test_a_candidate_that_was_never_seen_is_shown_after_others_like_it_converted(
    broker: str, tmp_path: Path
) -> None:
    policy = tmp_path / "shop.toml"
    policy.write_text(POLICY, "utf-8")
    run(broker, "policy", "apply", str(policy))
    worker, node = Worker(broker, tmp_path, partitions=PARTITIONS), ServingNode(ServeSettings(broker))
    new = {"new-video": {"price": 0.4, "video": 1.0}, "new-text": {"price": 0.4, "video": 0.0}}
    async with asyncio.timeout(3 * WITHIN_S), node, listening(node, "127.0.0.1", 0) as url, AsyncNodeClient(url) as ask:
        with worker:
            await node.wait_ready("shop")
            before = await ask.ask(ask.calls.decide("shop", {"x": 0.5}, [], candidates=new))
            # Both have the same prior.
            assert before.probabilities == pytest.approx({"new-video": 0.5, "new-text": 0.5}, abs=1e-6)
            for number in range(60):
                shown = await ask.ask(ask.calls.decide("shop", {"x": 0.5}, [], candidates=brought("sku", number)))
                if number % 2:
                    await ask.ask(ask.calls.outcome(shown.action_id, "click"))
            await node.flush()
            deadline = time.monotonic() + WITHIN_S
            # Of thirty with video all were clicked, of thirty without none.
            while True:
                explained = await ask.ask(ask.calls.explain("shop", {"x": 0.5}, [], candidates=new))
                chances = {arm.arm: arm.probability for arm in explained.arms}
                if chances["new-video"] > 0.95:
                    break
                assert time.monotonic() < deadline, f"{chances} by {explained.snapshot_version}"
                assert worker.is_running, worker.log.read_text("utf-8")
                await asyncio.sleep(0.1)
            after = await ask.ask(ask.calls.decide("shop", {"x": 0.5}, candidates=new))
            assert set(after.probabilities) == {"bestseller", "new-video", "new-text"}
        run(broker, "verify", "--policy", "shop")
        assert run(broker, "dead-letters", "list").count("shop") == 0
