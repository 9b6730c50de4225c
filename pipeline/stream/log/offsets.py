"""Where partitions begin and end, or stood at a moment, as their leader tells it.

One request asks for all that a broker leads. It answers what comes over one connection in turn, so a request for each
partition would wait as often behind a fetch that finds nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TypeAlias

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, LeaderNotAvailableError, for_code
from aiokafka.protocol.offset import OffsetRequest

LATEST_MS, EARLIEST_MS = -1, -2
"""Moments that the protocol has numbers for: the end, and the first offset that is kept."""
CONSUMER = -1
READ_UNCOMMITTED, READ_COMMITTED = 0, 1

Told: TypeAlias = int | KafkaError
"""An offset, or what the broker refuses it for."""


async def ask_offsets(
    client: AIOKafkaClient,
    leader: int | None,
    places: Iterable[TopicPartition],
    at_ms: int,
    isolation: int = READ_COMMITTED,
) -> dict[TopicPartition, Told]:
    """Return by partition the offset of the first record that the broker took at a moment or later.

    Args:
        client: connected.
        leader: of all of them; None or below zero: not known.
        places: of any topics.
        at_ms: epoch milliseconds; or EARLIEST_MS, LATEST_MS.
        isolation: of the end.

    Raises:
        KafkaError: it does not answer, or there is none.
    """
    if leader is None or leader < 0:
        raise LeaderNotAvailableError(f"{[tuple(place) for place in places]} have no known leader")
    by_topic: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for topic, number in places:
        by_topic[topic].append((number, at_ms))
    answer = await client.send(leader, OffsetRequest(CONSUMER, isolation, list(by_topic.items())))
    return {
        TopicPartition(topic, number): for_code(code)() if code else int(offset)
        for topic, parts in answer.topics
        for number, code, *_, offset in parts
    }


def sure(told: Told) -> int:
    """Return the offset, or raise what it is refused for."""
    if isinstance(told, KafkaError):
        raise told
    return told
