"""What a replay is a function of beside the log: written once, carried by every snapshot that rests on it. Pure.

Two replays with equal plans and equal cuts have equal statistics, on any machine and after any interruption.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import orjson

from pipeline.codec.framed import UNDECLARED, Declared
from pipeline.errors import ConfigError
from pipeline.join.step import Limits
from pipeline.policy.book import PolicyBook
from pipeline.policy.canonical import canonical_bytes
from pipeline.policy.changes import check_change
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.parsing.parse import parse_policy

Source = Literal["events", "ledger"]
"""events: decisions and outcomes are joined again; ledger: what was credited is weighed again."""


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """A policy's past, to be counted under a definition."""

    definition: PolicyDefinition
    """What is counted by; its generation is the one that the replay makes."""
    source: Source
    """Which topics are read."""
    generations: tuple[int, ...]
    """Decisions of these count; those of the new one are learned from live, so never counted here."""
    limits: Limits
    """How patient JOIN is; only with events."""
    declared_ids: Mapping[int, str] = field(default_factory=dict)
    """Schema ids that releases before took for those of our own schemas; no schema id is told by name any more."""
    is_encoded_anew: bool = False
    """Whether contexts are encoded by the definition, as they were logged in another encoding."""

    def to_json(self) -> str:
        """Write the plan as canonical JSON."""
        plain = {
            "definition": self.definition.to_plain(),
            "source": self.source,
            "generations": list(self.generations),
            "orphan_hold_ms": self.limits.orphan_hold_ms,
            "max_clock_skew_ms": self.limits.max_clock_skew_ms,
            "registry": {str(schema_id): name for schema_id, name in self.declared_ids.items()},
            **({"is_encoded_anew": True} if self.is_encoded_anew else {}),
            **({"is_time_bounded": True} if self.limits.is_time_bounded else {}),
        }
        return canonical_bytes(plain).decode()


def plan_from_json(text: str) -> ReplayPlan:
    """Read what `to_json` wrote."""
    plain: dict[str, Any] = orjson.loads(text)
    registry = {int(schema_id): name for schema_id, name in plain["registry"].items()}
    return ReplayPlan(
        parse_policy(plain["definition"], "replay plan"),
        cast("Source", plain["source"]),
        tuple(plain["generations"]),
        Limits(
            plain["orphan_hold_ms"],
            plain["max_clock_skew_ms"],
            Declared(registry) if registry else UNDECLARED,
            plain.get("is_time_bounded", False),
        ),
        registry,
        plain.get("is_encoded_anew", False),
    )


def make_plan(
    book: PolicyBook, policy: str, into: int, definition: PolicyDefinition | None, source: Source, limits: Limits
) -> ReplayPlan:
    """Plan to count a policy's past under `definition`, or under the one in force.

    Raises:
        ConfigError: with every fault: generations and names that don't fit, another feature schema, or what the ledger
            can't tell.
    """
    live = book.latest(policy)
    if live is None:
        known = ", ".join(known.name for known in book) or "none"
        raise ConfigError("replay", [f"policy {policy!r} is unknown; known: {known}"])
    if into <= live.generation:
        raise ConfigError(
            "replay",
            [f"--into {into}: {policy!r} is at generation {live.generation} already; {live.generation + 1} is free"],
        )
    if definition is not None and definition.generation not in (live.generation, into):
        raise ConfigError(
            "replay", [f"the definition is of generation {definition.generation}, expected {into} (--into)"]
        )
    target = replace(definition or live, generation=into)
    check_change(live, target)
    is_encoded_anew = target.schema_hash != live.schema_hash
    if target.candidates != live.candidates and source == "ledger":
        fault = "[candidates]: the ledger has vectors of other features; leave --ledger out"
        raise ConfigError("replay from the ledger", [fault])
    if is_encoded_anew and source == "ledger":
        fault = (
            f"[[context]]: past contexts were encoded by feature schema {live.schema_hash}, the definition has "
            f"{target.schema_hash}; encode them anew from the decisions: leave --ledger out"
        )
        raise ConfigError("replay from the ledger", [fault])
    past = [one for one in book.generations(policy) if is_encoded_anew or one.schema_hash == target.schema_hash]
    if source == "ledger":
        faults = [fault for one in past for fault in _ledger_faults(one, target)]
        if faults:
            raise ConfigError("replay from the ledger", faults)
    return ReplayPlan(target, source, tuple(one.generation for one in past), limits, is_encoded_anew=is_encoded_anew)


def _ledger_faults(old: PolicyDefinition, new: PolicyDefinition) -> Iterator[str]:
    """Name what a ledger written under `old` does not tell about `new`: it holds what was credited, nothing else."""
    where, instead = f"generation {old.generation}", "replay decisions and outcomes instead: leave --ledger out"
    known = {rule.kind: rule for rule in old.reward.outcomes}
    for rule in new.reward.outcomes:
        before = known.get(rule.kind)
        if before is None:
            yield f"outcomes of kind {rule.kind!r} were not credited in {where}; {instead}"
            continue
        if rule.window_ms > before.window_ms:
            yield f"the window of {rule.kind!r} is longer than in {where}; {instead}"
        if not _is_within(rule.value_low, rule.value_high, before.value_low, before.value_high):
            yield f"more values of {rule.kind!r} are accepted than in {where}; {instead}"
    if old.attribution.settle == "wait" and new.attribution.settle != "wait":
        yield f"open decisions are not in the ledger of {where}, which waits; {instead}"


def _is_within(low: float | None, high: float | None, old_low: float | None, old_high: float | None) -> bool:
    if old_low is None or old_high is None:
        return True  # any value was credited
    return low is not None and high is not None and old_low <= low and high <= old_high
