"""A broker with the empty topics of one test, and workers on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.brokers.local_kafka import LocalKafka
from tests.harness.client import Client
from tests.harness.known import Traffic
from tests.harness.topics import make_topics
from tests.harness.worker import Worker
from tests.samples import define


class Place(NamedTuple):
    """A broker with empty topics."""

    broker: str
    app_id: str
    partitions: int

    def worker(self, folder: Path, **options: Any) -> Worker:
        """Give a worker that is not started yet."""
        return Worker(self.broker, folder, app_id=self.app_id, partitions=self.partitions, **options)

    @asynccontextmanager
    async def loop(
        self, folder: Path, *all_data: Traffic, workers: int = 1
    ) -> AsyncIterator[tuple[Client, list[Worker]]]:
        """Put the policies in force and run workers; yields a client that watches them."""
        async with Client(self.broker, app_id=self.app_id, partitions=self.partitions) as client:
            for data in all_data:
                await client.apply(define(data.policy))
            with ExitStack() as running:
                started = [running.enter_context(self.worker(folder / f"{number}")) for number in range(workers)]
                client.watch(*started)
                yield client, started


def named(test: str) -> str:
    """Return the app id of a test's deployment."""
    return "".join(letter if letter.isalnum() else "-" for letter in test)[-60:].strip("-")


def on_kafka(kafka: LocalKafka, test: str, partitions: int) -> Place:
    """Make the topics anew; the group and the changelogs are named after the test."""
    app_id = named(test)
    asyncio.run(make_topics(kafka.bootstrap_servers, app_id, partitions))
    return Place(kafka.bootstrap_servers, app_id, partitions)
