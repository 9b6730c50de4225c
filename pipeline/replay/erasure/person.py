"""How a person is found: by the hashes that decisions carry, and where the id itself is known, by that too. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from pipeline.errors import ConfigError

HASH = re.compile(r"[0-9a-f]{16,128}")
HASH_RULE = "16 to 128 hexadecimal digits in lower case"


class Person(NamedTuple):
    """Whom to forget."""

    hashes: tuple[str, ...]
    """What decisions are logged with; several where the salt was changed."""
    user: str = ""
    """The id itself, where it is known: for what a caller put where no id belongs."""

    @property
    def subjects(self) -> tuple[str, ...]:
        """What may stand as the subject of a decision: a producer may have sent the id itself."""
        return (*self.hashes, self.user) if self.user else self.hashes

    @property
    def spellings(self) -> tuple[bytes, ...]:
        """What may stand anywhere in a record."""
        return tuple(subject.encode() for subject in self.subjects)


def person_of(hashes: tuple[str, ...], user: str = "") -> Person:
    """Return the person of these hashes.

    Raises:
        ConfigError: one of them is no hash.
    """
    if faults := list(_faults(hashes)):
        raise ConfigError("subject hash", faults)
    return Person(tuple(dict.fromkeys(hashes)), user)


def _faults(hashes: tuple[str, ...]) -> Iterator[str]:
    for given in hashes:
        if not HASH.fullmatch(given):
            # Not repeated: it may be somebody's name.
            yield (
                f"{len(given)} characters that are no hash, expected {HASH_RULE}; of a person's id the hash is made by "
                "`pipeline forget --user ID --salt-file FILE`"
            )
