"""Lines → parts of bounded size, named by their content. Pure.

Where a part ends is told by the line that it ends with, not by how many lines went before: once it has 16 KiB, behind
a line of b bytes whose CRC-32 is below 2^32 · b / 64 KiB, so that parts have 80 KiB in the mean; or at 1 MiB. What
changes between two checkpoints changes the parts that it stands in; all others have the names that they had, and are
not written again (content-defined chunking: Muthitacharoen et al., A Low-bandwidth Network File System, 2001, 3.1).
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

LEAST_BYTES = 16 << 10
MEAN_BYTES = 64 << 10
"""Behind the least."""
MOST_BYTES = 1 << 20


class Part(NamedTuple):
    """Consecutive lines."""

    name: str
    """SHA-256 of its bytes, in hexadecimal."""
    content: bytes


def cut(lines: Iterable[bytes]) -> Iterator[Part]:
    """Yield the parts of lines, each of which ends with a newline."""
    held: list[bytes] = []
    size = 0
    for line in lines:
        held.append(line)
        size += len(line)
        if size >= MOST_BYTES or (size >= LEAST_BYTES and zlib.crc32(line) * MEAN_BYTES < len(line) << 32):
            yield part_of(b"".join(held))
            held, size = [], 0
    if held:
        yield part_of(b"".join(held))


def part_of(content: bytes) -> Part:
    """Name a part."""
    return Part(hashlib.sha256(content).hexdigest(), content)


def list_of(names: Iterable[str]) -> Part:
    r"""Return the part that names the others, in their order: its own name stands for all of them.

    >>> list_of([]).name[:8], list_of(["a", "b"]).content
    ('e3b0c442', b'a\nb\n')
    """
    return part_of("".join(f"{name}\n" for name in names).encode())


def names_in(content: bytes) -> list[str]:
    """Read what `list_of` wrote."""
    return content.decode().splitlines()
