"""The grants of each role as docs/brokers.md says them, and a Kafka that gives no others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

PAGE = Path(__file__).parents[2] / "docs" / "brokers.md"
ROLES = ("worker", "node", "operator", "producer", "analyst")
WITHIN_S = 30.0


class Documented(NamedTuple):
    """One row of the table."""

    read: tuple[str, ...]
    write: tuple[str, ...]
    other: str


def documented(role: str) -> Documented:
    """Read a role's row."""
    (row,) = re.findall(rf"^\| {role} \|(.*)\|(.*)\|(.*)\|$", PAGE.read_text("utf-8"), re.MULTILINE)
    read, write = (tuple(re.findall(r"`([^`]+)`", cell)) for cell in row[:2])
    return Documented(read, write, row[2])


def bindings(role: str) -> list[AclBinding]:
    """Return a role's row as what is granted to the user of its name."""
    granted = documented(role)
    found = [_binding(role, ResourceType.TOPIC, name, AclOperation.READ) for name in granted.read]
    found += [_binding(role, ResourceType.TOPIC, name, AclOperation.WRITE) for name in granted.write]
    for operation, name in re.findall(r"(\w+) on group `([^`]+)`", granted.other):
        found.append(_binding(role, ResourceType.GROUP, name, AclOperation[operation.upper()]))
    for name in re.findall(r"Write on transactional ids prefixed `([^`]+)`", granted.other):
        prefixed = ResourcePatternType.PREFIXED
        found.append(_binding(role, ResourceType.TRANSACTIONAL_ID, name, AclOperation.WRITE, prefixed))
    if "DescribeConfigs" in granted.other:
        found.append(_binding(role, ResourceType.TOPIC, "*", AclOperation.DESCRIBE_CONFIGS))
    return found


def _binding(
    role: str,
    kind: ResourceType,
    name: str,
    operation: AclOperation,
    pattern: ResourcePatternType = ResourcePatternType.LITERAL,
) -> AclBinding:
    return AclBinding(kind, name, pattern, f"User:{role}", "*", operation, AclPermissionType.ALLOW)


def grant(admin: AdminClient, given: list[AclBinding]) -> None:
    for told in admin.create_acls(given).values():
        told.result(WITHIN_S)


def revoke(admin: AdminClient, taken: AclBinding) -> None:
    one = AclBindingFilter(
        taken.restype,
        taken.name,
        taken.resource_pattern_type,
        taken.principal,
        taken.host,
        taken.operation,
        taken.permission_type,
    )
    for told in admin.delete_acls([one]).values():
        assert told.result(WITHIN_S)
