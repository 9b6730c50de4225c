"""Look every other second whether the logs of the open partitions, and what all know, are still those of before.

One request for the topics, two to each leader for offsets, whatever the number of partitions; more only where a leader
has changed. It has a connection of its own: what is fetched does not wait for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from pipeline.errors import LogChangedError, UnavailableError
from pipeline.stream.log.continuity import Fault, Mark
from pipeline.stream.log.identity import Log, LogLookup
from pipeline.stream.log.sources import Sources
from pipeline.stream.security import Address, client_options

log = logging.getLogger(__name__)

WATCH_S = 2.0
SHORT_ROUNDS = 2
"""A leader that has just been elected may know less of the end than was read: once is not enough."""


class Watched(Protocol):
    """A partition in a stage's hands (`stream/state/durable.py`)."""

    sources: Sources

    @property
    def changelog(self) -> TopicPartition:
        """Where its state is durable."""

    def see_changelog(self, found: Log) -> None:
        """Compare its changelog, as it is now, with the one that is written."""


class LogWatch:
    """Watches what is open, whenever it looks."""

    def __init__(self, broker: Address, opened: Callable[[], Iterable[Watched]], followed: Iterable[str] = ()) -> None:
        """Say what is looked at.

        Args:
            broker: its address.
            opened: the partitions in this process's hands.
            followed: topics that it reads whole and knows by heart, of which no mark is kept.
        """
        self._broker = broker
        self._opened = opened
        self._followed: dict[TopicPartition, str] = {TopicPartition(topic, 0): "" for topic in followed}
        self._short: dict[TopicPartition, int] = {}
        self._missing: set[TopicPartition] = set()

    async def run(self) -> None:
        """Look until cancelled.

        Raises:
            LogChangedError: a log is another one.
        """
        while True:
            client = AIOKafkaClient(**client_options(self._broker))
            try:
                await client.bootstrap()
                lookup = LogLookup(client)
                while True:
                    await self.look(lookup)
                    await asyncio.sleep(WATCH_S)
            except (KafkaError, UnavailableError) as error:
                log.warning("logs-unseen error=%r", error)
            finally:
                await client.close()
            await asyncio.sleep(WATCH_S)

    async def look(self, lookup: LogLookup) -> None:
        """Look once. Raises LogChangedError, UnavailableError."""
        opened = list(self._opened())
        # What is read or written while the brokers are asked is not compared with what they say.
        marked = [
            (held.sources, TopicPartition(topic, held.sources.number), mark)
            for held in opened
            for topic, (mark, _) in held.sources.marks().items()
        ]
        changelogs = [held.changelog for held in opened]
        found = await lookup.logs([*(partition for _, partition, _ in marked), *changelogs, *self._followed])
        self._compare_followed(found)
        for held in opened:
            if held.changelog in found:
                held.see_changelog(found[held.changelog])
        for sources, partition, mark in marked:
            if partition in found:
                self._missing.discard(partition)
                await self._compare(sources, partition, mark, found[partition])
            elif partition not in self._missing:
                self._missing.add(partition)
                log.warning("log-missing topic=%s partition=%s", partition.topic, partition.partition)

    def _compare_followed(self, found: Mapping[TopicPartition, Log]) -> None:
        for place in self._followed.keys() & found.keys():
            known, seen = self._followed[place], found[place].topic_id
            if known and seen and seen != known:
                raise LogChangedError(
                    f"{place.topic} was made anew while it was followed: seen topic id {seen}, expected {known}. What "
                    "was known of it is used no more. Restore what stood in it, then start again, which reads it from "
                    "its start. See ops/runbooks/another-log.md"
                )
            self._followed[place] = known or seen

    async def _compare(self, sources: Sources, partition: TopicPartition, mark: Mark, found: Log) -> None:
        fault = await sources.check(partition.topic, mark, found)
        if fault is Fault.SHORTER:
            self._short[partition] = self._short.get(partition, 0) + 1
            if self._short[partition] >= SHORT_ROUNDS:
                raise sources.shorter(partition.topic, mark, found)
            return
        self._short.pop(partition, None)
