from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from pipeline.brokers import Broker, default_cache_dir, running_broker
from pipeline.brokers.folder import taking_turns
from pipeline.brokers.kafka_jars import find_java, resolve_jars
from pipeline.brokers.local_kafka import LocalKafka
from pipeline.errors import ConfigError, UnavailableError
from tests.faults.options import add_options, leave_out_long_form

# The same examples on every run and machine; `--hypothesis-profile=explore` looks at others, and
# `long` lets the machine of tests/properties/test_machine.py run for an hour. How long an example
# takes says nothing on a machine that does other things too.
PATIENT = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("repeatable", PATIENT, derandomize=True, print_blob=True)
hypothesis.settings.register_profile("explore", PATIENT)
hypothesis.settings.register_profile("long", PATIENT, max_examples=20_000, stateful_step_count=120)
hypothesis.settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    leave_out_long_form(config, items)


@pytest.fixture(scope="session")
def embedded() -> Iterator[Broker]:
    """The broker inside this process; tests that share it use topics of their own."""
    with running_broker("embedded", cache_dir=default_cache_dir()) as broker:
        yield broker


@pytest.fixture(scope="session")
def kafka_cache() -> Path:
    """A cache that has Kafka's jars; without them or Java, tests fail in CI and are skipped elsewhere."""
    cache_dir = default_cache_dir()
    try:
        find_java()
        with taking_turns(cache_dir / "kafka"):
            resolve_jars(cache_dir)
    except (ConfigError, UnavailableError) as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI must test against a real Kafka, but {error}", pytrace=False)
        pytest.skip(f"no local Kafka to test against: {error}")
    return cache_dir


@pytest.fixture(scope="session")
def kafka(kafka_cache: Path) -> Iterator[LocalKafka]:
    """A real Kafka for the whole session; leave it running, and use topics of your own."""
    broker = LocalKafka.start(kafka_cache, fresh=True)
    yield broker
    broker.stop()


@pytest.fixture
def own_kafka(kafka_cache: Path) -> Iterator[LocalKafka]:
    """A real Kafka for one test, which may kill it."""
    broker = LocalKafka.start(kafka_cache, fresh=True)
    yield broker
    broker.stop()
