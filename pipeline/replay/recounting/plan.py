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
from pipeline.replay.recounting.three_way import Leaves, asked_over, put_into

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
    replaces: Leaves | None = None
    """What was in force where the definition asks for something else, beside what statistics are a function of; None:
    an earlier release has planned it, which did not say."""
    has_history: bool = False
    """Whether what `pipeline backfill` has loaded is counted, before what is live; only with events."""

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
            **({"has_history": True} if self.has_history else {}),
            **(
                {}
                if self.replaces is None
                else {"replaces": [[list(path), was] for path, was in self.replaces.items()]}
            ),
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
        {tuple(path): was for path, was in plain["replaces"]} if "replaces" in plain else None,
        plain.get("has_history", False),
    )


def make_plan(
    book: PolicyBook,
    policy: str,
    into: int,
    definition: PolicyDefinition | None,
    source: Source,
    limits: Limits,
    *,
    has_history: bool = False,
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
    if has_history and source == "ledger":
        fault = "pipeline backfill has loaded history, which the ledger does not have: leave --ledger out"
        raise ConfigError("replay from the ledger", [fault])
    plan = _plan_of(book, target, source, limits, asked_over(live, target), is_encoded_anew=is_encoded_anew)
    return replace(plan, has_history=has_history)


def promoted(plan: ReplayPlan, now: PolicyDefinition) -> PolicyDefinition:
    """Return what promoting a replay is to put in force: what is now, but for what the replay was asked for.

    Raises:
        ConfigError: something was edited meanwhile that was asked for otherwise; or a later generation is in force.
    """
    name, into = now.name, plan.definition.generation
    if now.generation > into:
        fault = f"{now.generation} is in force, {into} was made before it; replay into {now.generation + 1}"
        raise ConfigError(f"policy {name}", [fault])
    if now.generation == into:
        return now
    # An earlier release did not say what was in force: wherever the two differ, somebody has to look.
    before = asked_over(now, plan.definition) if plan.replaces is None else plan.replaces
    if plan.replaces is None and before:
        places = ", ".join(".".join(path) for path in before)
        fault = (
            f"generation {into} was replayed by a release that did not say what it was begun from, and differs from "
            f"what is in force in {places}: apply a file that does not, or replay into {into + 1}"
        )
        raise ConfigError(f"policy {name}", [fault])
    try:
        return put_into(now, plan.definition, before)
    except ConfigError as error:
        advice = (
            f"give it one of the first two values (pipeline policy apply) and promote, or replay into {into + 1}, "
            "which begins from what is in force now"
        )
        raise ConfigError(f"policy {name}", [f"{fault}: {advice}" for fault in error.faults]) from error


def uncounted(plan: ReplayPlan, book: PolicyBook, *, has_history: bool = False) -> list[str]:
    """Name what policies have that a plan does not count, as it was added since the plan was made.

    Decisions of an arm that the plan does not know are refused in it; of a generation, they only hold their action ids.
    """
    name, into = plan.definition.name, plan.definition.generation
    past = [one for one in book.generations(name) if one.generation < into]
    counted = [one for one in past if one.generation in plan.generations]
    arms = sorted({arm for one in counted for arm in one.arm_names} - plan.definition.arm_set)
    later = [one for one in past if one.generation > max(plan.generations, default=0)]
    missed = [
        one.generation for one in later if _is_counted(one, plan.definition, is_encoded_anew=plan.is_encoded_anew)
    ]
    loaded = ["history"] if has_history and not plan.has_history else []
    return [f"arm {arm!r}" for arm in arms] + [f"generation {generation}" for generation in missed] + loaded


def renewed(plan: ReplayPlan, book: PolicyBook, *, has_history: bool = False) -> ReplayPlan:
    """Plan anew what was asked for, over what is known by now.

    Raises:
        ConfigError: as `promoted` and `make_plan` do.
    """
    now = book.latest(plan.definition.name)
    if now is None:
        raise ConfigError("replay", [f"policy {plan.definition.name!r} is unknown"])
    target = promoted(plan, now)
    limits = plan.limits
    anew = _plan_of(book, target, plan.source, limits, asked_over(now, target), is_encoded_anew=plan.is_encoded_anew)
    return replace(anew, has_history=has_history or plan.has_history)


def _plan_of(
    book: PolicyBook,
    target: PolicyDefinition,
    source: Source,
    limits: Limits,
    replaces: Leaves,
    *,
    is_encoded_anew: bool,
) -> ReplayPlan:
    past = [one for one in book.generations(target.name) if one.generation < target.generation]
    past = [one for one in past if _is_counted(one, target, is_encoded_anew=is_encoded_anew)]
    if source == "ledger" and (faults := [fault for one in past for fault in _ledger_faults(one, target)]):
        raise ConfigError("replay from the ledger", faults)
    generations = tuple(one.generation for one in past)
    return ReplayPlan(target, source, generations, limits, is_encoded_anew=is_encoded_anew, replaces=replaces)


def _is_counted(old: PolicyDefinition, new: PolicyDefinition, *, is_encoded_anew: bool) -> bool:
    return is_encoded_anew or old.schema_hash == new.schema_hash


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
