"""A broker that is slow, by its own quotas: Kafka's request 49, AlterClientQuotas, which aiokafka does not have."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Float64, Int16, Int32, Schema, String

ENTITY = Array(("type", String("utf-8")), ("name", String("utf-8")))
EVERY_CLIENT = [("client-id", None)]
RATES = ("producer_byte_rate", "consumer_byte_rate")


class AlterClientQuotasResponse(Response):
    API_KEY = 49
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("entries", Array(("error_code", Int16), ("error_message", String("utf-8")), ("entity", ENTITY))),
    )


class AlterClientQuotasStruct(RequestStruct):
    API_KEY = 49
    API_VERSION = 0
    RESPONSE_TYPE = AlterClientQuotasResponse
    SCHEMA = Schema(
        (
            "entries",
            Array(
                ("entity", ENTITY),
                ("ops", Array(("key", String("utf-8")), ("value", Float64), ("remove", Boolean))),
            ),
        ),
        ("validate_only", Boolean),
    )


class AlterClientQuotas(Request[AlterClientQuotasStruct]):
    API_KEY = 49

    def __init__(self, operations: list[tuple[str, float, bool]]) -> None:
        self._operations = operations

    def build(self, request_struct_class: type[AlterClientQuotasStruct]) -> AlterClientQuotasStruct:
        return request_struct_class([(EVERY_CLIENT, self._operations)], False)  # noqa: FBT003  validate_only


@asynccontextmanager
async def throttled(broker: str, bytes_a_second: int) -> AsyncIterator[None]:
    """Let each client send and read at most so much."""
    await _alter(broker, [(rate, float(bytes_a_second), False) for rate in RATES])
    try:
        yield
    finally:
        await _alter(broker, [(rate, 0.0, True) for rate in RATES])


async def _alter(broker: str, operations: list[tuple[str, float, bool]]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        response: Any = await admin._send_request(AlterClientQuotas(operations))
    finally:
        await admin.close()
    for code, message, _ in response.entries:
        if code:
            raise for_code(code)(message)
