"""Own a partition of a stage: whoever claimed it last is the only one whose writes the broker takes.

A claim asks the broker's transaction coordinator for a producer id under the owner's name (Kafka's InitProducerId).
The id stays the name's own, and its epoch rises with each claim. Every record batch carries both, and a partition
refuses a batch whose epoch is below one that it has seen: a worker that was frozen, has lost its partitions and wakes
up can't write to them any more. That takes no transaction, none of its round trips, markers and waiting readers.

Left alone, the coordinator forgets a name after `transactional.id.expiration.ms` (7 days) and a partition a producer
after `producer.id.expiration.ms` (1 day). So an owner renews its claim by an empty transaction, which the coordinator
refuses to an earlier epoch: by a timer, however little it writes, and several times as often as the coordinator
forgets. A name that was forgotten all the same (the owner was frozen for so long) may have been claimed under another
producer id, which fences nobody: that owner is at an end, at once. Why: ops/decisions/0005-fencing.md, 0030.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.errors import InvalidProducerEpoch, InvalidProducerIdMapping, KafkaError, ProducerFenced, for_code
from aiokafka.producer.transaction_manager import PidAndEpoch
from aiokafka.protocol.admin import DescribeConfigsRequest
from aiokafka.protocol.transaction import AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest

from pipeline.errors import FencedError, NotAllowedError, UnavailableError
from pipeline.stream.refusals import unavailable

log = logging.getLogger(__name__)

CLAIM_WITHIN_S = 60.0
RENEW_AFTER_S = 6 * 3600.0
"""At the most; where the coordinator tells that it forgets sooner, in a quarter of that."""
RENEWALS = 4
AGAIN_S = 30.0
"""Between two tries of a renewal that nobody answers."""
RETRY_S = 0.1
TRANSACTION_TIMEOUT_MS = 60_000
COMMIT = 1
_BROKER = 4
_FORGOTTEN_AFTER = "transactional.id.expiration.ms"


class Claim:
    """The claim of one owner name, put into a producer before it sends anything."""

    def __init__(self, producer: AIOKafkaProducer, owner: str) -> None:
        self.owner = owner
        self._client = producer.client
        # aiokafka's producer is idempotent by a producer id of its own; there is no public way to give it one.
        self._manager = producer._txn_manager  # noqa: SLF001
        self._claimed_at_s = 0.0
        self._renew_after_s = RENEW_AFTER_S
        self._renewing = asyncio.Lock()

    @property
    def epoch(self) -> tuple[int, int]:
        """Producer id and epoch."""
        return self._manager.producer_id, self._manager.producer_epoch

    async def take(self) -> None:
        """Claim: from the first write on, those of earlier owners are refused.

        Raises:
            UnavailableError: no coordinator answers. NotAllowedError: it may not be claimed.
        """
        answer = await self._ask(InitProducerIdRequest(self.owner, TRANSACTION_TIMEOUT_MS))
        self._manager._pid_and_epoch = PidAndEpoch(answer.producer_id, answer.producer_epoch)  # noqa: SLF001
        self._claimed_at_s = time.monotonic()
        self._renew_after_s = min(RENEW_AFTER_S, await self._forgotten_after_s() / RENEWALS)

    async def keep(self, topic: str, partition: int) -> None:
        """Renew the claim whenever it is due, until cancelled.

        Raises:
            FencedError: another has claimed it meanwhile, or it was forgotten.
        """
        while True:
            left_s = self._claimed_at_s + self._renew_after_s - time.monotonic()
            await asyncio.sleep(left_s if left_s > 0 else AGAIN_S)
            try:
                await self.renew_if_due(topic, partition)
            except UnavailableError as error:
                log.warning("claim-not-renewed owner=%s error=%s", self.owner, error)

    async def renew_if_due(self, topic: str, partition: int) -> None:
        """Keep the broker from forgetting the claim, by a mark in a partition that the owner writes to.

        Raises:
            FencedError: another has claimed it meanwhile. UnavailableError: no coordinator answers.
        """
        async with self._renewing:
            if not self._is_due:
                return
            await self.mark(topic, partition)
        log.info("claim-renewed owner=%s epoch=%s", self.owner, self.epoch)

    async def mark(self, topic: str, partition: int) -> None:
        """Write an empty transaction's marker, from which on a partition refuses earlier epochs of the name.

        Raises:
            FencedError: another has claimed it meanwhile. UnavailableError: no coordinator answers.
        """
        await self._ask(AddPartitionsToTxnRequest(self.owner, *self.epoch, [(topic, [partition])]))
        await self._ask(EndTxnRequest(self.owner, *self.epoch, COMMIT))
        self._claimed_at_s = time.monotonic()

    async def fence(self, topic: str, partition: int) -> None:
        """Let a partition refuse earlier epochs of the name, from the moment that this returns.

        A transaction that has ended is not in its partitions yet: the coordinator writes the markers later. It begins
        another of the same name only when they are written.

        Raises:
            FencedError: another has claimed it meanwhile. UnavailableError: no coordinator answers.
        """
        await self.mark(topic, partition)
        await self.mark(topic, partition)

    @property
    def _is_due(self) -> bool:
        return time.monotonic() - self._claimed_at_s >= self._renew_after_s

    async def _forgotten_after_s(self) -> float:
        """Return how long the coordinator remembers a silent name; infinite where it may not be asked."""
        try:
            node = await self._client.coordinator_lookup(CoordinationType.TRANSACTION, self.owner)
            request = DescribeConfigsRequest([(_BROKER, str(node), [_FORGOTTEN_AFTER])])
            answer = await self._client.send(node, request)
        except (KafkaError, NotImplementedError):
            return math.inf
        told = [entry[1] for _, _, _, _, entries in answer.resources for entry in entries]
        return min([int(text) / 1000 for text in told if text], default=math.inf)

    async def _ask(self, request: Any) -> Any:
        """Send to the coordinator, again until it can answer."""
        deadline_s = time.monotonic() + CLAIM_WITHIN_S
        while True:
            try:
                node = await self._client.coordinator_lookup(CoordinationType.TRANSACTION, self.owner)
                await self._client.ready(node, group=ConnectionGroup.COORDINATION)
                answer = await self._client.send(node, request, group=ConnectionGroup.COORDINATION)
                if not (code := _error_code(answer)):
                    return answer
                error: KafkaError = for_code(code)()
            except KafkaError as unanswered:
                error = unanswered
            if isinstance(error, InvalidProducerEpoch | ProducerFenced):
                raise fenced(self.owner) from error
            if isinstance(error, InvalidProducerIdMapping):
                raise FencedError(
                    f"{self.owner} was forgotten by the broker while this worker was silent for longer than its "
                    f"{_FORGOTTEN_AFTER}, and may be another's now; it stops: start it again"
                ) from error
            refused = unavailable(f"{self.owner} can't be claimed", error, "Write", self.owner)
            if isinstance(refused, NotAllowedError):  # which time does not mend
                raise refused from error
            if time.monotonic() > deadline_s:
                raise refused from error
            await asyncio.sleep(RETRY_S)


def fenced(owner: str) -> FencedError:
    """Return the error of an owner that is none any more."""
    return FencedError(
        f"{owner} was claimed by another worker while this one was silent; nothing that this one sent since then was "
        "taken, and it stops: start it again"
    )


def _error_code(answer: Any) -> int:
    """Return the error code of an answer; that of its one partition, where there is none for the whole."""
    if hasattr(answer, "error_code"):
        return int(answer.error_code)
    ((_, ((_, code),)),) = answer.errors
    return int(code)
