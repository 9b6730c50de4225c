"""Schema ids → how their records were written: asked for once and kept, as an id never stands for another schema.

An id that the registry does not have is asked for again after ABSENT_S: the registry may be behind its producers.
While nobody answers, whoever needs an id waits: its records are neither refused nor passed over, and whoever needs none
goes on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import Protocol, Self

from pipeline.codec.framed import UNDECLARED, RefusedWriter, Writer
from pipeline.errors import UnavailableError
from pipeline.registry.client import RegistryClient
from pipeline.registry.files import read_folder
from pipeline.registry.settings import RegistrySettings

log = logging.getLogger(__name__)

ABSENT_S = 60.0
MAX_KEPT = 100_000
"""The last asked for, and as many as the records of a fetch can name; a producer of nonsense has four billion."""
AT_ONCE = 8
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 15.0


class Asked(Protocol):
    """A registry."""

    async def schema(self, schema_id: int) -> Writer | None:
        """Return how an id's records are written, None where there is none; raises UnavailableError."""

    async def close(self) -> None:
        """Disconnect."""


class Schemas:
    """What is known of ids, and who is asked for more."""

    def __init__(self, settings: RegistrySettings | None = None, client: Asked | None = None) -> None:
        """Read the folder, if there is one; connect to nobody yet.

        Raises:
            ConfigError: with what is wrong in the folder.
        """
        settings = settings or RegistrySettings()
        self._files = {} if settings.folder is None else read_folder(settings.folder)
        self._client = client or (RegistryClient(settings) if settings.urls else None)
        self._kept: OrderedDict[int, tuple[Writer, float]] = OrderedDict()
        """Beside each the moment after which it is asked for again."""
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._is_away = False

    def get(self, schema_id: int, /) -> Writer | None:
        """Return how an id's records are written; None: `look_up` first."""
        if (writer := self._files.get(schema_id)) is not None:
            return writer
        if self._client is None:
            return UNDECLARED.get(schema_id)
        kept = self._kept.get(schema_id)
        return None if kept is None or time.monotonic() > kept[1] else kept[0]

    async def look_up(self, schema_ids: Iterable[int]) -> None:
        """Make ids known, however long the registry is away."""
        await asyncio.gather(*(self._look_up(schema_id) for schema_id in dict.fromkeys(schema_ids)))

    async def check(self) -> None:
        """Ask the registry whether it would answer; one that is away may come back.

        Raises:
            ConfigError: it never would.
        """
        if isinstance(self._client, RegistryClient):
            try:
                await self._client.check()
            except UnavailableError as error:
                log.warning("registry-away error=%s", error)

    async def __aenter__(self) -> Self:
        """Be used."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self.close()

    async def close(self) -> None:
        """Disconnect."""
        if self._client is not None:
            await self._client.close()

    async def _look_up(self, schema_id: int) -> None:
        if self._client is None or self.get(schema_id) is not None:
            return
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                async with self._at_once:
                    writer = await self._client.schema(schema_id)
                break
            except UnavailableError as error:
                if not self._is_away:
                    self._is_away = True
                    log.warning("registry-away schema_id=%s error=%s what-waits=%s", schema_id, error, "its partitions")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        if self._is_away:
            self._is_away = False
            log.info("registry-back schema_id=%s", schema_id)
        forget_s = float("inf")
        if writer is None:
            forget_s = time.monotonic() + ABSENT_S
            writer = RefusedWriter("unknown-fingerprint", f"the registry has no schema {schema_id}: register it")
        self._kept[schema_id] = writer, forget_s
        self._kept.move_to_end(schema_id)
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
