"""The records of a topic that are what belongs there; the others are passed over, and whoever tells of them is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pipeline.codec import avro
from pipeline.errors import DecodeError

Fields = dict[str, Any]
PassOver = Callable[[int, int, DecodeError], None]
"""Told partition, offset, and why the record there is none."""


def refuse(partition: int, offset: int, error: DecodeError) -> None:
    """Pass over nothing. Raises DecodeError."""
    del partition, offset
    raise error


def readable(
    partition: int, records: Iterable[tuple[int, bytes | None]], *names: str, pass_over: PassOver
) -> Iterator[tuple[int, str, Fields]]:
    """Yield offset, schema and fields of what can be read as a record of one of these schemas.

    >>> told = []
    >>> tick = avro.encode("tick", {"event_time_ms": 7, "clock_ms": 7})
    >>> [(offset, fields["event_time_ms"]) for offset, _, fields in readable(
    ...     0, [(3, b"nonsense"), (4, tick), (5, None)], "tick", pass_over=lambda *place: told.append(place[:2])
    ... )]
    [(4, 7)]
    >>> told
    [(0, 3), (0, 5)]
    """
    for offset, value in records:
        try:
            name, fields = avro.decode_any(names, b"" if value is None else value)
        except DecodeError as error:
            pass_over(partition, offset, error)
        else:
            yield offset, name, fields
