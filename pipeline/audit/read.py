"""The topic `audit`, read."""

from __future__ import annotations

from pipeline.audit.entry import Audit
from pipeline.codec.readable import readable
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.passed_over import PassedOver
from pipeline.stream.log.topics import AUDIT
from pipeline.stream.security import Address


async def read_audits(broker: Address) -> list[Audit]:
    """Return all records that are kept, in the order in which the broker took them; what is none is told of.

    Raises:
        UnavailableError: no broker answers, there is no such topic, or it may not be read.
    """
    follower, tell = TopicFollower(broker, AUDIT), PassedOver(AUDIT)
    found = []
    try:
        await follower.start()
        async for entries in follower.batches_to_end():
            for entry in entries:
                pairs = [(entry.offset, entry.value)]
                found += [Audit(**fields) for _, _, fields in readable(entry.partition, pairs, "audit", pass_over=tell)]
    finally:
        await follower.stop()
    return found
