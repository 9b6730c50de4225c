from __future__ import annotations

import uuid

from pipeline.serve.ids import RANDOM_BYTES, time_ordered_id
from pipeline.serve.subject import hash_subject

SALT = "0123456789abcdef"


def test_an_id_is_a_uuid_of_version_7_that_tells_its_time() -> None:
    now_ms = 1_700_000_000_123
    name = time_ordered_id(now_ms, b"\xff" * RANDOM_BYTES)
    parsed = uuid.UUID(name)
    assert (parsed.version, parsed.variant, parsed.hex) == (7, uuid.RFC_4122, name)
    assert parsed.int >> 80 == now_ms


def test_later_ids_sort_behind() -> None:
    assert time_ordered_id(1, b"\xff" * RANDOM_BYTES) < time_ordered_id(2, bytes(RANDOM_BYTES))


def test_seventy_four_random_bits_make_an_id() -> None:
    ids = {time_ordered_id(1, (1 << bit).to_bytes(RANDOM_BYTES, "big")) for bit in range(8 * RANDOM_BYTES)}
    # 74 bits give an id each; the 6 between the two random fields are not used, and give the id of all zeros.
    assert len(ids) == 75
    assert time_ordered_id(1, bytes(RANDOM_BYTES)) in ids


def test_equal_subjects_have_equal_hashes_under_one_salt_only() -> None:
    assert hash_subject("ada", SALT) == hash_subject("ada", SALT)
    assert len({hash_subject("ada", SALT), hash_subject("ada", SALT + "!"), hash_subject("bob", SALT)}) == 3
    assert "ada" not in hash_subject("ada", SALT)
    assert len(hash_subject("ada", SALT)) == 32
