"""Whatever a group assigns, and whoever is away meanwhile: what is open holds its partition's last claim.

The group here is a model of its own: generations, each with an assignment of its members; a member that is away for
some keeps what it has in hand, and hears of nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.stream.log.handover import Handover
from pipeline.stream.log.lanes import Lanes
from pipeline.stream.state.partitions import Partitions

TOPICS = ("decisions", "outcomes")
WORKERS, NUMBERS = 3, 4


class Broker:
    """Counts the claims of each partition."""

    def __init__(self) -> None:
        self.claims: Counter[int] = Counter()

    async def claim(self, number: int) -> Any:
        self.claims[number] += 1
        return SimpleNamespace(held=Held(number, self.claims[number]))


class Held:
    """A partition in a worker's hands."""

    def __init__(self, number: int, claim: int) -> None:
        self.number, self.claim, self.is_closed = number, claim, False
        self.sources = SimpleNamespace(is_changed=False, confirm=self._confirm)

    async def _confirm(self, _: object) -> dict[str, Any]:
        return {}

    async def close(self) -> None:
        self.is_closed = True


class Worker:
    """The lanes of one stage, and what hands partitions over to them."""

    def __init__(self, broker: Broker) -> None:
        async def first_open(number: int) -> Any:
            return (await broker.claim(number)).held

        def load(held: Any) -> Any:
            return SimpleNamespace(held=held, positions=dict, resume=lambda _: {})

        self.partitions: Partitions[Any] = Partitions(first_open, load)
        self.handover = Handover()
        stage: Any = SimpleNamespace(name="join", partitions=self.partitions)
        self.lanes = Lanes(stage, TOPICS, None, lambda *_: None, on_state=lambda *_, **__: None)  # type: ignore[arg-type]

    async def take(self, generation: int, numbers: Sequence[int]) -> None:
        assigned = [(topic, number) for topic in TOPICS for number in numbers]
        await self.handover.assigned(generation, assigned, [self.lanes])
        for number in numbers:
            await self.partitions.open(number)

    @property
    def claims(self) -> dict[int, int]:
        return {one.held.number: one.held.claim for one in self.partitions}


# Of each generation: who has each partition, and who is away.
generations = st.lists(
    st.tuples(
        st.lists(st.integers(0, WORKERS - 1), min_size=NUMBERS, max_size=NUMBERS),
        st.sets(st.integers(0, WORKERS - 1), max_size=WORKERS - 1),
    ),
    min_size=1,
    max_size=12,
)


def play(history: Sequence[tuple[list[int], set[int]]], look: Callable[[Broker, list[Worker], int], None]) -> Broker:
    """Let a group go through generations; look at it after each."""

    async def run() -> Broker:
        broker = Broker()
        workers = [Worker(broker) for _ in range(WORKERS)]
        for generation, (owners, away) in enumerate(history, 1):
            here = [number for number in range(WORKERS) if number not in away]
            for number in here:
                # What somebody would have who is away goes to the first who is here.
                has = [p for p, owner in enumerate(owners) if (owner if owner in here else here[0]) == number]
                await workers[number].take(generation, has)
                assert set(workers[number].claims) == set(has)
            look(broker, [workers[number] for number in here], generation)
        return broker

    return asyncio.run(run())


@given(generations)
def test_what_a_member_has_open_holds_the_last_claim(history):
    def look(broker: Broker, members: list[Worker], generation: int) -> None:
        del generation
        held = {number: claim for worker in members for number, claim in worker.claims.items()}
        assert held == dict(broker.claims)

    play(history, look)


@given(generations)
def test_nothing_is_claimed_by_whoever_had_it_in_the_generation_before(history):
    owner: dict[int, int] = {}
    expected = 0
    for owners, away in history:
        here = [number for number in range(WORKERS) if number not in away]
        now = {p: one if one in here else here[0] for p, one in enumerate(owners)}
        expected += sum(owner.get(p) != one for p, one in now.items())
        owner = now
    assert play(history, lambda *_: None).claims.total() == expected
