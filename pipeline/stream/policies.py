"""The policies that this process knows: the topic `policies`, followed from its start."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import orjson

from pipeline.codec import avro
from pipeline.errors import ConfigError, PipelineError
from pipeline.policy.book import PolicyBook
from pipeline.policy.changes import check_change, check_follows
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.directive import ROLLBACK, Directive, is_overtaken, parse_directive
from pipeline.policy.halt import Halt
from pipeline.policy.parsing.parse import parse_policy
from pipeline.publish.parts import part_names, part_of
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.topics import POLICIES
from pipeline.stream.security import Address

log = logging.getLogger(__name__)

# A flood of records of an unknown policy must not become a flood of end-offset requests.
REFRESH_INTERVAL_S = 1.0


class Policies:
    """A policy book that is kept up to date."""

    def __init__(self, broker: Address) -> None:
        self.book = PolicyBook()
        self._follower = TopicFollower(broker, POLICIES)
        self._reading = asyncio.Lock()
        self._refreshed_at_s = 0.0
        self.refused_count = 0
        """Records that were passed over."""
        self.refused: dict[str, tuple[str, PipelineError]] = {}
        """By policy, the definition hash of the last one that was passed over, and why."""

    async def start(self) -> None:
        """Connect and read all that is there."""
        await self._follower.start()
        self._take(await self._follower.read_to_end())

    async def stop(self) -> None:
        """Disconnect."""
        await self._follower.stop()

    async def follow(self) -> None:
        """Keep up until cancelled."""
        while True:
            async with self._reading:
                self._take(await self._follower.poll())
            await asyncio.sleep(0)

    async def refresh(self) -> None:
        """Read up to the topic's present end, at most once a second: a record names a policy not known here."""
        if time.monotonic() - self._refreshed_at_s < REFRESH_INTERVAL_S:
            return
        async with self._reading:
            self._take(await self._follower.read_to_end())
        self._refreshed_at_s = time.monotonic()

    def _take(self, records: Any) -> None:
        for record in records:
            try:
                if part := part_of(record.key):
                    self.book.put_part(*part, record.value)
                elif record.value is not None:
                    self._take_record(record.value, f"policies@{record.offset}")
            except Exception as error:  # noqa: BLE001  whatever it is, no record ends all that follow the policies
                # The commands check before they write: this was written by something else, or by two of them at once.
                self.refused_count += 1
                log.error("policy-record-refused offset=%s error=%s", record.offset, error)  # noqa: TRY400  no traceback

    def _take_record(self, value: bytes, source: str) -> None:
        name, fields = avro.decode(value)
        if name == "directive":
            self._take_directive(parse_directive(fields, source))
            return
        if name == "switch":
            switch = self.book.turn(fields)
            log.info("switch-known policy=%s arm=%s is_off=%s", switch.policy, switch.arm or "*", switch.is_off)
            return
        if name == "halt":
            self.book.put_halt(Halt(**fields))
            return
        if name != "policy":
            raise ConfigError(source, [f"a {name} record, expected a policy, a switch, a halt or a directive"])
        definition = parse_policy(orjson.loads(fields["definition"]), source)
        if self._is_of_the_past(definition):
            self.book.put(definition)
            return
        if latest := self.book.latest(definition.name):
            try:
                check_follows(fields["follows"], latest, definition)
                check_change(latest, definition)
            except ConfigError as error:
                self.refused[definition.name] = definition.definition_hash, error
                raise
        self.book.put(definition)
        log.info(
            "policy-known name=%s generation=%s definition=%s",
            definition.name,
            definition.generation,
            definition.definition_hash[:12],
        )

    def _is_of_the_past(self, definition: PolicyDefinition) -> bool:
        """Whether it is of an earlier generation that is not known, or known as just this.

        Written again, it stands behind later ones: whoever gave it was not refused.
        """
        latest = self.book.latest(definition.name)
        if latest is None or definition.generation >= latest.generation:
            return False
        known = self.book.find(definition.name, definition.generation)
        return known is None or known.definition_hash == definition.definition_hash

    def _take_directive(self, directive: Directive) -> None:
        if directive.action == ROLLBACK:
            snapshot = avro.decode_as("snapshot", directive.content)
            owner = snapshot["policy"]
            if owner != directive.policy:
                raise ConfigError(
                    "directive", [f"content: a snapshot of {owner!r}, expected one of {directive.policy!r}"]
                )
            missing = set(part_names(snapshot)) - self.book.parts(owner).keys()
            if missing:
                raise ConfigError("directive", [f"content: {len(missing)} parts of it do not stand before it"])
        known = self.book.directive(directive.policy)
        if is_overtaken(directive, known):
            raise ConfigError(
                "directive", [f"number {directive.number} was given while another one was; that one holds"]
            )
        self.book.put_directive(directive)
        log.info(
            "directive-known policy=%s action=%s version=%s number=%s",
            directive.policy,
            directive.action,
            directive.version,
            directive.number,
        )
