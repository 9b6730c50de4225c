"""What the broker believes of a consumer group's members.

A worker that was killed stays a member until its session is over, and nobody reads its partitions till then. Where a
scenario is not about that wait, it tells the broker at once what it would find out by itself.
"""

from __future__ import annotations

import asyncio

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.protocol.group import LeaveGroupRequest


def all_are_dead(broker: str, group: str) -> None:
    """Say for every member of a group that it has left; to be called when all of them are dead."""
    asyncio.run(_leave(broker, group))


async def _leave(broker: str, group: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        coordinator = await admin.find_coordinator(group)
        for member_id in await _members(admin, group):
            await admin._send_request(LeaveGroupRequest(group, member_id), coordinator)
    except GroupCoordinatorNotAvailableError:
        return  # no group was ever made here, so nobody is in it
    finally:
        await admin.close()


async def _members(admin: AIOKafkaAdminClient, group: str) -> list[str]:
    ((described, *_),) = [response.groups for response in await admin.describe_consumer_groups([group])]
    return [member[0] for member in described[5]]


async def members(broker: str, group: str) -> int:
    """Return how many members a group has."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        return len(await _members(admin, group))
    finally:
        await admin.close()
