"""Where a proof begins in each partition of the ledger, and which checkpoints it comes by on its way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from pipeline.checkpoint.head import Head, chain_fault, newest_below, of_log
from pipeline.checkpoint.topic import Held, load, read_held
from pipeline.checkpoint.trust import Trust
from pipeline.stream.log.identity import LogLookup
from pipeline.stream.log.topics import CHECKPOINTS, REWARDS, existing_topics
from pipeline.stream.refusals import unavailable
from pipeline.stream.security import Address, client_options


@dataclass(slots=True)
class Way:
    """Through the ledger, by partition."""

    begins: dict[int, Head] = field(default_factory=dict)
    """Where it begins; at offset 0 where there is none."""
    passes: dict[int, list[Head]] = field(default_factory=dict)
    """What it comes by, behind where it begins, in order of their offsets."""
    heads: int = 0
    """How many there are in all."""
    fault: str = ""
    """What is wrong with the chain, in words."""
    held: dict[int, Held] = field(default_factory=dict)
    """What the topic holds, by partition."""

    async def load(self, broker: Address, take: Callable[[int, bytes], None]) -> None:
        """Hand over what it begins with, part by part. Raises StateError, UnavailableError."""
        wanted = {number: self.held[number].lists[head.state] for number, head in self.begins.items()}
        await load(broker, wanted, take)


async def find_way(
    broker: Address, asked: Mapping[int, tuple[int, int]], trust: Trust, *, from_start: bool = False
) -> Way:
    """Find where to begin, as far on as a checkpoint that is trusted and whole allows.

    Args:
        broker: bootstrap servers.
        asked: by partition, the first and the last offset at which something is asked.
        trust: what may be begun at.
        from_start: begin at offset 0, and come by all of them; if not, only by the last.

    Raises:
        UnavailableError: no broker answers.
    """
    if not asked or CHECKPOINTS not in await existing_topics(broker):
        return Way()
    held = await read_held(broker)
    ids = await _topic_ids(broker, asked)
    way = Way(held=held)
    for number, (first, last) in asked.items():
        one = held.get(number, Held())
        way.heads += len(one.heads)
        way.fault = way.fault or chain_fault(one.heads.values())
        heads = of_log(one.heads.values(), ids.get(number, ""), number)
        begin = None
        if not from_start:
            whole = {head.id for head in heads if one.is_whole(head)}
            begin = newest_below(heads, first, trust.among(heads) & whole)
        start = 0 if begin is None else begin.offset
        if begin is not None:
            way.begins[number] = begin
        ahead = sorted((head for head in heads if start < head.offset <= last), key=lambda head: head.offset)
        way.passes[number] = ahead if from_start else ahead[-1:]
    return way


async def _topic_ids(broker: Address, numbers: Mapping[int, object]) -> dict[int, str]:
    client = AIOKafkaClient(**client_options(broker))
    try:
        await client.bootstrap()
        logs = await LogLookup(client).logs(TopicPartition(REWARDS, number) for number in numbers)
    except KafkaError as error:
        raise unavailable(f"topic {REWARDS} can't be looked at", error, "Describe", REWARDS) from error
    finally:
        await client.close()
    return {place.partition: found.topic_id for place, found in logs.items()}
