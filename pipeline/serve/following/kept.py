"""The last snapshot of each policy on a node's disk, to answer from after a restart while no broker is there.

A file holds SHA-256 of the rest | MessagePack [1, policy, record, parts, headers, published_at_ms], and is
replaced whole. Nothing in it is trusted more than what the topic brings: it is verified in the same way when read.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from pipeline.errors import ConfigError
from pipeline.publish.parts import SnapshotContent
from pipeline.publish.signing import Headers

log = logging.getLogger(__name__)

VERSION = 1
_SUFFIX = ".snapshot"
_HASH_BYTES = 32
_Row = tuple[int, str, bytes, dict[str, bytes], tuple[tuple[str, bytes], ...], int]
_decode = msgspec.msgpack.Decoder(_Row).decode


class KeptSnapshot(NamedTuple):
    """What is needed to have a snapshot live again."""

    policy: str
    content: SnapshotContent
    headers: Headers
    """With its signature, if it had one."""
    published_at_ms: int
    """By the broker's clock."""


class KeptSnapshots:
    """A folder of them: one file a policy, for nobody else's eyes, and no more than so many bytes."""

    def __init__(self, folder: Path, capacity_bytes: int) -> None:
        self._folder = folder
        self._capacity_bytes = capacity_bytes
        self._sizes: dict[str, int] = {}
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if folder.stat().st_uid == os.geteuid():
                folder.chmod(0o700)
            self._sizes = {path.name: path.stat().st_size for path in folder.glob(f"*{_SUFFIX}") if path.is_file()}
        except OSError as error:
            raise ConfigError("snapshot_dir", [f"{folder} can't be used: {error}"]) from error
        self._is_failing = False

    def read(self) -> Iterator[KeptSnapshot]:
        """Yield what is there; what can't be read is told of and passed over."""
        for name in sorted(self._sizes):
            path = self._folder / name
            try:
                raw = path.read_bytes()
                if hashlib.sha256(raw[_HASH_BYTES:]).digest() != raw[:_HASH_BYTES]:
                    log.error("kept-snapshot-refused file=%s error=its bytes have another hash", path)
                    continue
                version, policy, record, parts, headers, at_ms = _decode(raw[_HASH_BYTES:])
            except (OSError, ValueError, msgspec.MsgspecError) as error:
                log.error("kept-snapshot-refused file=%s error=%s", path, error)  # noqa: TRY400  no traceback
                continue
            if version != VERSION:
                log.error("kept-snapshot-refused file=%s error=format %s, expected %s", path, version, VERSION)
                continue
            yield KeptSnapshot(policy, SnapshotContent(record, parts), headers, at_ms)

    def write(self, kept: KeptSnapshot) -> None:
        """Replace a policy's; without room or disk the one before it stays, and that is told once."""
        name = hashlib.sha256(kept.policy.encode()).hexdigest()[:32] + _SUFFIX
        body = _encoded(kept.policy, kept.content.record, kept.content.parts, kept.headers, kept.published_at_ms)
        raw = hashlib.sha256(body).digest() + body
        try:
            self._check_room(name, len(raw))
            self._replace(self._folder / name, raw)
        except OSError as error:
            if not self._is_failing:
                log.error("snapshot-not-kept folder=%s error=%r", self._folder, error)  # noqa: TRY400
            self._is_failing = True
        else:
            self._is_failing = False
            self._sizes[name] = len(raw)

    def _check_room(self, name: str, size: int) -> None:
        others = sum(each for other, each in self._sizes.items() if other != name)
        if others + size > self._capacity_bytes:
            raise OSError(f"{others + size} bytes, {self._capacity_bytes} are allowed (--snapshot-bytes)")

    def _replace(self, path: Path, raw: bytes) -> None:
        new = path.with_suffix(".new")
        with suppress(FileNotFoundError):
            new.unlink()
        with os.fdopen(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)


def _encoded(policy: str, record: bytes, parts: Mapping[str, bytes], headers: Headers, at_ms: int) -> bytes:
    return msgspec.msgpack.encode([VERSION, policy, record, dict(parts), [list(pair) for pair in headers], at_ms])
