"""A refusal → the record for `dead-letters`, of bounded size whatever was refused. Pure.

What could be accepted is kept whole (`codec/wire.py` bounds it); of what is longer, its beginning, its length and its
SHA-256, by which `dead-letters replay` knows the original when it fetches it from its topic.
"""

from __future__ import annotations

import hashlib

from pipeline.codec import avro
from pipeline.codec.unreadable import Unreadable
from pipeline.codec.wire import MAX_KEY_BYTES, MAX_RECORD_BYTES
from pipeline.join.changes import Refusal

BEGINNING_BYTES = 64 << 10
"""Of a record that is longer than any that could be accepted."""
DETAIL_CHARACTERS = 2_000


def dead_letter(refusal: Refusal, partition: int) -> tuple[bytes, bytes]:
    """Return key and value of the record for `dead-letters`; its key names the source, so that a repeat replaces."""
    raw, key = refusal.raw, refusal.key
    if refusal.partition is not None:
        partition = refusal.partition
    is_cut = len(raw) > MAX_RECORD_BYTES
    value = avro.encode(
        "dead_letter",
        {
            "reason": refusal.error.reason,
            "detail": shortened(refusal.error.detail),
            "source_topic": refusal.stream,
            "source_partition": partition,
            "source_offset": refusal.offset,
            "record_timestamp_ms": refusal.timestamp_ms,
            "record_key": None if key is None else key[:MAX_KEY_BYTES],
            "raw": raw[:BEGINNING_BYTES] if is_cut else bytes(raw),
            # Of an unreadable batch's records nobody knows the bytes.
            "raw_bytes": None if isinstance(raw, Unreadable) else len(raw),
            "raw_sha256": hashlib.sha256(raw).hexdigest() if is_cut else "",
            "record_key_bytes": None if key is None else len(key),
        },
    )
    return f"{refusal.stream}/{partition}/{refusal.offset}".encode(), value


def shortened(detail: str) -> str:
    """Return a detail of bounded length: it quotes what a producer sent.

    >>> shortened("x" * 3_000)[-12:]
    'xxxxxxxxxx …'
    """
    return detail if len(detail) <= DETAIL_CHARACTERS else f"{detail[:DETAIL_CHARACTERS]} …"
