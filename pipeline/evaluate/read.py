"""Read the ledger of one policy from the topic."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.codec import avro
from pipeline.evaluate.ledger import Gathering
from pipeline.replay.read import read_up_to
from pipeline.stream.follow import TopicFollower
from pipeline.stream.topics import REWARDS


async def gather_ledger(
    broker: str, policy: str, generation: int, *, on_progress: Callable[[int, int], None] = lambda _done, _total: None
) -> Gathering:
    """Read the whole ledger up to its present end, and keep what is of this policy.

    Raises:
        UnavailableError: no broker answers, or it has no ledger.
        StateError: the ledger does not begin at its beginning.
    """
    ends = await _ends(broker)
    gathering = Gathering(policy, generation)
    done, total = 0, sum(ends.values())
    async for _, records in read_up_to(broker, REWARDS, ends):
        gathering.add(avro.decode_as("reward", record.value) for record in records)
        done += len(records)
        on_progress(done, total)
    return gathering


async def _ends(broker: str) -> dict[int, int]:
    follower = TopicFollower(broker, REWARDS)
    try:
        await follower.start()
        return await follower.ends()
    finally:
        await follower.stop()
