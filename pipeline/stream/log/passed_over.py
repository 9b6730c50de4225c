"""What a command passes over in a topic, told of by its place: nothing that others wrote there ends it."""

from __future__ import annotations

import logging

from pipeline.errors import DecodeError

log = logging.getLogger(__name__)

TOLD = 20
"""Of a topic one by one; after that only how many they have come to, at each power of ten."""


class PassedOver:
    """Tells of one topic's."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self.count = 0

    def __call__(self, partition: int, offset: int, error: DecodeError | UnicodeDecodeError) -> None:
        """Note a record."""
        self.count += 1
        if self.count <= TOLD or str(self.count).rstrip("0") == "1":
            place = f"{self._topic}/{partition}"
            log.warning("record-passed-over place=%s offset=%s count=%s error=%s", place, offset, self.count, error)
