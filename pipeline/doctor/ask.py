"""Ask the brokers what librdkafka's admin client has no question for: versions, and who has claimed what.

Whether this user may write under a transactional id is asked by ending a transaction that there is not, by a producer
that there is not: it is refused either for the id or for the want of a grant, and changes nothing.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError, TransactionalIdAuthorizationFailed
from aiokafka.protocol.admin import ApiVersionRequest
from aiokafka.protocol.transaction import EndTxnRequest

from pipeline.doctor.facts import Claimed
from pipeline.doctor.requirements import transactional_ids
from pipeline.stream.log.transactions import DescribeTransactionsRequest
from pipeline.stream.security import Address, client_options

WITHIN_S = 10.0
NO_PRODUCER = -1
ABORT = 0
REFUSALS_OF = 30
"""Ids; more of them tell no more: grants are by prefix, or were forgotten for all."""
NEVER_CLAIMED = 105
"""Kafka's code for a transactional id that nobody has used, or that was forgotten."""


class Answers(NamedTuple):
    """What was told; of what nobody told there is nothing."""

    refused_ids: tuple[str, ...] = ()
    """Transactional ids that this user may not write under."""
    spoken: Mapping[int, Mapping[int, tuple[int, int]]] = {}
    """By broker and number of a request, the lowest and highest version of it that it takes."""
    claims: Mapping[str, Claimed | None] | None = None
    """By transactional id; None: nobody has claimed it. None for all: they can't be seen."""


async def ask(broker: Address, app_id: str, partitions: int) -> Answers:
    """Ask everything, in bounded time."""
    client = AIOKafkaClient(**client_options(broker))
    answers = Answers()
    try:
        async with asyncio.timeout(WITHIN_S):
            await client.bootstrap()
            ids = transactional_ids(app_id, partitions)
            answers = answers._replace(refused_ids=await _refused(client, ids[:REFUSALS_OF]))
            answers = answers._replace(spoken=await _spoken(client))
            answers = answers._replace(claims=await _claims(client, ids))
    except (KafkaError, TimeoutError, NotImplementedError):
        pass
    finally:
        await client.close()
    return answers


async def refused_ids(broker: Address, app_id: str, partitions: int) -> tuple[str, ...]:
    """Return the transactional ids of a deployment that this user may not write under; none where nobody tells."""
    client = AIOKafkaClient(**client_options(broker))
    try:
        async with asyncio.timeout(WITHIN_S):
            await client.bootstrap()
            return await _refused(client, transactional_ids(app_id, partitions)[:REFUSALS_OF])
    except (KafkaError, TimeoutError, NotImplementedError):
        return ()
    finally:
        await client.close()


async def _refused(client: AIOKafkaClient, ids: list[str]) -> tuple[str, ...]:
    node = client.get_random_node()
    answers = [await client.send(node, EndTxnRequest(name, NO_PRODUCER, NO_PRODUCER, ABORT)) for name in ids]
    refused = TransactionalIdAuthorizationFailed.errno
    return tuple(name for name, answer in zip(ids, answers, strict=True) if answer.error_code == refused)


async def _spoken(client: AIOKafkaClient) -> dict[int, dict[int, tuple[int, int]]]:
    found = {}
    for each in client.cluster.brokers():
        with suppress(KafkaError):
            answer = await client.send(each.nodeId, ApiVersionRequest())
            found[each.nodeId] = {number: (lowest, highest) for number, lowest, highest in answer.api_versions}
    return found


async def _claims(client: AIOKafkaClient, ids: list[str]) -> dict[str, Claimed | None] | None:
    by_coordinator: defaultdict[int, list[str]] = defaultdict(list)
    found: dict[str, Claimed | None] = {}
    try:
        for name in ids:
            by_coordinator[await client.coordinator_lookup(CoordinationType.TRANSACTION, name)].append(name)
        for node, names in by_coordinator.items():
            answer = await client.send(node, DescribeTransactionsRequest(names))
            for code, name, *told in answer.transactions:
                if code == NEVER_CLAIMED:
                    found[name] = None
                elif code:
                    return None
                else:
                    found[name] = _claimed(told)
    except (KafkaError, IncompatibleBrokerVersion):
        return None
    return found


def _claimed(told: list[Any]) -> Claimed:
    state, timeout_ms, started_at_ms, producer_id, epoch, *_ = told
    return Claimed(state, producer_id, epoch, started_at_ms, timeout_ms)
