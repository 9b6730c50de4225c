"""The topic `policies`, followed for what holds before any snapshot says so: kill switches, and what may be logged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from aiokafka.errors import KafkaError

from pipeline.codec import avro
from pipeline.errors import UnavailableError
from pipeline.policy.declared import DeclaredFields
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.guardrails import Switches
from pipeline.policy.parsing.parse import load_canonical_json
from pipeline.policy.switches import SwitchBoard, together
from pipeline.publish.parts import part_of
from pipeline.serve.following.follower import LONGEST_RETRY_S, RETRY_S, Topic
from pipeline.stream.log.follow import TopicFollower
from pipeline.stream.log.topics import POLICIES
from pipeline.stream.security import Address

log = logging.getLogger(__name__)


class SwitchFollower:
    """What is switched off of every policy: by switches, and by the definition of its highest generation."""

    def __init__(self, broker: Address, *, open_topic: Callable[[Address, str], Topic] = TopicFollower) -> None:
        self.switches: dict[str, Switches] = {}
        """By policy."""
        self.fields: dict[str, DeclaredFields] = {}
        """By policy: what of a request may be logged."""
        self._declared: dict[str, tuple[int, Switches]] = {}
        """Generation, and what its definition has off."""
        self._board = SwitchBoard()
        self._broker = broker
        self._open_topic = open_topic

    def is_known(self, policy: str) -> bool:
        """Return whether a policy of this name has been declared."""
        return policy in self._declared

    async def follow(self) -> None:
        """Keep up until cancelled, whatever the broker does; while none answers, the last switches stay."""
        retry_s = RETRY_S
        while True:
            topic = self._open_topic(self._broker, POLICIES)
            try:
                await topic.start()
                retry_s = RETRY_S
                while True:
                    self._take(await topic.poll())
            except (KafkaError, UnavailableError) as error:
                log.warning("policies-unreachable broker=%s retry_s=%s error=%r", self._broker, retry_s, error)
            finally:
                await topic.stop()
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, LONGEST_RETRY_S)

    def _take(self, records: Sequence[Any]) -> None:
        for record in records:
            try:
                if record.value is None or part_of(record.key):
                    continue
                kind, fields = avro.decode(record.value)
                if kind == "switch":
                    self._show(self._board.turn(fields).policy)
                elif kind == "policy":  # directives to the publisher stand in the same topic
                    self._declare(load_canonical_json(fields["definition"], f"policies@{record.offset}"))
            except Exception as error:  # noqa: BLE001  whatever it is, no record ends the following of switches
                log.error("policy-record-refused offset=%s error=%s", record.offset, error)  # noqa: TRY400  no traceback

    def _declare(self, definition: PolicyDefinition) -> None:
        generation, _ = self._declared.get(definition.name, (0, Switches()))
        if definition.generation >= generation:
            self._declared[definition.name] = definition.generation, definition.switches
            self.fields[definition.name] = definition.declared
            self._show(definition.name)

    def _show(self, name: str) -> None:
        _, declared = self._declared.get(name, (0, Switches()))
        switches = together(declared, self._board.off(name))
        if switches != self.switches.get(name, Switches()):
            killed, arms = switches.is_killed, ",".join(switches.arms)
            log.warning("policy-switched name=%s killed=%s killed_arms=%s", name, killed, arms)
        self.switches[name] = switches
