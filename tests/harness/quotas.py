"""A broker that is slow, by its own quotas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pipeline.brokers.local_kafka import LocalKafka

TOOL = "kafka.admin.ConfigCommand"
EVERY_CLIENT = ("--alter", "--entity-type", "clients", "--entity-default")
RATES = ("producer_byte_rate", "consumer_byte_rate")


@asynccontextmanager
async def throttled(kafka: LocalKafka, bytes_a_second: int) -> AsyncIterator[None]:
    """Let each client send and read at most so much."""
    limits = ",".join(f"{rate}={bytes_a_second}" for rate in RATES)
    await asyncio.to_thread(kafka.administer, TOOL, *EVERY_CLIENT, "--add-config", limits)
    try:
        yield
    finally:
        await asyncio.to_thread(kafka.administer, TOOL, *EVERY_CLIENT, "--delete-config", ",".join(RATES))
