"""What history is there: the topics that `pipeline backfill` writes and nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress

from pipeline.codec.framed import UNDECLARED
from pipeline.codec.wire import BatchReader
from pipeline.errors import RecordError
from pipeline.events import Decision
from pipeline.stream.log.follow import Entry, TopicFollower
from pipeline.stream.log.topics import HISTORY_DECISIONS, existing_topics
from pipeline.stream.security import Address

OnProgress = Callable[[int, int], None]


async def is_loaded(broker: Address, policy: str) -> bool:
    """Return whether any decision of a policy was loaded.

    Raises:
        UnavailableError: no broker answers.
    """
    if HISTORY_DECISIONS not in await existing_topics(broker):
        return False
    reader = BatchReader("decision", UNDECLARED)
    async for entries in entries_of(broker, HISTORY_DECISIONS):
        for entry in entries:
            with suppress(RecordError):
                event = reader.read(entry.value)
                if isinstance(event, Decision) and event.policy == policy:
                    return True
    return False


async def entries_of(
    broker: Address, topic: str, on_progress: OnProgress = lambda _done, _total: None
) -> AsyncIterator[Sequence[Entry]]:
    """Yield a topic's records up to its present end."""
    follower = TopicFollower(broker, topic)
    try:
        await follower.start()
        async for entries in follower.batches_to_end(on_progress):
            yield entries
    finally:
        await follower.stop()
