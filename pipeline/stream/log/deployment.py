"""Which application works a cluster's topics: there is one, or every version would be written twice.

`decisions`, `rewards`, `statistics` and `snapshots` have one name on a cluster, whatever `--app-id` is. An
application's first worker writes its name to the topic `deployments` and reads what stands there: the first name in the
log is the one that works, however many have started at once, and nobody else starts. A name that takes over from it is
the next. Names that came second stay, and mean nothing; the topic is compacted by name.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from pipeline.codec import avro
from pipeline.errors import ConfigError, DecodeError, StateError, UnavailableError
from pipeline.stream.log.follow import Entry, TopicFollower
from pipeline.stream.log.outbox import Outbox, Record
from pipeline.stream.log.topics import DEPLOYMENTS
from pipeline.stream.security import Address

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 3.0


class Deployment(NamedTuple):
    """An application's word that it works the topics."""

    app_id: str
    takes_over: str
    begun_at_ms: int


def working(current: Deployment | None, words: Iterable[Deployment]) -> Deployment | None:
    """Return who works the topics after these words, in the log's order. Pure.

    >>> a, b = Deployment("a", "", 1), Deployment("b", "", 2)
    >>> working(None, [a, b]).app_id, working(None, [a, b, Deployment("b", "a", 3)]).app_id
    ('a', 'b')
    """
    for word in words:
        if current is None or (word.takes_over == current.app_id and word.app_id != current.app_id):
            current = word
    return current


async def join_deployment(broker: Address, app_id: str, takes_over: str = "") -> None:
    """Say that an application works the topics, unless it has said so.

    Args:
        broker: bootstrap servers.
        app_id: the application.
        takes_over: the one that is to work them no more.

    Raises:
        ConfigError: another one does. UnavailableError: no broker answers.
    """
    follower = TopicFollower(broker, DEPLOYMENTS, only=_first)
    try:
        await follower.start()
        current = working(None, _words(await follower.read_to_end()))
        if current is None or (takes_over and takes_over == current.app_id != app_id):
            await _say(broker, Deployment(app_id, takes_over, time.time_ns() // 1_000_000))
            current = working(current, _words(await follower.read_to_end()))
    finally:
        await follower.stop()
    if current is None or current.app_id != app_id:
        raise ConfigError(f"--app-id {app_id}", [_taken(current)])


async def watch_deployment(broker: Address, app_id: str) -> None:
    """Look whether another application has taken over, until cancelled.

    Raises:
        StateError: one has.
    """
    while True:
        follower = TopicFollower(broker, DEPLOYMENTS, only=_first)
        current: Deployment | None = None
        try:
            await follower.start()
            while True:
                current = working(current, _words(await follower.poll()))
                if current is not None and current.app_id != app_id:
                    raise StateError(f"--app-id {app_id}: {_taken(current)}")
                await asyncio.sleep(0)
        except UnavailableError as error:
            log.info("deployments-not-looked-at error=%s", error)
        finally:
            await follower.stop()
        await asyncio.sleep(LOOK_AGAIN_S)


def _taken(current: Deployment | None) -> str:
    if current is None:
        return f"{DEPLOYMENTS} does not say who works these topics: start again"
    since = datetime.fromtimestamp(current.begun_at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return (
        f"application {current.app_id!r} works this cluster's topics since {since} UTC, and two would write every "
        f"version twice: start with --app-id {current.app_id}; or stop all its workers and start with --take-over "
        f"{current.app_id}; or use another cluster"
    )


def _words(entries: Iterable[Entry]) -> list[Deployment]:
    found = []
    for entry in entries:
        if entry.value is None:
            continue
        try:
            fields = avro.decode_as("deployment", entry.value)
        except DecodeError as error:
            log.warning("record-passed-over place=%s/0 offset=%s error=%s", DEPLOYMENTS, entry.offset, error)
            continue
        found.append(Deployment(**fields))
    return found


async def _say(broker: Address, word: Deployment) -> None:
    outbox = Outbox(broker)
    try:
        await outbox.start()
        await outbox.deliver([Record(DEPLOYMENTS, 0, word.app_id.encode(), avro.encode("deployment", word._asdict()))])
    finally:
        await outbox.stop()


def _first(partitions: int) -> int:
    del partitions  # one, but on a broker that makes its topics itself
    return 0
