"""Scenario 16: producers of other libraries, every codec by producer and by topic, and poison of any size.

What compresses to nothing is huge when it is read: single records of 30 MiB, one of 8 MiB less 90 bytes that is not
compressed at all, a batch of many too long ones, a batch that unpacks to more than is ever unpacked.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from pipeline.stream.log.topics import DECISIONS, OUTCOMES, POLICIES, topic_specs
from tests.faults.trial import Trial
from tests.harness.flow import Flow, Raw
from tests.harness.foreign import CODECS, ForeignClient, compress_topics, send_together
from tests.samples import define

MIB = 1 << 20
TOO_LONG = (MIB + 1, 30 * MIB)
NEAR_LIMIT = 8 * MIB - 90
"""The broker's `max.message.bytes` of a record batch, less its frame: what is sent of it is all there is."""
TOGETHER = 60
TOO_MUCH_TOGETHER = 130
"""Of 1 MiB each: above the 128 MiB that a batch is unpacked to."""


async def test_every_codec_and_poison_of_any_size(trial: Trial) -> None:
    broker, partitions = trial.client.broker, trial.client.partitions
    streams = trial.streams()
    foreign = ForeignClient(trial.client)
    among = {
        turn: [Raw((DECISIONS, OUTCOMES)[turn % 2], trial.rng.randrange(partitions), bytes(size))]
        for turn, size in enumerate(TOO_LONG)
    }
    refused = Counter({"record-too-large": len(TOO_LONG) + 1 + TOGETHER + 1, "unreadable-batch": TOO_MUCH_TOGETHER})
    # Our own topics by every codec too: what the stages write comes back so, changelogs when a state is restored.
    names = [spec.name for spec in topic_specs(trial.place.app_id, partitions) if spec.name != POLICIES]
    compress_topics(broker, {name: CODECS[1 + turn % (len(CODECS) - 1)] for turn, name in enumerate(names)})
    compress_topics(broker, {DECISIONS: "producer", OUTCOMES: "producer"})
    for stream in streams:
        await trial.client.apply(define(stream.policy))
    async with Flow(foreign, *streams, among=among) as flow:
        with trial.supervised("first", alone=True) as worker:
            trial.client.watch(worker)
            await flow.send(len(flow) // 2)
            for codec, count, size in (("zstd", TOGETHER, 3 * MIB // 2), ("lz4", TOO_MUCH_TOGETHER, MIB)):
                poison = [(b"key", bytes(size))] * count
                await asyncio.to_thread(send_together, broker, codec, DECISIONS, 0, poison)
            await asyncio.to_thread(send_together, broker, "none", OUTCOMES, 1, [(b"key", b"x" * NEAR_LIMIT)])
            await asyncio.to_thread(send_together, broker, "gzip", OUTCOMES, 1, [(bytes(2 * MIB), b"{}")])
            await trial.client.quiet()
            trial.injected(refused.total())
            assert worker.ends == []
        # Another, without a state of its own: it restores what lies compressed in the changelogs.
        await asyncio.to_thread(trial.forget_the_dead)
        with trial.supervised("second") as worker:
            trial.client.watch(worker)
            await flow.send_rest()
            trial.is_over()
            await trial.settle(*streams, refused=refused)
            assert worker.ends == []
