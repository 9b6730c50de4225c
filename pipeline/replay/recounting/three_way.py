"""What somebody asked for, put into the definition that is in force by then; no edit between is undone. Pure.

    before    what was in force when it was asked for          ─┐ what differs was asked for
    asked     what was asked for                               ─┘
    now       what is in force: what was not asked for stays as it is here

What statistics are a function of is all as asked. Elsewhere one place that was asked for and edited meanwhile, to
different values, is a conflict, which people settle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.errors import ConfigError
from pipeline.policy.canonical import canonical_bytes
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.operations import keep_switches
from pipeline.policy.parsing.parse import parse_policy

Path = tuple[str, ...]
Leaves = Mapping[Path, Any]
"""A definition's values by place; None: not there."""

# Of these a part means nothing without the rest.
_WHOLE = {("algorithm",), ("segments",), ("analysis",), ("assignment",)}
# Lists of tables, by what tells their entries apart.
_KEYED = {("arms",): "name", ("reward", "outcomes"): "kind"}
# Named by the command, or kept by another rule.
_APART = {"name", "generation", "killed"}


def asked_over(before: PolicyDefinition, asked: PolicyDefinition) -> dict[Path, Any]:
    """Return what was in force where something else is asked for, but for what statistics are a function of."""
    old, new = _unlearned(before), _unlearned(asked)
    return {path: old.get(path) for path in sorted(old.keys() | new.keys()) if old.get(path) != new.get(path)}


def put_into(now: PolicyDefinition, asked: PolicyDefinition, before: Leaves) -> PolicyDefinition:
    """Return what was asked for over what is in force now.

    Args:
        now: what is in force.
        asked: what was asked for, whole.
        before: what `asked_over` said then.

    Raises:
        ConfigError: with every place that was edited meanwhile and asked for otherwise; or what comes of it is no
            policy.
    """
    present, new = _unlearned(now), _unlearned(asked)
    merged, faults = dict(present), []
    for path, was in before.items():
        is_to_be, is_now = new.get(path), present.get(path)
        if is_now not in (was, is_to_be):
            told = (
                f"{value if value is None else canonical_bytes(value).decode()}" for value in (was, is_to_be, is_now)
            )
            faults.append("{}: was {}, asked for was {}, and it was edited to {}".format(".".join(path), *told))
        merged[path] = is_to_be
    if faults:
        raise ConfigError(f"policy {now.name}", faults)
    merged |= _leaves(asked.statistics_parts())
    plain = {"name": now.name, "generation": asked.generation} | _tree(merged)
    return keep_switches(now, parse_policy(plain, f"policy {now.name}, as asked for over what is in force"))


def differing_places(one: PolicyDefinition, other: PolicyDefinition) -> list[Path]:
    """Return where two definitions differ."""
    old, new = _leaves(one.to_plain()), _leaves(other.to_plain())
    return sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))


def _unlearned(definition: PolicyDefinition) -> dict[Path, Any]:
    """Return all that statistics are no function of."""
    learned = _leaves(definition.statistics_parts())
    plain = {key: part for key, part in definition.to_plain().items() if key not in _APART}
    return {path: value for path, value in _leaves(plain).items() if path not in learned}


def _leaves(plain: Mapping[str, Any]) -> dict[Path, Any]:
    return dict(_walk((), plain))


def _walk(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    if path in _KEYED:
        value = {entry[_KEYED[path]]: entry for entry in value}
    if isinstance(value, Mapping) and path not in _WHOLE:
        for key, part in value.items():
            yield from _walk((*path, key), part)
    else:
        yield path, value


def _tree(leaves: Leaves) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in leaves.items():
        if value is None:
            continue
        at = tree
        for key in path[:-1]:
            at = at.setdefault(key, {})
        at[path[-1]] = value
    for path in _KEYED:
        at = tree
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = list(at[path[-1]].values())
    return tree
