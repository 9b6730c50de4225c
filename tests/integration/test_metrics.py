"""A worker's and a node's metrics, health and status, asked for as Prometheus, orchestrators and operators do."""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio
import yaml

from pipeline.brokers import EmbeddedBroker, default_cache_dir
from pipeline.brokers.ports import free_ports
from pipeline.stream.log.topics import DECISIONS
from tests.harness.client import Client
from tests.harness.command import pipeline
from tests.harness.node import Node
from tests.harness.pages import TOP
from tests.harness.place import Place
from tests.harness.prometheus import Binaries, Prometheus, prometheus_binaries, running_prometheus
from tests.harness.worker import Worker
from tests.samples import define, plain_decision, plain_outcome, plain_policy

WITHIN_S = 60.0
POLICY = "homepage"
OPS = TOP / "ops"


class Seen(NamedTuple):
    """What was told of 61 decisions and 45 outcomes, and of a node that decided seven times more."""

    worker: dict[str, float]
    health: dict[str, int]
    """Statuses by path."""
    node: dict[str, float]
    status: Any
    table: str
    after: Any
    """The status when the node is gone."""
    empty_panels: list[str]
    """Queries of dashboards that a Prometheus which scrapes both has no number for."""
    alerts: list[dict[str, Any]]
    """That this Prometheus has, pending or firing."""


@pytest.fixture(scope="module")
def binaries() -> Binaries:
    return prometheus_binaries(default_cache_dir())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seen(tmp_path_factory: pytest.TempPathFactory, binaries: Binaries) -> AsyncIterator[Seen]:
    folder, broker = tmp_path_factory.mktemp("seen"), EmbeddedBroker()
    port, node_port = free_ports(2)
    metrics = f"http://127.0.0.1:{port}"
    place = Place(broker.bootstrap_servers, "pipeline", 4)
    now_ms = time.time_ns() // 1_000_000
    try:
        async with Client(broker.bootstrap_servers) as client, httpx.AsyncClient() as http:
            await client.apply(define(plain_policy(settle="optimistic")))
            with Worker(broker.bootstrap_servers, folder, metrics_port=str(port)) as worker:
                client.watch(worker)
                await client.decide(plain_decision(f"x{number}", now_ms) for number in range(60))
                await client.observe(plain_outcome(f"x{number}", now_ms + 1) for number in range(0, 90, 2))
                await client.send(DECISIONS, 0, b"no record")
                await client.quiet()
                told = await scrape(http, port)
                await until(lambda: is_ok(http, f"{metrics}/caughtup"))
                health = {path: (await http.get(metrics + path)).status_code for path in ("/healthz", "/readyz")}
                with Node(broker.bootstrap_servers, folder, "--metrics-port", str(node_port)) as node:
                    # Answered by the policy, not by a fallback, once the node has its snapshot.
                    await until(lambda: is_ok(http, f"{node.url}/readyz"))
                    for _ in range(7):
                        answer = await http.post(f"{node.url}/v1/policies/{POLICY}/decide", json={"context": {}})
                        assert answer.status_code == 200
                    node_told = await scrape(http, node_port)
                    looking = ("status", "--worker-metrics", metrics, "--node", node.url)
                    status = json.loads(await pipeline(place, *looking, "--json", codes=(0, 1)))
                    table = await pipeline(place, *looking, codes=(0, 1))
                    config = scraping({"worker": port, "serve": node_port})
                    with running_prometheus(binaries, folder / "prometheus", config) as prometheus:
                        empty = await ask_panels(prometheus, http, node)
                        alerts = await calm(prometheus)
                after = json.loads(await pipeline(place, *looking, "--json", codes=(1,)))
        yield Seen(told, health, node_told, status, table, after, empty, alerts)
    finally:
        broker.stop()


def test_the_records_that_were_read_are_those_that_are_accounted_for(seen: Seen) -> None:
    told = seen.worker
    # 60 decisions and one that is none; of 45 outcomes, the 15 for x60 to x88 wait for their decision.
    assert total(told, "decisions", "read") == 61
    assert total(told, "decisions", "open") + total(told, "decisions", "settled") == 60
    assert total(told, "decisions", "rejected.not-decodable") == 1
    assert total(told, "outcomes", "read") == 45
    assert total(told, "outcomes", "credited") == 30
    assert total(told, "outcomes", "awaiting-decision") == 15
    assert {value for name, value in told.items() if name.startswith("pipeline_records_unaccounted")} == {0.0}
    assert summed(told, "pipeline_open_actions") == 60


def test_every_stage_tells_what_it_does_and_how_far_it_is(seen: Seen) -> None:
    told = seen.worker
    for stage in ("join", "learn", "publish"):
        assert told[f'pipeline_step_seconds_count{{stage="{stage}"}}'] > 0
        assert told[f'pipeline_restore_seconds_count{{table="{stage}"}}'] > 0
        assert told[f'pipeline_claimed_partitions{{stage="{stage}"}}'] == 4
    assert told['pipeline_handled_records_total{stage="join",topic="decisions"}'] >= 61
    assert told['pipeline_handled_records_total{stage="join",topic="outcomes"}'] >= 45
    assert any(name.startswith("pipeline_lag_records") for name in told)
    assert told[f'pipeline_snapshots_published_total{{policy="{POLICY}"}}'] >= 1
    assert told["pipeline_publish_seconds_count"] >= 1


def test_a_worker_that_reads_all_its_partitions_is_alive_and_ready(seen: Seen) -> None:
    assert seen.health == {"/healthz": 200, "/readyz": 200}


def test_what_callers_waited_for_is_told_on_the_listener_that_prometheus_is_pointed_at(seen: Seen) -> None:
    assert seen.node['pipeline_request_seconds_count{operation="decide",status="200"}'] == 7
    assert summed(seen.node, "pipeline_decisions_total") == 7
    assert summed(seen.node, "pipeline_arm_decisions_total") == 7


def test_status_tells_the_same_numbers(seen: Seen) -> None:
    assert (seen.status["status"], seen.status["faults"]) == ("ok", [])
    (worker,), (node,) = seen.status["workers"], seen.status["nodes"]
    assert worker["streams"]["outcomes"]["fates"]["credited"] == 30
    assert worker["streams"]["decisions"]["unaccounted"] == 0
    assert [worker["stages"][stage]["claimed"] for stage in ("join", "learn", "publish")] == [4, 4, 4]
    assert worker["published"][POLICY] - 1 <= node["versions"][POLICY] <= worker["published"][POLICY]
    # 60 and the one that is none; beside them, the node's seven and ticks as they come.
    assert seen.status["topics"]["decisions"]["end"] >= 61
    assert "nothing is wrong" in seen.table
    assert "join" in seen.table


def test_status_names_a_node_that_is_gone_and_what_to_do(seen: Seen) -> None:
    (fault,) = seen.after["faults"]
    assert fault["what"].startswith("node http://127.0.0.1:")
    assert fault["next_step"] == "ops/runbooks/node-down.md"


def test_every_query_of_every_dashboard_has_a_number_from_a_live_system(seen: Seen) -> None:
    assert seen.empty_panels == []


def test_no_alert_fires_or_is_about_to_where_all_is_well(seen: Seen) -> None:
    assert [alert["metric"]["alertname"] for alert in seen.alerts] == []


def scraping(ports: dict[str, int]) -> str:
    """Return a configuration with the rules that are shipped, and these processes in place of compose's."""
    shipped = yaml.safe_load((OPS / "prometheus" / "prometheus.yml").read_text("utf-8"))
    assert {job["job_name"] for job in shipped["scrape_configs"]} == set(ports)
    shipped["global"] = {"scrape_interval": "250ms", "scrape_timeout": "250ms", "evaluation_interval": "500ms"}
    shipped["rule_files"] = [str(OPS / "prometheus" / name) for name in shipped["rule_files"]]
    for job in shipped["scrape_configs"]:
        job["static_configs"] = [{"targets": [f"127.0.0.1:{ports[job['job_name']]}"]}]
    return yaml.safe_dump(shipped)


async def ask_panels(prometheus: Prometheus, http: httpx.AsyncClient, node: Node) -> list[str]:
    """Ask what every panel asks, while the node decides, until each has a number; return those that have none."""
    files = (OPS / "grafana" / "dashboards").glob("*.json")
    panels = [panel for file in files for panel in json.loads(file.read_text("utf-8"))["panels"]]
    left = [target["expr"].replace("$policy", ".*") for panel in panels for target in panel["targets"]]
    assert len(left) > 40
    deadline_s = time.monotonic() + WITHIN_S
    while left and time.monotonic() < deadline_s:
        await http.post(f"{node.url}/v1/policies/{POLICY}/decide", json={"context": {}})
        told = {asked: prometheus.query(asked) for asked in left}
        left = [asked for asked in left if all(math.isnan(float(each["value"][1])) for each in told[asked])]
    return left


async def scrape(http: httpx.AsyncClient, port: int) -> dict[str, float]:
    text = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
    return {name: float(value) for name, value in re.findall(r"^(pipeline_.+) (\S+)$", text, re.MULTILINE)}


async def is_ok(http: httpx.AsyncClient, url: str) -> bool:
    return (await http.get(url)).status_code == 200


async def calm(prometheus: Prometheus) -> list[dict[str, Any]]:
    """Return the alerts that stay: on a busy machine a scrape of 250 ms may be missed, which passes."""
    deadline_s = time.monotonic() + WITHIN_S
    while (alerts := prometheus.query("ALERTS")) and time.monotonic() < deadline_s:
        assert not [one for one in alerts if one["metric"]["alertstate"] == "firing"], alerts
        await asyncio.sleep(0.5)
    return alerts


async def until(look: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not await look():  # noqa: ASYNC110  of any condition
            await asyncio.sleep(0.05)


def summed(told: dict[str, float], metric: str) -> float:
    return sum(value for name, value in told.items() if name.startswith(f"{metric}{{"))


def total(told: dict[str, float], stream: str, fate: str) -> float:
    start = f'pipeline_records{{fate="{fate}",'
    return sum(value for name, value in told.items() if name.startswith(start) and f'stream="{stream}"' in name)
