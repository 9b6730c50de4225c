from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
import pytest_asyncio

from pipeline.brokers.local_kafka import LocalKafka
from tests.faults.cluster_trial import ClusterTrial
from tests.faults.options import seeds
from tests.faults.table import Row, lines
from tests.faults.trial import Form, Trial
from tests.harness.client import Client
from tests.harness.cluster.cluster import Cluster
from tests.harness.cluster.place import on_cluster
from tests.harness.place import Place, on_kafka

T = TypeVar("T", bound=Trial)

PARTITIONS = 4
ROW = "row of the table"
"""Name of the property of a test's report, which comes through from another process."""

RETENTION = "log.retention.check.interval.ms=500\nlog.initial.task.delay.ms=500\n"
"""How often and how soon it looks; five minutes and half a minute by default."""

SHORT = Form("short", actions=700, is_long=False)
LONG = Form("long", actions=6_000, is_long=True)

LONGEST_FIRST = (
    "test_a_worker_killed_at_every_write_boundary",
    "test_a_node_without_snapshots_or_killed_or_without_a_broker",
    "test_a_worker_killed_at_random_moments",
    "test_the_broker_is",
    "test_a_publisher_killed_between_building_and_sending",
)
"""So that, side by side, nothing long is left for the end."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", seeds(metafunc.config), ids="seed{}".format)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in ours:
        item.add_marker(pytest.mark.kafka)
        is_long = item.get_closest_marker("faults") is not None
        item.add_marker(pytest.mark.timeout(900 if is_long else 300))
    # Sorting is stable: what is equal keeps pytest's order.
    others = set(items).difference(ours)
    items[:] = [*(item for item in items if item in others), *sorted(ours, key=turn)]


def turn(item: pytest.Item) -> tuple[int, int]:
    """Return when a scenario is played: one seed after the other, and of each the longest first."""
    assert isinstance(item, pytest.Function)
    name = item.originalname
    seed = item.callspec.params["seed"] if "seed" in item.fixturenames else 0
    return seed, LONGEST_FIRST.index(name) if name in LONGEST_FIRST else len(LONGEST_FIRST)


@pytest.fixture(params=[pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.faults)])
def form(request: pytest.FixtureRequest) -> Form:
    """Both forms, of which only the short one runs unless the long one is asked for."""
    return request.param


@pytest.fixture
def long_form() -> Form:
    """For what has no short form."""
    return LONG


@pytest.fixture(scope="package")
def faults_kafka(kafka_cache: Path) -> Iterator[LocalKafka]:
    """A Kafka that stays up, for the scenarios whose fault is elsewhere; its retention takes things at once."""
    broker = LocalKafka.start(kafka_cache, fresh=True, properties=RETENTION)
    yield broker
    broker.stop()


@pytest_asyncio.fixture
async def trial(
    faults_kafka: LocalKafka, form: Form, seed: int, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Trial]:
    """A scenario of either form on the Kafka that stays up."""
    async for one in _trial(faults_kafka, form, seed, tmp_path, request):
        yield one


@pytest_asyncio.fixture
async def long_trial(
    faults_kafka: LocalKafka, long_form: Form, seed: int, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Trial]:
    """A scenario of the long form on the Kafka that stays up."""
    async for one in _trial(faults_kafka, long_form, seed, tmp_path, request):
        yield one


@pytest_asyncio.fixture
async def broker_trial(
    own_kafka: LocalKafka, long_form: Form, seed: int, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Trial]:
    """A scenario of the long form on a Kafka of its own, which may come to harm."""
    async for one in _trial(own_kafka, long_form, seed, tmp_path, request):
        yield one


@pytest.fixture(scope="package")
def faults_cluster(kafka_cache: Path) -> Iterator[Cluster]:
    """Three brokers; a scenario that harms one leaves all of them whole again."""
    cluster = Cluster.start(kafka_cache)
    yield cluster
    cluster.stop()


@pytest_asyncio.fixture
async def cluster_trial(
    faults_cluster: Cluster, form: Form, seed: int, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[ClusterTrial]:
    """A scenario of either form on three brokers."""
    async for one in on_three_brokers(faults_cluster, form, seed, tmp_path, request):
        yield one


@pytest_asyncio.fixture
async def long_cluster_trial(
    faults_cluster: Cluster, long_form: Form, seed: int, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[ClusterTrial]:
    """A scenario of the long form on three brokers."""
    async for one in on_three_brokers(faults_cluster, long_form, seed, tmp_path, request):
        yield one


async def on_three_brokers(
    cluster: Cluster,
    form: Form,
    seed: int,
    folder: Path,
    request: pytest.FixtureRequest,
    deployment: str | None = None,
) -> AsyncIterator[ClusterTrial]:
    """Give a scenario on a cluster, under a deployment's name or that of the test; whatever it did is undone."""
    place = await on_cluster(cluster, deployment or request.node.name, PARTITIONS)
    try:
        async for one in _played(place, partial(ClusterTrial, cluster), form, seed, folder, request):
            yield one
    finally:
        await asyncio.to_thread(cluster.make_whole)


async def _trial(
    kafka: LocalKafka, form: Form, seed: int, folder: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Trial]:
    place = await asyncio.to_thread(on_kafka, kafka, request.node.name, PARTITIONS)
    async for one in _played(place, Trial, form, seed, folder, request):
        yield one


async def _played(
    place: Place,
    make: Callable[[str, Form, Place, Path, Client, int], T],
    form: Form,
    seed: int,
    folder: Path,
    request: pytest.FixtureRequest,
) -> AsyncIterator[T]:
    words, _, parameters = request.node.name.removeprefix("test_").partition("[")
    unsaid = {"", "short", "long", f"seed{seed}"}
    name = " ".join(
        [words.replace("_", " "), *(part for part in parameters.rstrip("]").split("-") if part not in unsaid)]
    )
    async with Client(place.broker, app_id=place.app_id, partitions=PARTITIONS) as client:
        one = make(name, form, place, folder, client, seed)
        with one.at_the_end:
            yield one
        # A scenario that failed before it was examined has no numbers: it is in pytest's own list.
        if one.row is not None:
            request.node.user_properties.append((ROW, one.row._asdict()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    reports = [report for group in terminalreporter.stats.values() for report in group]
    found = [
        Row(**row)
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "teardown"
        for name, row in report.user_properties
        if name == ROW
    ]
    if found:
        terminalreporter.section("faults")
        for line in lines(found):
            terminalreporter.write_line(line)
    target = config.getoption("--faults-json")
    if target:
        content = {"seeds": seeds(config), "scenarios": [row._asdict() for row in found]}
        Path(target).write_text(json.dumps(content, indent=2) + "\n", "utf-8")
