"""Which checkpoints a proof may begin at: those that it came to itself before, and those that an operator vouches for.

A file holds the first: ids by the code that came to them, so that one proof never stands on the other's word.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline.checkpoint.head import Head
from pipeline.errors import ConfigError

FILE = Path("var/trusted-checkpoints.json")
MOST_REMEMBERED = 10_000
"""Of each code, the last: those that proofs still begin at are among them for years."""
SHORTEST_ID = 12
NEWEST = "newest"


class Trust:
    """What one proof trusts."""

    def __init__(self, file: Path, code: str, told: Sequence[str] = ()) -> None:
        """Read what was come to before.

        Args:
            file: where it is remembered; one that is not there is empty.
            code: which proof's, and of which release.
            told: ids, or at least twelve digits they begin with, that an operator vouches for; `newest`: whatever the
                topic holds last.

        Raises:
            ConfigError: the file, or what is told, is none.
        """
        faults = [
            f"{one!r} is neither {NEWEST} nor the first {SHORTEST_ID} digits of a checkpoint's id, or more"
            for one in told
            if one != NEWEST and (len(one) < SHORTEST_ID or set(one) - set("0123456789abcdef"))
        ]
        if faults:
            raise ConfigError("--trust", faults)
        self._file, self._code, self._told = file, code, told
        self._remembered = _read(file)

    @property
    def known(self) -> list[str]:
        """Ids that this proof came to."""
        return self._remembered.get(self._code, [])

    def among(self, heads: Collection[Head]) -> set[str]:
        """Return the ids of those that may be begun at."""
        known = set(self.known)
        last = next(reversed(list(heads)), None)
        return {
            head.id
            for head in heads
            if head.id in known
            or any(head.id.startswith(one) for one in self._told)
            or (NEWEST in self._told and head == last)
        }

    def add(self, ids: Iterable[str]) -> None:
        """Remember checkpoints that were come to. Raises OSError where the file can't be written."""
        seen = set(self.known)
        new = [one for one in ids if one not in seen]
        if not new:
            return
        self._remembered[self._code] = [*self.known, *new][-MOST_REMEMBERED:]
        self._file.parent.mkdir(parents=True, exist_ok=True)
        beside = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        beside.write_text(json.dumps(self._remembered, indent=1), encoding="utf-8")
        beside.replace(self._file)


def _read(file: Path) -> dict[str, list[str]]:
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        fault = f"{file} can't be read: {error}; remove it, and all is proven again"
        raise ConfigError("--trusted", [fault]) from error
    if not isinstance(found, dict) or not all(isinstance(ids, list) for ids in found.values()):
        raise ConfigError("--trusted", [f"{file} holds no lists of ids: remove it, and all is proven again"])
    remembered: dict[str, list[str]] = found
    return remembered
