"""Batches of every codec, and of what no client should make, all give their records or say why not."""

import gzip
import struct

import cramjam
import pytest
from aiokafka.record._crc32c import crc
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from pipeline.codec.unreadable import Unreadable
from pipeline.codec.varints import long
from pipeline.stream import record_batches
from pipeline.stream.decompress import GZIP, LZ4, SNAPPY, XERIAL_MAGIC, ZSTD, check_codecs
from pipeline.stream.record_batches import RecordBatches

HEAD = struct.Struct(">qiibIhiqqqhii")
VALUES = [b"one", b"", b"three" * 1000]
XERIAL_HEADER = XERIAL_MAGIC + struct.pack(">ii", 1, 1)


def record(delta: int, value: bytes, key: bytes = b"k", headers: bytes = long(0)) -> bytes:
    """Write a record of magic 2 by hand: https://kafka.apache.org/documentation/#record."""
    body = b"\0" + long(0) + long(delta) + long(len(key)) + key + long(len(value)) + value + headers
    return long(len(body)) + body


def batch(body: bytes, count: int, codec: int = 0, base: int = 7, delta: int | None = None, damage: int = 0) -> bytes:
    """Write a batch around a body by hand, with a right checksum unless `damage` is done to it."""
    last = count - 1 if delta is None else delta
    rest = struct.pack(">hiqqqhii", codec, last, 1_000, 2_000, -1, -1, -1, count) + body
    return struct.pack(">qiibI", base, len(rest) + 9, 0, 2, crc(rest) ^ damage) + rest


def block(raw: bytes) -> bytes:
    packed = bytes(cramjam.snappy.compress_raw(raw))
    return struct.pack(">i", len(packed)) + packed


def read(answer: bytes) -> list[tuple[int, bytes]]:
    batches = RecordBatches(answer)
    records = []
    while batches.has_next():
        one = batches.next_batch()
        assert one is not None
        records += [(each.offset, each.value) for each in one]
    return records


def faults(answer: bytes) -> list[tuple[int, str]]:
    return [(offset, value.error.detail) for offset, value in read(answer) if isinstance(value, Unreadable)]


BODY = b"".join(record(delta, value) for delta, value in enumerate(VALUES))
RIGHT = [(7 + delta, value) for delta, value in enumerate(VALUES)]
PACKED = {
    "plain": (0, BODY),
    "gzip": (GZIP, gzip.compress(BODY)),
    "gzip of two members": (GZIP, gzip.compress(BODY[:9]) + gzip.compress(BODY[9:])),
    "snappy as librdkafka writes it": (SNAPPY, bytes(cramjam.snappy.compress_raw(BODY))),
    "snappy as Java writes it": (SNAPPY, XERIAL_HEADER + block(BODY[:100]) + block(BODY[100:])),
    "snappy of two Java streams": (SNAPPY, XERIAL_HEADER + block(BODY[:9]) + XERIAL_HEADER + block(BODY[9:])),
    "lz4": (LZ4, bytes(cramjam.lz4.compress(BODY))),
    "zstd": (ZSTD, bytes(cramjam.zstd.compress(BODY))),
    "zstd of two frames": (ZSTD, bytes(cramjam.zstd.compress(BODY[:9])) + bytes(cramjam.zstd.compress(BODY[9:]))),
}


@pytest.mark.parametrize("name", PACKED)
def test_every_codec_and_framing_gives_the_same_records(name):
    codec, body = PACKED[name]
    assert read(batch(body, 3, codec)) == RIGHT


def test_a_check_at_start_tries_every_codec():
    check_codecs()


@pytest.mark.parametrize("codec", [5, 6, 7])
def test_a_codec_that_kafka_has_not_is_told_at_each_offset(codec):
    found = faults(batch(BODY, 3, codec) + batch(record(0, b"behind"), 1, base=10))
    assert [offset for offset, _ in found] == [7, 8, 9]
    assert f"codec {codec}" in found[0][1]
    assert read(batch(BODY, 3, codec) + batch(record(0, b"behind"), 1, base=10))[-1] == (10, b"behind")


@pytest.mark.parametrize("name", [name for name in PACKED if name != "plain"])
def test_a_damaged_payload_is_told_and_the_next_batch_is_read(name):
    codec, body = PACKED[name]
    behind = batch(record(0, b"behind"), 1, base=10)
    answer = batch(b"\xff\xff" + body[2:-3], 3, codec) + behind
    assert [offset for offset, _ in faults(answer)] == [7, 8, 9]
    assert read(answer)[-1] == (10, b"behind")


@pytest.mark.parametrize("codec", [GZIP, SNAPPY, LZ4, ZSTD])
def test_a_compressed_batch_that_compaction_has_emptied_has_no_records_and_is_passed(codec):
    batches = RecordBatches(batch(b"", 0, codec, delta=4))
    emptied = batches.next_batch()
    assert emptied is not None
    assert emptied.records() == []
    assert emptied.next_offset == 12


@pytest.mark.parametrize("name", ["gzip", "snappy as librdkafka writes it", "lz4", "zstd"])
def test_what_unpacks_to_more_than_the_bound_is_not_unpacked(name, monkeypatch):
    monkeypatch.setattr(record_batches, "UNPACKED_BYTES", len(BODY))
    codec, body = PACKED[name]
    assert read(batch(body, 3, codec)) == RIGHT
    monkeypatch.setattr(record_batches, "UNPACKED_BYTES", len(BODY) - 1)
    assert [offset for offset, _ in faults(batch(body, 3, codec))] == [7, 8, 9]


def test_an_answer_is_read_up_to_its_bound_and_the_rest_left_to_the_next_fetch(monkeypatch):
    packed = gzip.compress(BODY)
    answer = batch(packed, 3, GZIP) + batch(packed, 3, GZIP, base=10) + batch(packed, 3, GZIP, base=13)
    assert [offset for offset, _ in read(answer)] == list(range(7, 16))
    # The first batch leaves one byte of the bound, the second goes beyond it.
    monkeypatch.setattr(record_batches, "ANSWER_BYTES", len(BODY) + 1)
    assert [offset for offset, _ in read(answer)] == list(range(7, 13))


def test_a_batch_whose_checksum_is_wrong_is_told_and_passed():
    found = faults(batch(BODY, 3, damage=1) + batch(record(0, b"behind"), 1, base=10))
    assert [offset for offset, _ in found] == [7, 8, 9]
    assert "checksum" in found[0][1]


@pytest.mark.parametrize("delta", [-5, 2**31 - 1])
def test_a_damaged_head_leads_neither_back_nor_far_ahead(delta):
    assert [offset for offset, _ in faults(batch(BODY, 3, delta=delta, damage=1))] == [7]


def test_a_header_whose_name_is_no_text_spoils_neither_its_record_nor_its_neighbours():
    odd = long(1) + long(2) + b"\xff\xfe" + long(-1)
    body = record(0, b"one") + record(1, b"two", headers=odd) + record(2, b"three")
    assert read(batch(body, 3)) == [(7, b"one"), (8, b"two"), (9, b"three")]


def test_a_damaged_record_is_told_alone():
    damaged = long(4) + b"\0" + long(0) + long(1) + long(60)
    found = read(batch(record(0, b"one") + damaged + record(2, b"three"), 3))
    assert found[0] == (7, b"one")
    assert found[2] == (9, b"three")
    assert isinstance(found[1][1], Unreadable)


def test_records_whose_lengths_are_lost_are_told_to_the_end_of_their_batch():
    found = read(batch(record(0, b"one") + long(10_000) + b"rest", 3))
    assert found[0] == (7, b"one")
    assert [offset for offset, value in found if isinstance(value, Unreadable)] == [8, 9]


def test_a_batch_cut_off_at_the_end_of_an_answer_is_left_to_the_next():
    whole = batch(record(0, b"one"), 1)
    assert read(whole + whole[:40]) == [(7, b"one")]


def test_what_aiokafka_builds_is_read():
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    for offset, value in enumerate(VALUES):
        builder.append(offset, timestamp=1_000, key=None, value=value, headers=[])
    assert read(bytes(builder.build())) == [(offset, value) for offset, value in enumerate(VALUES)]
