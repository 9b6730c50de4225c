"""Which dead letters are one person's, and what takes their place. Pure.

What was refused is kept whole, so a letter may name anybody: by the hash of a subject, by an action of theirs, or by
the id itself where a caller put it anywhere in a record. In its place comes a letter of the same key that says where it
was read and nothing else; compaction then removes the first.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import orjson

from pipeline.codec import avro
from pipeline.replay.dead_letters.letters import DeadLetter, describe
from pipeline.replay.erasure.person import Person

FORGOTTEN = "forgotten"
"""The reason of what took a letter's place."""
_SHORT = 12
"""Ids of fewer characters are looked for as a word: others' numbers may hold them."""


def letters_of(letters: Iterable[DeadLetter], person: Person, action_ids: Collection[str]) -> Iterator[DeadLetter]:
    """Yield the letters that name the person or an action of theirs, but for those that were replaced before."""
    named = re.compile(b"|".join(map(_pattern, person.spellings)))
    for letter in letters:
        if letter.reason != FORGOTTEN and (
            any(named.search(part) for part in _parts(letter)) or _action_of(letter) in action_ids
        ):
            yield letter


def replacement(letter: DeadLetter) -> tuple[bytes, bytes]:
    """Return key and value of what takes a letter's place."""
    fields = {
        "reason": FORGOTTEN,
        "detail": "it named a person who was forgotten",
        "source_topic": letter.source.topic,
        "source_partition": letter.source.partition,
        "source_offset": letter.source.offset,
        "record_timestamp_ms": letter.record_timestamp_ms,
        "record_key": None,
        "raw": b"",
    }
    return str(letter.source).encode(), avro.encode("dead_letter", fields)


def _pattern(spelling: bytes) -> bytes:
    escaped = re.escape(spelling)
    return escaped if len(spelling) >= _SHORT else rb"(?<![0-9A-Za-z])" + escaped + rb"(?![0-9A-Za-z])"


def _parts(letter: DeadLetter) -> Iterator[bytes]:
    yield letter.raw
    yield letter.record_key or b""
    yield letter.detail.encode(errors="replace")
    described = describe(letter.raw)
    if described.encoding != "hex":  # JSON may spell a letter as \u0061
        yield orjson.dumps(described.content, default=str)


def _action_of(letter: DeadLetter) -> Any:
    content = describe(letter.raw).content
    action_id = content.get("action_id") if isinstance(content, dict) else None
    return action_id if isinstance(action_id, str) else (letter.record_key or b"").decode(errors="replace")
