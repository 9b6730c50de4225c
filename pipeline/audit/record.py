"""The only way for a command to write: what is about to be done is told to `audit` first, and how it ended after.

    1. the record `asked` is acknowledged        else: said, and the act goes on; with --require-audit it does not
    2. the act
    3. the record `done` or `failed`             else: said

Nobody waits longer than a few seconds for `audit`: a kill switch that waits for a log is no kill switch.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pipeline.audit.entry import Audit, Change, asked
from pipeline.errors import PipelineError, UnavailableError
from pipeline.stream.log.outbox import Outbox, Record
from pipeline.stream.log.topics import AUDIT
from pipeline.stream.security import Address

log = logging.getLogger(__name__)

WITHIN_S = 5.0
"""For each of the two records."""


def _log(words: str) -> None:
    log.warning("not-audited %s", words)


@dataclass(frozen=True, slots=True)
class Operator:
    """Who acts."""

    name: str
    """As they say: `ada@desk`."""
    command: str
    """By which command: `policy kill`."""
    is_record_required: bool = False
    """Whether nothing is done that can't be recorded."""
    tell: Callable[[str], None] = _log
    """Says that something is not recorded."""


@asynccontextmanager
async def changing(broker: Address, by: Operator, change: Change, owner: str | None = None) -> AsyncIterator[Outbox]:
    """Record a change, and give what to make it with; with an `owner`, claimed by that name.

    Raises:
        UnavailableError: no broker answers; or it can't be recorded, and has to be.
    """
    async with recorded(broker, by, change):
        outbox = Outbox(broker, owner)
        try:
            await outbox.start()
            yield outbox
        finally:
            await outbox.stop()


@asynccontextmanager
async def recorded(broker: Address, by: Operator, change: Change) -> AsyncIterator[None]:
    """Record a change before it is made and how it ended, whatever makes it.

    Raises:
        UnavailableError: it can't be recorded, and has to be.
    """
    audit = asked(change, uuid.uuid4().hex, _now_ms(), by.name, by.command)
    if fault := await _write(broker, audit):
        if by.is_record_required:
            raise UnavailableError(f"nothing is done, as --require-audit is set and it can't be recorded: {fault}")
        by.tell(f"going on without a record in {AUDIT}: {fault}")
    try:
        yield
    except BaseException as error:
        await _end(broker, by, audit.ended("failed", _now_ms(), str(error) or type(error).__name__))
        raise
    await _end(broker, by, audit.ended("done", _now_ms()))


async def _end(broker: Address, by: Operator, audit: Audit) -> None:
    if fault := await _write(broker, audit):
        by.tell(f"{by.command} of {audit.policy or audit.target} is {audit.state}, which {AUDIT} does not say: {fault}")


async def _write(broker: Address, audit: Audit) -> str:
    """Write one record; return why it could not be, or nothing."""
    outbox = Outbox(broker)
    try:
        async with asyncio.timeout(WITHIN_S):
            await outbox.start()
            # Asked for by its name, a missing topic is made by some brokers, with whatever settings they have.
            if AUDIT not in (await outbox.client.fetch_all_metadata()).topics():
                return f"there is no topic {AUDIT}, or you may not see it: pipeline topics create; pipeline doctor"
            await outbox.deliver([Record(AUDIT, 0, audit.act_id.encode(), audit.to_bytes())])
    except TimeoutError:
        return f"not acknowledged within {WITHIN_S:g} s"
    except PipelineError as error:
        return str(error)
    finally:
        await outbox.stop()
    return ""


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
