"""Kill, revive, roll out: the acts on a policy in force, for whoever lets people do them."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pipeline.audit.record import Operator
from pipeline.cli.control import change_policy, turn_switches
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.guardrails import RolloutMode
from pipeline.policy.operations import killing, revived, reviving, rolled_out
from pipeline.stream.security import Address


async def kill(broker: Address, name: str, arms: Sequence[str], by: Operator) -> PolicyDefinition:
    """Switch some arms off, or the policy where none are named; return what is in force then."""
    return await turn_switches(broker, name, by, lambda one, _: killing(one, arms, _now_ms()))


async def revive(broker: Address, name: str, arms: Sequence[str], by: Operator) -> PolicyDefinition:
    """Switch some arms on, or the policy and all of its arms; return what is in force then."""
    turned = await turn_switches(broker, name, by, lambda one, off: reviving(one, arms, off, _now_ms()))
    if turned.switches != revived(turned, arms).switches:
        # Its definition has them off too: a file's [killed], or what an earlier release wrote.
        turned = await change_policy(broker, name, by, lambda one: revived(one, arms))
    return turned


async def roll_out(
    broker: Address, name: str, share: float, mode: RolloutMode | None, by: Operator
) -> PolicyDefinition:
    """Let a policy with a [rollout] decide for a share, in [0, 1], of subjects; return what is in force then."""
    return await change_policy(broker, name, by, lambda one: rolled_out(one, share, mode))


def switched_in_words(definition: PolicyDefinition) -> str:
    """Say what is switched off."""
    switches = definition.switches
    policy_word = "killed" if switches.is_killed else "alive"
    return f"{definition.name} is {policy_word}; killed arms: {', '.join(switches.arms) or 'none'}"


def rollout_in_words(definition: PolicyDefinition) -> str:
    """Say whom a policy decides for; nothing where it has no [rollout]."""
    one = definition.rollout
    if one is None:
        return ""
    return f"{definition.name} decides for {100.0 * one.share:g} % of the subjects of {one.of}, mode {one.mode}"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
