from __future__ import annotations

from pipeline.replay.dead_letters.letters import plan_replay
from pipeline.replay.dead_letters.resend import CHUNK_LETTERS, chunks, record_for
from pipeline.stream.log.outbox import Record
from tests.doubles import MemoryBroker
from tests.unit.replay.test_replay_letters import RAW, letter


async def test_a_letter_goes_to_the_partition_that_it_came_from():
    # Kafka's default partitioner would put the key x into 2 of 4.
    sent = await record_for(MemoryBroker(partitions=4), letter("decisions", 3, 17))
    assert sent == Record("decisions", 3, b"x", RAW)


async def test_a_letter_whose_partition_is_no_more_goes_where_its_key_belongs():
    # murmur2("x") of Kafka's clients is even: 2 of 4, so 0 of 2.
    sent = await record_for(MemoryBroker(partitions=2), letter("decisions", 3, 17))
    assert sent == Record("decisions", 0, b"x", RAW)


def test_all_decisions_are_acknowledged_before_the_first_outcome_is_sent():
    decisions = [letter("decisions", 0, offset) for offset in range(CHUNK_LETTERS + 1)]
    outcomes = [letter("outcomes", 0, 1)]
    cut = list(chunks(plan_replay(outcomes + decisions, again=False).to_send))
    assert cut == [decisions[:CHUNK_LETTERS], decisions[CHUNK_LETTERS:], outcomes]
