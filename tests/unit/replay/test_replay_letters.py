from __future__ import annotations

from typing import Any

import orjson
import pytest

from pipeline.codec import avro
from pipeline.errors import InvalidRecordError
from pipeline.join.dead_letter import dead_letter
from pipeline.join.step import Refusal
from pipeline.replay.dead_letters.letters import (
    SHOWN_BYTES,
    Choice,
    DeadLetter,
    Described,
    Source,
    choose,
    describe,
    gather,
    key_for,
    mark_key,
    mark_value,
    plan_replay,
)
from tests.samples import plain_outcome

RAW = b'{"action_id":"x"}'


def letter(topic: str = "decisions", partition: int = 0, offset: int = 0, **others: Any) -> DeadLetter:
    fields = {
        "reason": "unknown-policy",
        "detail": "why",
        "record_timestamp_ms": 100,
        "record_key": b"x",
        "raw": RAW,
        "letter_partition": partition,
        "refused_at_ms": 200,
    }
    return DeadLetter(Source(topic, partition, offset), **{**fields, **others})


def written(partition: int, offset: int, timestamp_ms: int, detail: str = "why") -> tuple[int, int, bytes | None]:
    """A letter as JOIN writes it."""
    error = InvalidRecordError("unknown-policy", detail)
    _, value = dead_letter(Refusal("decisions", offset, 100, b"x", RAW, error), partition)
    return partition, timestamp_ms, value


def test_a_letter_that_join_wrote_is_read_with_all_it_says():
    lengths = {"raw_bytes": len(RAW), "record_key_bytes": 1}
    assert gather([written(3, 17, 200)]).letters == [letter("decisions", 3, 17, letter_partition=3, **lengths)]


def test_a_letter_that_was_written_twice_is_one():
    found = gather([written(0, 1, 200, "first"), written(0, 1, 300, "repeat"), written(0, 2, 300)])
    assert [(str(one.source), one.detail) for one in found.letters] == [
        ("decisions/0/1", "repeat"),
        ("decisions/0/2", "why"),
    ]


def test_a_mark_says_when_its_letter_was_last_replayed_and_is_no_letter():
    source = Source("decisions", 0, 1)
    marks = [(0, 400, mark_value(source, 400)), (0, 500, mark_value(source, 450))]
    found = gather([written(0, 1, 200), *marks, written(0, 2, 300)])
    assert [one.replayed_at_ms for one in found.letters] == [450, None]
    assert mark_key(source) == b"replayed/decisions/0/1"


def test_a_repeat_of_a_letter_behind_its_mark_stays_replayed():
    found = gather([written(0, 1, 200), (0, 400, mark_value(Source("decisions", 0, 1), 400)), written(0, 1, 500)])
    assert [one.replayed_at_ms for one in found.letters] == [400]


def test_what_this_release_can_not_read_is_counted_and_stops_nothing():
    tick = avro.encode("tick", {"event_time_ms": 1})
    found = gather([(0, 1, b"\xc3\x01later it"), (0, 1, None), (0, 1, b"{}"), (0, 1, tick), written(0, 1, 200)])
    assert (len(found.letters), found.unreadable) == (1, 4)


def test_letters_stand_by_the_time_of_their_record_or_where_that_is_unknown_of_their_refusal():
    known, unknown = letter(offset=1, record_timestamp_ms=300), letter(offset=2, record_timestamp_ms=0)
    assert (known.at_ms, unknown.at_ms) == (300, 200)


ALL = [
    letter(offset=0, record_timestamp_ms=10),
    letter(offset=1, record_timestamp_ms=20, reason="unknown-arm"),
    letter("outcomes", offset=0, record_timestamp_ms=30),
]


@pytest.mark.parametrize(
    ("choice", "meant"),
    [
        (Choice(), [0, 1, 2]),
        (Choice(reason="unknown-arm"), [1]),
        (Choice(source="decisions"), [0, 1]),
        (Choice(since_ms=20), [1, 2]),
        (Choice(until_ms=20), [0]),
        (Choice(last=2), [1, 2]),
        (Choice(last=9), [0, 1, 2]),
        # `last` counts what the others have left.
        (Choice(source="decisions", last=1), [1]),
    ],
)
def test_a_choice_leaves_what_meets_all_of_it(choice, meant):
    assert choose(ALL, choice) == [ALL[index] for index in meant]


def test_decisions_are_sent_before_outcomes_and_each_in_the_order_of_its_source():
    letters = [
        letter("outcomes", 0, 3),
        letter("decisions", 1, 5),
        letter("decisions", 1, 4),
        letter("decisions", 0, 9),
    ]
    sent = [str(one.source) for one in plan_replay(letters, again=False).to_send]
    assert sent == ["decisions/0/9", "decisions/1/4", "decisions/1/5", "outcomes/0/3"]


def test_what_was_replayed_is_passed_over_unless_asked_for_again():
    old, new = letter(offset=1, replayed_at_ms=7), letter(offset=2)
    assert plan_replay([old, new], again=False) == ([new], [old], [])
    assert plan_replay([old, new], again=True) == ([old, new], [], [])


@pytest.mark.parametrize("again", [False, True])
def test_what_has_no_bytes_or_comes_of_no_source_is_never_sent(again):
    empty, strange = letter(offset=1, raw=b""), letter("rewards", offset=2)
    assert plan_replay([empty, strange], again=again) == ([], [], [empty, strange])


def test_a_letter_goes_with_its_record_s_key():
    assert key_for(letter(record_key=b"k")) == b"k"
    assert key_for(letter(record_key=b"")) == b""


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        (orjson.dumps(plain_outcome("ä")), "ä".encode()),
        (avro.encode("outcome", {**plain_outcome("ä"), "value": 1.0}), "ä".encode()),
        (b"no record", b""),
        (b"[1]", b""),
        (b'{"action_id": 7}', b""),
    ],
)
def test_a_letter_without_a_key_goes_with_the_action_id_that_it_names(raw, key):
    assert key_for(letter(record_key=None, raw=raw)) == key


def test_bytes_are_shown_as_json_as_avro_or_as_hex():
    assert describe(b'{"a": 1}') == Described("json", {"a": 1})
    tick = avro.encode("tick", {"event_time_ms": 5})
    assert describe(tick) == Described("avro tick", {"event_time_ms": 5, "clock_ms": -1})
    assert describe(tick[:-1]) == Described("hex", tick[:-1].hex())
    # Two hex digits a byte.
    assert describe(b"\xff" * (SHOWN_BYTES + 1)) == Described("hex", "ff" * SHOWN_BYTES)


def test_bytes_inside_an_avro_record_are_shown_as_hex():
    raw = written(0, 1, 0)[2] or b""
    encoding, content = describe(raw)
    assert encoding == "avro dead_letter"
    assert (content["raw"], content["record_key"]) == (RAW.hex(), b"x".hex())
    assert orjson.dumps(content)
