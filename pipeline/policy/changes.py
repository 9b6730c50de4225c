"""Which definition of a policy may follow which: nothing learned is mixed or orphaned."""

from __future__ import annotations

from pipeline.errors import ConfigError
from pipeline.policy.definition import PolicyDefinition


def check_change(old: PolicyDefinition, new: PolicyDefinition) -> None:
    """Accept `new` as the successor of `old`.

    Raises:
        ConfigError: with every fault, each saying what to do instead.
    """
    faults = [*_name_faults(old, new), *_generation_faults(old, new), *_arm_faults(old, new)]
    if faults:
        raise ConfigError(f"policy {new.name}", faults)


def check_follows(follows: str | None, current: PolicyDefinition, new: PolicyDefinition) -> None:
    """Refuse a definition that was made from another one than is in force by now: it would undo what was edited since.

    Args:
        follows: hash of the definition that it was made from; empty: of none; None: it was not said.
        current: what is in force.
        new: what was made.

    Raises:
        ConfigError: it was overtaken.
    """
    if follows is None or current.definition_hash in (follows, new.definition_hash):
        return
    made_from = f"definition {follows[:12]}" if follows else "nothing"
    fault = f"it was made from {made_from}, and {current.definition_hash[:12]} is in force by now"
    raise ConfigError(f"policy {new.name}", [fault])


def _name_faults(old: PolicyDefinition, new: PolicyDefinition) -> list[str]:
    if new.name == old.name:
        return []
    return [f'name: "{new.name}" does not follow "{old.name}"; a policy keeps its name, a new one is another policy']


def _generation_faults(old: PolicyDefinition, new: PolicyDefinition) -> list[str]:
    if new.generation < old.generation:
        return [f"generation: {new.generation} is below the current {old.generation}; it never goes down"]
    if new.generation > old.generation or new.statistics_hash == old.statistics_hash:
        return []
    before, after = old.statistics_parts(), new.statistics_parts()
    changed = ", ".join(part for part in dict.fromkeys((*after, *before)) if before.get(part) != after.get(part))
    fault = (
        f"generation: {new.generation} has statistics made under another {changed}; raise `generation` to "
        f"{old.generation + 1} to start statistics anew, or take the change back"
    )
    return [fault]


def _arm_faults(old: PolicyDefinition, new: PolicyDefinition) -> list[str]:
    kept = set(new.arm_names)
    return [
        f'arms: "{name}" is gone but its decisions may still earn credit; keep it with retired = true'
        for name in old.arm_names
        if name not in kept
    ]
