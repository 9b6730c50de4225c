"""The stage of a play: a broker without earlier records, its topics, a policy in force, and workers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition

from pipeline.brokers import Broker
from pipeline.brokers.embedded import PARTITIONS as EMBEDDED_PARTITIONS
from pipeline.brokers.ports import HOST, free_ports
from pipeline.demo.failure import DemoError
from pipeline.demo.members import wait_for_partitions
from pipeline.demo.processes import Processes, beside
from pipeline.errors import ConfigError, PipelineError
from pipeline.policy.definition import PolicyDefinition
from pipeline.stream.log.topics import create_topics, topic_specs

APP_ID = "pipeline"

Apply = Callable[[str, PolicyDefinition], Awaitable[bool]]
"""Puts a policy in force on a broker."""


@dataclass(frozen=True)
class Stage:
    """What is up and running."""

    broker: str
    """Bootstrap servers."""
    partitions: int
    """Of every topic that carries events."""
    processes: Processes
    """Workers so far."""
    folder: Path
    """Of their logs and state, for as long as the stage is up."""
    metrics: tuple[str, ...]
    """Where each worker tells its counts."""


@asynccontextmanager
async def staged(
    broker: Broker, definition: PolicyDefinition, apply: Apply, *, partitions: int, workers: int
) -> AsyncIterator[Stage]:
    """Prepare a broker and run workers on it inside this block.

    The folder with their logs is removed at the end, or named by the error that ends the block.

    Raises:
        ConfigError: the broker holds records of an earlier play. DemoError: a process ended early.
    """
    address = broker.bootstrap_servers
    count = partitions if broker.supports_topic_creation else EMBEDDED_PARTITIONS
    if broker.supports_topic_creation:
        await create_topics(address, topic_specs(APP_ID, count))
        await _require_unused(address, count)
    await apply(address, definition)
    folder = Path(tempfile.mkdtemp(prefix="pipeline-demo-"))
    try:
        with Processes(folder) as processes:
            ports = free_ports(workers)
            for number, port in enumerate(ports, start=1):
                arguments = _worker_arguments(address, count, folder / f"state-{number}", port)
                processes.start(f"worker-{number}", arguments)
            if broker.supports_topic_creation:
                await beside(wait_for_partitions(address, APP_ID, workers), processes.watch())
            yield Stage(address, count, processes, folder, tuple(f"http://{HOST}:{port}" for port in ports))
    except PipelineError as error:
        _remove_state(folder)
        raise DemoError(f"{error}\nlogs of all processes: {folder}") from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _worker_arguments(broker: str, partitions: int, state: Path, metrics_port: int) -> list[str]:
    options = ["--broker", broker, "--app-id", APP_ID, "--partitions", str(partitions)]
    options += ["--state-dir", str(state), "--metrics-port", str(metrics_port)]
    return ["worker", *options, "--no-create-topics"]


async def _require_unused(broker: str, partitions: int) -> None:
    """Refuse a broker on which something was played or is in use: what is there would be counted as well."""
    topics = [
        TopicPartition(spec.name, number)
        for spec in topic_specs(APP_ID, partitions)
        for number in range(spec.partitions)
    ]
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, group_id=None, enable_auto_commit=False)
    await consumer.start()
    try:
        ends = await consumer.end_offsets(topics)
    finally:
        await consumer.stop()
    used = sorted({partition.topic for partition, end in ends.items() if end > 0})
    if used:
        raise ConfigError(
            f"broker {broker}",
            [f"topics {', '.join(used)} hold records: the demo plays on a broker of its own, such as --broker kafka"],
        )


def _remove_state(folder: Path) -> None:
    for state in folder.glob("state-*"):
        shutil.rmtree(state, ignore_errors=True)
