from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from pipeline.brokers.local_kafka import LocalKafka
from tests.faults.table import Row, lines
from tests.faults.trial import Form, Trial
from tests.harness.client import Client
from tests.harness.place import on_kafka

PARTITIONS = 4
ROWS = pytest.StashKey[list[Row]]()

SHORT = Form("short", actions=700, is_long=False)
LONG = Form("long", actions=6_000, is_long=True)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.kafka)
            is_long = item.get_closest_marker("faults") is not None
            item.add_marker(pytest.mark.timeout(900 if is_long else 300))


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
    """A Kafka that stays up, for the scenarios whose fault is elsewhere."""
    broker = LocalKafka.start(kafka_cache, fresh=True)
    yield broker
    broker.stop()


@pytest_asyncio.fixture
async def trial(
    faults_kafka: LocalKafka, form: Form, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Trial]:
    """A scenario of either form on the Kafka that stays up."""
    async for one in _trial(faults_kafka, form, tmp_path, request):
        yield one


@pytest_asyncio.fixture
async def long_trial(
    faults_kafka: LocalKafka, long_form: Form, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Trial]:
    """A scenario of the long form on the Kafka that stays up."""
    async for one in _trial(faults_kafka, long_form, tmp_path, request):
        yield one


@pytest_asyncio.fixture
async def broker_trial(
    own_kafka: LocalKafka, long_form: Form, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Trial]:
    """A scenario of the long form on a Kafka of its own, which may come to harm."""
    async for one in _trial(own_kafka, long_form, tmp_path, request):
        yield one


async def _trial(kafka: LocalKafka, form: Form, folder: Path, request: pytest.FixtureRequest) -> AsyncIterator[Trial]:
    place = await asyncio.to_thread(on_kafka, kafka, request.node.name, PARTITIONS)
    words, _, parameters = request.node.name.removeprefix("test_").partition("[")
    parts = [part for part in parameters.rstrip("]").split("-") if part and part not in {"short", "long"}]
    name = " ".join([words.replace("_", " "), *parts])
    seed = request.config.getoption("--seed")
    async with Client(place.broker, app_id=place.app_id, partitions=PARTITIONS) as client:
        one = Trial(name, form, place, folder, client, seed)
        with one.at_the_end:
            yield one
        # A scenario that failed before it was examined has no numbers: it is in pytest's own list.
        if one.row is not None:
            request.config.stash[ROWS].append(one.row)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash[ROWS]
    if rows:
        terminalreporter.section(f"faults, seed {config.getoption('--seed')}")
        for line in lines(rows):
            terminalreporter.write_line(line)
    target = config.getoption("--faults-json")
    if target:
        content = {"seed": config.getoption("--seed"), "scenarios": [row._asdict() for row in rows]}
        Path(target).write_text(json.dumps(content, indent=2) + "\n", "utf-8")
