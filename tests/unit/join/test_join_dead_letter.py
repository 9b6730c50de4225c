"""A dead letter is small enough to be written, whatever was refused."""

import hashlib

import pytest

from pipeline.codec.unreadable import Unreadable
from pipeline.codec.wire import MAX_KEY_BYTES, MAX_RECORD_BYTES
from pipeline.errors import DecodeError, InvalidRecordError
from pipeline.join.agent import outputs
from pipeline.join.changes import Changes, Refusal, decode_arrivals
from pipeline.join.dead_letter import BEGINNING_BYTES, DETAIL_CHARACTERS, dead_letter
from pipeline.replay.dead_letters.letters import DeadLetter, gather, plan_replay, restored

LARGE = bytes(range(256)) * (1 << 17)  # 32 MiB
TOO_LARGE = DecodeError("record-too-large", "why")


def letter_of(raw: bytes, key: bytes | None = b"x", error: DecodeError = TOO_LARGE) -> DeadLetter:
    _, value = dead_letter(Refusal("decisions", 17, 5, key, raw, error), 3)
    (letter,) = gather([(3, 6, value)]).letters
    return letter


@pytest.mark.parametrize("size", [0, 1, MAX_RECORD_BYTES])
def test_what_could_be_accepted_by_its_size_is_kept_whole(size):
    letter = letter_of(LARGE[:size])
    assert (letter.raw, letter.raw_bytes, letter.is_cut) == (LARGE[:size], size, False)


@pytest.mark.parametrize("size", [MAX_RECORD_BYTES + 1, (8 << 20) - 90, len(LARGE)])
def test_of_what_is_longer_the_beginning_the_length_and_the_hash_are_kept(size):
    letter = letter_of(LARGE[:size])
    assert (letter.raw, letter.raw_bytes, letter.is_cut) == (LARGE[:BEGINNING_BYTES], size, True)
    assert letter.raw_sha256 == hashlib.sha256(LARGE[:size]).hexdigest()


def test_no_letter_is_longer_than_a_record_that_could_be_accepted_and_a_little():
    longest = Refusal(
        "decisions", 2**62, 2**62, LARGE, LARGE[:MAX_RECORD_BYTES], DecodeError("r" * 64, "d" * (1 << 20))
    )
    _, value = dead_letter(longest, 2**30)
    # The detail's characters here are a byte each; names and numbers take less than 400.
    assert len(value) <= MAX_RECORD_BYTES + MAX_KEY_BYTES + DETAIL_CHARACTERS + 400


def test_thousands_of_huge_records_make_letters_of_bounded_size():
    changes = Changes(refusals=[Refusal("decisions", n, 5, b"x", LARGE[:2_000_000], TOO_LARGE) for n in range(100)])
    (letters,) = outputs(changes, 0).values()
    assert all(len(value or b"") < BEGINNING_BYTES + 1_000 for _, value in letters)


def test_a_huge_key_is_refused_by_its_size_and_cut_in_the_letter():
    (arrival,) = decode_arrivals("outcomes", [(1, 2, LARGE[: MAX_KEY_BYTES + 1], b'{"kind":"click"}')], {})
    assert isinstance(arrival.event, DecodeError)
    assert "key" in arrival.event.detail
    letter = letter_of(b"{}", LARGE[: MAX_KEY_BYTES + 1])
    assert (letter.record_key, letter.is_cut) == (LARGE[:MAX_KEY_BYTES], True)


def test_a_record_of_an_unreadable_batch_is_refused_by_that_reason_and_can_be_fetched_again():
    (arrival,) = decode_arrivals("decisions", [(1, 2, None, Unreadable("codec 7"))], {})
    assert isinstance(arrival.event, DecodeError)
    assert (arrival.event.reason, arrival.event.detail) == ("unreadable-batch", "codec 7")
    letter = letter_of(arrival.raw, None, arrival.event)
    assert (letter.raw, letter.raw_bytes, letter.is_cut) == (b"", None, True)
    assert plan_replay([letter], again=False).to_send == [letter]


def test_a_cut_letter_is_made_whole_by_the_record_that_it_was_of_and_no_other():
    raw = LARGE[: MAX_RECORD_BYTES + 1]
    letter = letter_of(raw)
    assert restored(letter, b"x", raw).raw == raw
    for other in (raw[:-1], raw[:-1] + b"?", None):
        with pytest.raises(DecodeError, match="another record"):
            restored(letter, b"x", other)
    with pytest.raises(DecodeError, match="codec 7"):
        restored(letter, b"x", Unreadable("codec 7"))


def test_a_letter_that_is_whole_is_sent_as_it_lies():
    letter = letter_of(b"{}", error=InvalidRecordError("unknown-policy", "why"))
    assert not letter.is_cut
