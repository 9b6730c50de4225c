"""The topic `audit`, read."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.audit.entry import Audit
from pipeline.codec import avro
from pipeline.errors import DecodeError
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.topics import AUDIT
from pipeline.stream.security import Address


class Audits(NamedTuple):
    """What lies in the topic."""

    records: list[Audit]
    """In the order in which the broker took them."""
    unreadable: list[str]
    """`partition/offset` of what is no such record."""


async def read_audits(broker: Address) -> Audits:
    """Return all that is kept.

    Raises:
        UnavailableError: no broker answers, there is no such topic, or it may not be read.
    """
    follower = TopicFollower(broker, AUDIT)
    found = Audits([], [])
    try:
        await follower.start()
        async for entries in follower.batches_to_end():
            for entry in entries:
                try:
                    found.records.append(Audit(**avro.decode_as("audit", entry.value or b"")))
                except DecodeError:
                    found.unreadable.append(f"{entry.partition}/{entry.offset}")
    finally:
        await follower.stop()
    return found
