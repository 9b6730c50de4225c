"""One answer per person: how long an answer holds, and by what it may be decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.policy.durations import duration_text

Anonymous = Literal["refuse", "chance"]
SUBJECT = "subject"
FOR_EVER = "for ever"
SNAPSHOT = "snapshot"


@dataclass(frozen=True, slots=True)
class Assignment:
    """How long a person is given one answer.

    An epoch is named by the snapshot that decides, by its event time, so whoever decides by it agrees: no node's clock
    and no memory is asked. PUBLISH sees to it that an epoch has one snapshot.
    """

    epoch: str | int
    """How long an answer holds: milliseconds, `for ever`, or `snapshot`, until there is another one."""
    constant: tuple[str, ...] = ()
    """Context fields that the caller keeps the same for a person as long as an epoch lasts, sorted: segments and
    features may be made of these only."""
    anonymous: Anonymous = "refuse"
    """What a request without a subject is given: an error, or a draw of its own."""
    salt: str = ""
    """Another salt draws anew."""

    def epoch_of(self, version: int, event_time_ms: int) -> str:
        """Name the epoch of a snapshot.

        >>> week = Assignment(7 * 86_400_000)
        >>> week.epoch_of(17, 1_700_000_000_000), week.epoch_of(18, 1_700_050_000_000)
        ('2810', '2810')
        >>> Assignment("snapshot").epoch_of(17, 0)
        'version 17'
        """
        if isinstance(self.epoch, int):
            return str(event_time_ms // self.epoch)
        return FOR_EVER if self.epoch == FOR_EVER else f"version {version}"

    def is_over(self, of_snapshot_ms: int, event_time_ms: int) -> bool:
        """Whether at an event time a snapshot may take the place of one of another time."""
        if isinstance(self.epoch, int):
            return event_time_ms // self.epoch > of_snapshot_ms // self.epoch
        return self.epoch != FOR_EVER

    @property
    def epoch_text(self) -> str:
        """Return how long an answer holds, as a file says it."""
        return duration_text(self.epoch) if isinstance(self.epoch, int) else self.epoch

    def to_plain(self) -> dict[str, object]:
        """Give the JSON value."""
        plain: dict[str, object] = {"sticky": SUBJECT, "epoch": self.epoch_text}
        if self.constant:
            plain["constant"] = list(self.constant)
        if self.anonymous != "refuse":
            plain["anonymous"] = self.anonymous
        if self.salt:
            plain["salt"] = self.salt
        return plain
