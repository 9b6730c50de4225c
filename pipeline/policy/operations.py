"""What operators change of a definition in force: kill, revive, roll out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from pipeline.errors import ConfigError
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.guardrails import RolloutMode, Switches
from pipeline.policy.switches import WHOLE, Switch


def killing(definition: PolicyDefinition, arms: Sequence[str], now_ms: int) -> list[Switch]:
    """Return the switches to turn off: of some arms, or of the policy where none are named.

    Raises:
        ConfigError: an arm is not one of the policy's.
    """
    _check_known(definition, arms)
    return [Switch(definition.name, arm, is_off=True, turned_at_ms=now_ms) for arm in arms or (WHOLE,)]


def reviving(definition: PolicyDefinition, arms: Sequence[str], off: Iterable[str], now_ms: int) -> list[Switch]:
    """Return the switches to turn on: of some arms, or of the policy and all arms that are `off`, where none are named.

    Raises:
        ConfigError: an arm is not one of the policy's.
    """
    _check_known(definition, arms)
    return [Switch(definition.name, arm, is_off=False, turned_at_ms=now_ms) for arm in arms or sorted({WHOLE, *off})]


def revived(definition: PolicyDefinition, arms: Sequence[str] = ()) -> PolicyDefinition:
    """Return the definition with some arms revived, or the policy and all its arms where none are named.

    Raises:
        ConfigError: an arm is not one of the policy's.
    """
    _check_known(definition, arms)
    if not arms:
        return _switched(definition, is_killed=False, arms=set())
    before = definition.switches
    return _switched(definition, before.is_killed, {*before.arms} - {*arms})


def rolled_out(definition: PolicyDefinition, share: float, mode: RolloutMode | None = None) -> PolicyDefinition:
    """Return the definition deciding for another share of subjects.

    Raises:
        ConfigError: it is to follow no policy.
    """
    if definition.rollout is None:
        fault = "rollout: is not declared; say which policy it is to follow: [rollout] of = NAME, share = 0.05"
        raise ConfigError(f"policy {definition.name}", [fault])
    rollout = replace(definition.rollout, share=share, mode=mode or definition.rollout.mode)
    return replace(definition, rollout=rollout)


def keep_switches(current: PolicyDefinition, new: PolicyDefinition) -> PolicyDefinition:
    """Return the successor with what is switched off now: a file that knows nothing of it revives nothing."""
    kept = {arm for arm in current.switches.arms if arm in new.arm_set}
    return _switched(new, current.switches.is_killed or new.switches.is_killed, {*new.switches.arms, *kept})


def keep_rollout(current: PolicyDefinition, new: PolicyDefinition) -> tuple[PolicyDefinition, list[str]]:
    """Return the successor deciding for those that it decides for now, and in words what of it was not taken for that.

    How far a rollout has come is set by `policy rollout` and `policy ramp`, and a file knows nothing of it.
    """
    before, after = current.rollout, new.rollout
    if before is None or after is None or before.of != after.of:
        return new, []
    kept = []
    if (before.mode, after.mode) == ("serve", "apprentice"):  # it has met its mark, and a file knows nothing of it
        after = replace(after, mode="serve")
        sets_it = f"pipeline policy rollout {new.name} --share {100 * before.share:g} --mode apprentice sets it"
        kept = [f"rollout.mode stays serve, the file says apprentice: {sets_it}"]
    if before.share == after.share:
        return replace(new, rollout=after), kept
    words = (
        f"rollout.share stays {100 * before.share:g} %, the file says {100 * after.share:g} %: pipeline policy rollout "
        f"{new.name} --share {100 * after.share:g} sets it"
    )
    return replace(new, rollout=replace(after, share=before.share)), [*kept, words]


def _switched(definition: PolicyDefinition, is_killed: bool, arms: set[str]) -> PolicyDefinition:
    return replace(definition, switches=Switches(is_killed, tuple(sorted(arms))))


def _check_known(definition: PolicyDefinition, arms: Sequence[str]) -> None:
    faults = [
        f"arm {arm!r} is none of {', '.join(definition.arm_names)}" for arm in arms if arm not in definition.arm_set
    ]
    if faults:
        raise ConfigError(f"policy {definition.name}", faults)
