"""What a replay has to remember of itself in its folder, to go on after an interruption."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from pipeline.errors import StateError
from pipeline.replay.recounting.base import FIRST_SOURCE, FoundBase, source_after
from pipeline.replay.recounting.cuts import Cut, from_positions, to_positions
from pipeline.replay.recounting.plan import ReplayPlan, plan_from_json

VERSION = 1
NAME = "replay.json"


@dataclass(slots=True)
class Journal:
    """A replay's plan, its cuts, and which of them are sent."""

    plan: ReplayPlan
    """Changes only where the past has got arms or generations that it does not count: then all begins anew."""
    cuts: list[Cut] = field(default_factory=list)
    """Where it began, and each end."""
    sent: int = 0
    """How many ends have a base in the topic."""
    next_source: int = FIRST_SOURCE
    """The first source that is free."""
    asked: str = ""
    """Hash of the definition that the command was given; empty: of none, or the folder was lost."""

    @property
    def is_unfinished(self) -> bool:
        """Whether an end was set and is not sent."""
        return self.sent < len(self.cuts) - 1

    def note_sent(self, first_source: int, sources: int) -> None:
        """Note that the last end has a base of so many sources."""
        self.sent = len(self.cuts) - 1
        self.next_source = source_after(first_source, sources)

    def anew(self, plan: ReplayPlan, folder: Path, asked: str) -> Journal:
        """Return the journal of another plan from the same beginning; what was counted is removed.

        That goes first: stopped between the two, the earlier plan is counted again.
        """
        for counted in folder.glob("partition-*"):
            shutil.rmtree(counted)
        return Journal(plan, self.cuts[:1], 0, self.next_source, asked)

    def write(self, folder: Path) -> None:
        """Write it as a whole: after a crash the file is the old or the new one."""
        plain: dict[str, Any] = {
            "version": VERSION,
            "plan": self.plan.to_json(),
            "cuts": [to_positions(cut) for cut in self.cuts],
            "sent": self.sent,
            "next_source": self.next_source,
            "asked": self.asked,
        }
        folder.mkdir(parents=True, exist_ok=True)
        new = folder / f"{NAME}.new"
        with new.open("wb") as file:
            file.write(orjson.dumps(plain))
            file.flush()
            os.fsync(file.fileno())
        new.replace(folder / NAME)


def read_journal(folder: Path) -> Journal | None:
    """Return the journal of a folder; None where nothing was begun.

    Raises:
        StateError: written by a version that this code does not know.
    """
    path = folder / NAME
    if not path.exists():
        return None
    plain = orjson.loads(path.read_bytes())
    if plain["version"] != VERSION:
        raise StateError(f"{path} is of version {plain['version']}, this code reads {VERSION}: use another folder")
    cuts: Sequence[Any] = plain["cuts"]
    return Journal(
        plan_from_json(plain["plan"]),
        [from_positions(positions) for positions in cuts],
        plain["sent"],
        plain["next_source"],
        plain.get("asked", ""),
    )


def journal_of(found: FoundBase) -> Journal:
    """Return the journal of a replay whose folder is gone, from what it has sent."""
    cuts = found.cuts
    return Journal(plan_from_json(found.base.plan), cuts, len(cuts) - 1, found.next_source)
