"""How a person is found, and which dead letters are theirs."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pipeline.codec import avro
from pipeline.errors import ConfigError
from pipeline.replay.dead_letters.letters import DeadLetter, Source, gather, plan_replay
from pipeline.replay.erasure.letters_of import letters_of, replacement
from pipeline.replay.erasure.person import Person, person_of
from tests.samples import plain_decision, plain_outcome
from tests.traffic import as_avro

HASH = "5e1f" * 8
JANE = "jane.doe@example.org"
PERSON = Person((HASH,), JANE)


def letter(raw: bytes, *, key: bytes | None = None, detail: str = "", offset: int = 0) -> DeadLetter:
    return DeadLetter(Source("decisions", 1, offset), "unknown-arm", detail, 5, key, raw, 1, 9)


@pytest.mark.parametrize("given", ["jane", JANE, "", "5E1F" * 8, "5e1f", "5e1f" * 33, f" {HASH}"])
def test_what_is_no_hash_is_refused_and_not_repeated(given: str) -> None:
    with pytest.raises(ConfigError, match=f"{len(given)} characters that are no hash") as refused:
        person_of((given,))
    assert not given.strip() or given not in str(refused.value)


@pytest.mark.parametrize(
    "theirs",
    [
        letter(orjson.dumps(plain_decision("x", subject_hash=HASH))),
        letter(as_avro("decisions", plain_decision("x", subject_hash=HASH))),
        letter(as_avro("outcomes", plain_outcome("x", kind=JANE))),
        letter(orjson.dumps(plain_outcome("x", kind=JANE)).replace(b"jane", b"\\u006aane")),
        letter(f"user={JANE}; it is no JSON".encode()),
        letter(b"{}", key=JANE.encode()),
        letter(b"{}", detail=f"email is {JANE!r}"),
        letter(orjson.dumps(plain_outcome("of-theirs", kind="unheard-of"))),
        letter(b"unreadable", key=b"of-theirs"),
    ],
)
def test_a_letter_is_theirs_by_hash_by_id_and_by_an_action_of_theirs(theirs: DeadLetter) -> None:
    assert list(letters_of([theirs], PERSON, {"of-theirs"})) == [theirs]


@pytest.mark.parametrize(
    "others",
    [
        letter(orjson.dumps(plain_decision("x", subject_hash="0dd5" * 8))),
        letter(orjson.dumps(plain_outcome("not-of-theirs", kind="unheard-of"))),
        letter(b""),
        letter(b"\xff\x00", key=None),
    ],
)
def test_a_letter_of_others_is_left(others: DeadLetter) -> None:
    assert list(letters_of([others], PERSON, {"of-theirs"})) == []


def test_a_short_id_is_looked_for_as_a_word() -> None:
    person = Person((HASH,), "4711")
    hers, others = letter(b'{"user": "4711"}'), letter(b'{"value": 147110}')
    assert list(letters_of([hers, others], person, ())) == [hers]


def test_what_takes_its_place_says_where_it_was_read_and_is_neither_sent_back_nor_replaced_again() -> None:
    theirs = letter(orjson.dumps(plain_decision("x", subject_hash=HASH)), key=b"x", detail=JANE, offset=7)
    key, value = replacement(theirs)
    assert key == b"decisions/1/7"
    assert not any(name in value for name in (HASH.encode(), JANE.encode()))
    fields: dict[str, Any] = avro.decode_as("dead_letter", value)
    assert (fields["raw"], fields["record_key"]) == (b"", None)
    (gathered,) = gather([(1, 10, value)]).letters
    assert gathered.source == theirs.source
    assert plan_replay([gathered], again=True).to_send == []
    assert list(letters_of([gathered], PERSON, {"x"})) == []
