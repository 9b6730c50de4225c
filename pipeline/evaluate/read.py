"""Read the ledger of one policy from the topic."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.codec import avro
from pipeline.evaluate.ledger import Gathering
from pipeline.policy.definition import PolicyDefinition
from pipeline.replay.proof.read import read_up_to
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.topics import REWARDS
from pipeline.stream.security import Address


async def gather_ledger(
    broker: Address,
    definition: PolicyDefinition,
    generation: int | None = None,
    *,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Gathering:
    """Read the whole ledger up to its present end, and keep what is of this policy, of its generation or another one.

    Raises:
        UnavailableError: no broker answers, or it has no ledger.
        StateError: the ledger does not begin at its beginning.
    """
    ends = await _ends(broker)
    is_own = generation in {None, definition.generation}
    gathering = Gathering(definition.name, generation or definition.generation, definition.reward if is_own else None)
    done, total = 0, sum(ends.values())
    async for _, records in read_up_to(broker, REWARDS, ends):
        gathering.add(avro.decode_as("reward", record.value) for record in records)
        done += len(records)
        on_progress(done, total)
    return gathering


async def _ends(broker: Address) -> dict[int, int]:
    follower = TopicFollower(broker, REWARDS)
    try:
        await follower.start()
        return await follower.ends()
    finally:
        await follower.stop()
