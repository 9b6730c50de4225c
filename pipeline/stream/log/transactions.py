"""DescribeTransactions (KIP-664), which no client of Python's sends yet; as aiokafka declares its own requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

TAGS = ("tags", TaggedFields)


class DescribeTransactionsResponse_v0(Response):  # noqa: N801  as aiokafka names them
    """The state of each transactional id."""

    API_KEY = 65
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "transactions",
            CompactArray(
                ("error_code", Int16),
                ("transactional_id", CompactString()),
                ("state", CompactString()),
                ("timeout_ms", Int32),
                ("started_at_ms", Int64),
                ("producer_id", Int64),
                ("producer_epoch", Int16),
                ("topics", CompactArray(("topic", CompactString()), ("partitions", CompactArray(Int32)), TAGS)),
                TAGS,
            ),
        ),
        TAGS,
    )


class DescribeTransactionsRequest_v0(RequestStruct):  # noqa: N801
    """Asks a coordinator of ids that are its own."""

    API_KEY = 65
    API_VERSION = 0
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = DescribeTransactionsResponse_v0
    SCHEMA = Schema(("transactional_ids", CompactArray(CompactString())), TAGS)


DescribeTransactionsStruct: TypeAlias = DescribeTransactionsRequest_v0


class DescribeTransactionsRequest(Request[DescribeTransactionsStruct]):
    """The request, of whatever version a broker has."""

    API_KEY = 65

    def __init__(self, transactional_ids: Sequence[str]) -> None:
        self._transactional_ids = list(transactional_ids)

    def build(self, request_struct_class: type[DescribeTransactionsStruct]) -> DescribeTransactionsStruct:
        """Return it as it is sent."""
        return request_struct_class(self._transactional_ids, {})
