"""What compressing our own topics costs and saves: bytes and CPU by topic and codec, on what a worker has written.

    python -m benchmarks.compression

Plays a load on a local Kafka, reads a sample of each topic, makes record batches of it as our producers do, compresses
and decompresses each as a client or broker would, and prints a line a topic and codec.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import cramjam
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from benchmarks.load import Load
from benchmarks.worker import LEAD_MS, PARTITIONS, WARM_UP, play
from pipeline.brokers import default_cache_dir, running_broker
from pipeline.stream.decompress import GZIP, LZ4, SNAPPY, ZSTD, decompress
from pipeline.stream.log.topics import topic_specs

SAMPLE_BYTES = 16 << 20
BATCH_BYTES = 256 << 10
"""About what a step of a loaded stage sends to a topic."""
HEAD_BYTES = 61
CODECS: dict[str, tuple[int, Callable[[bytes], Any]]] = {
    "lz4": (LZ4, lambda raw: cramjam.lz4.compress(raw, level=1)),
    "snappy": (SNAPPY, cramjam.snappy.compress_raw),
    "zstd": (ZSTD, lambda raw: cramjam.zstd.compress(raw, level=3)),
    "gzip": (GZIP, lambda raw: cramjam.gzip.compress(raw, level=6)),
}


class Line(NamedTuple):
    """One topic by one codec."""

    topic: str
    codec: str
    records: int
    ratio: float
    """Bytes before by bytes after."""
    compress_us: float
    """CPU for a record."""
    decompress_us: float


@click.command()
@click.option("--decisions", default=40_000, show_default=True, help="How many are played.")
@click.option("--dimension", default=8, show_default=True, help="Entries of their contexts.")
def main(decisions: int, dimension: int) -> None:
    """Measure each topic that has records."""
    warm = Load(WARM_UP, dimension, "avro", 1, first=decisions, lead_ms=LEAD_MS)
    load = Load(decisions, dimension, "avro", 0, lead_ms=LEAD_MS)
    click.echo("| topic | bytes a record | codec | times smaller | compress, µs a record | decompress, µs |")
    click.echo("|---|---:|---|---:|---:|---:|")
    with (
        running_broker("kafka", cache_dir=default_cache_dir(), fresh=True) as broker,
        tempfile.TemporaryDirectory() as state,
    ):
        asyncio.run(play(broker.bootstrap_servers, warm, load, Path(state), 1))
        for spec in topic_specs("pipeline", PARTITIONS):
            batches, records = asyncio.run(_sample(broker.bootstrap_servers, spec.name, spec.partitions))
            for codec in CODECS if records else ():
                line = measure(spec.name, codec, batches, records)
                size = sum(map(len, batches)) / records
                click.echo(
                    f"| {line.topic} | {size:.0f} | {line.codec} | {line.ratio:.1f} | {line.compress_us:.2f} "
                    f"| {line.decompress_us:.2f} |"
                )


def measure(topic: str, codec: str, batches: Sequence[bytes], records: int) -> Line:
    """Compress and decompress a sample."""
    number, compress = CODECS[codec]
    began_s = time.process_time()
    packed = [bytes(compress(batch)) for batch in batches]
    packed_s = time.process_time()
    unpacked = [decompress(number, batch, len(raw)) for batch, raw in zip(packed, batches, strict=True)]
    done_s = time.process_time()
    if unpacked != list(batches):
        raise SystemExit(f"{codec} of {topic} does not come back as it was")
    before, after = sum(map(len, batches)), sum(map(len, packed))
    per_us = 1e6 / records
    return Line(topic, codec, records, before / after, (packed_s - began_s) * per_us, (done_s - packed_s) * per_us)


async def _sample(broker: str, topic: str, partitions: int) -> tuple[list[bytes], int]:
    """Return bodies of record batches, and how many records they hold."""
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        tps = [TopicPartition(topic, number) for number in range(partitions)]
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        ends = await consumer.end_offsets(tps)
        bodies: list[bytes] = []
        records = size = 0
        builder, held = _builder(), 0
        while size < SAMPLE_BYTES and any([await consumer.position(tp) < ends[tp] for tp in tps]):
            for fetched in (await consumer.getmany(timeout_ms=500)).values():
                for record in fetched:
                    if builder.append(held, record.timestamp, record.key, record.value, []) is None:
                        bodies.append(bytes(builder.build())[HEAD_BYTES:])
                        builder, held = _builder(), 0
                        builder.append(held, record.timestamp, record.key, record.value, [])
                    held += 1
                    records += 1
                    size += len(record.value or b"")
        if held:
            bodies.append(bytes(builder.build())[HEAD_BYTES:])
        return bodies, records
    finally:
        await consumer.stop()


def _builder() -> DefaultRecordBatchBuilder:
    return DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, BATCH_BYTES)


if __name__ == "__main__":
    main()
