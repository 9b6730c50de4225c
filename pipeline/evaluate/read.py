"""Read the ledger of a policy, or of two, from its topic, and from `decisions` whom its decisions were made for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from pipeline.codec.revisions import Revisions
from pipeline.evaluate.ledger import Gathering
from pipeline.policy.definition import PolicyDefinition
from pipeline.replay.proof.read import read_ledger
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.topics import DECISIONS, REWARDS
from pipeline.stream.policies import Policies
from pipeline.stream.security import Address

OnProgress = Callable[[int, int], None]


async def gather_ledger(
    broker: Address,
    definition: PolicyDefinition,
    generation: int | None = None,
    *,
    on_progress: OnProgress = lambda _done, _total: None,
) -> Gathering:
    """Read the whole ledger up to its present end, and keep what is of this policy.

    Args:
        broker: where.
        definition: by whose rules rewards are told, of all generations up to its own.
        generation: of that generation alone, by its own rules as far as they are known.
        on_progress: told how many of how many records are read.

    Raises:
        ConfigError: it has no decision of the generation that is asked for.
        UnavailableError: no broker answers, or it has no ledger.
        StateError: the ledger does not begin at its beginning.
    """
    known = await _generations(broker, definition.name)
    if generation is not None:
        definition = next((one for one in known if one.generation == generation), definition)
    gathering = Gathering(definition, generation, known)
    await _gather(broker, [gathering], on_progress)
    gathering.check_generation()
    return gathering


async def gather_both(
    broker: Address,
    one: PolicyDefinition,
    other: PolicyDefinition,
    *,
    on_progress: OnProgress = lambda _done, _total: None,
) -> tuple[Gathering, Gathering]:
    """Read the ledger of two policies at once, as `gather_ledger` reads that of one."""
    found = (
        Gathering(one, None, await _generations(broker, one.name)),
        Gathering(other, None, await _generations(broker, other.name)),
    )
    await _gather(broker, found, on_progress)
    return found


async def _gather(broker: Address, gatherings: Sequence[Gathering], on_progress: OnProgress) -> None:
    ends = await _ends(broker)
    done, total = 0, sum(ends.values())
    revisions: defaultdict[int, Revisions] = defaultdict(Revisions)
    async for partition, rewards, count in read_ledger(broker, ends):
        whole = revisions[partition].whole
        fields = [one for _, each in rewards if (one := whole(each)) is not None]
        for gathering in gatherings:
            gathering.add(fields)
        done += count
        on_progress(done, total)
    await _identify(broker, gatherings, on_progress)


async def _generations(broker: Address, name: str) -> list[PolicyDefinition]:
    policies = Policies(broker)
    try:
        await policies.start()
        return policies.book.generations(name)
    finally:
        await policies.stop()


async def _identify(broker: Address, gatherings: Sequence[Gathering], on_progress: OnProgress) -> None:
    """Join what the ledger doesn't say, as far back as `decisions` is kept."""
    follower = TopicFollower(broker, DECISIONS)
    try:
        await follower.start()
        async for records in follower.batches_to_end(on_progress):
            values = [record.value for record in records]
            for gathering in gatherings:
                gathering.identify(values)
    finally:
        await follower.stop()


async def _ends(broker: Address) -> dict[int, int]:
    follower = TopicFollower(broker, REWARDS)
    try:
        await follower.start()
        return await follower.ends()
    finally:
        await follower.stop()
