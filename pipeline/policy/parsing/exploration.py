"""`[exploration]` → the floor, and where it is another."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from pipeline.policy.definition import Arm
from pipeline.policy.guardrails import Floors, NewArms
from pipeline.policy.parsing.section import Section
from pipeline.policy.segments import Segmentation

MAX_UNTIL = 10**9
SHARE = 0.01
"""What exploring costs at most of what choosing uniformly would, unless a file says otherwise."""


def read_exploration(root: Section, arms: Sequence[Arm], segments: Segmentation) -> tuple[float, Floors]:
    """Read the floors; p = floor + (1 - Σ floors) w needs Σ floors < 1 for w to have a say.

    Where neither each arm's floor nor the share of all is given, it is a share.
    """
    section = root.section("exploration")
    floor, share = _read_default(section)
    names = [arm.name for arm in arms]
    floors = Floors(
        read_numbers(section, "arms", names, "arm") if section.has("arms") else {},
        read_numbers(section, "segments", segments.names, "segment") if section.has("segments") else {},
        _read_new_arms(section) if section.has("new_arms") else None,
        share,
    )
    section.finish()
    _check_sums(section, [arm.name for arm in arms if not arm.retired], floor, floors)
    return floor, floors


def _read_default(section: Section) -> tuple[float, float | None]:
    if section.has("floor"):
        if section.has("share"):
            section.fault("share", "stands beside floor: write what all arms share, or what each has; not both")
            section.number("share", SHARE)
        return _floor(section, "floor"), None
    return 0.0, section.number("share", SHARE, "a number from 0 to below 1", lambda x: 0.0 <= x < 1.0)


def read_numbers(
    section: Section, key: str, names: Collection[str], what: str, accepted: str = "a number from 0 to 1"
) -> dict[str, float]:
    """Read a table name → number, of names that the policy has."""
    table = section.section(key)
    is_share = accepted == "a number from 0 to 1"
    for name in table.raw:
        if name not in names:
            table.fault(name, f"is no {what} of this policy; it has {', '.join(list(names)[:20]) or 'none'}")
    return {
        name: table.number(name, expected=accepted, accepts=lambda x: 0.0 <= x <= 1.0 if is_share else x > 0.0)
        for name in sorted(table.raw)
        if name in names
    }


def _floor(section: Section, key: str, default: float | None = None) -> float:
    return section.number(key, default, "a number from 0 to 1", lambda x: 0.0 <= x <= 1.0)


def _read_new_arms(section: Section) -> NewArms:
    table = section.section("new_arms")
    new_arms = NewArms(_floor(table, "floor"), table.integer("until", 1, MAX_UNTIL))
    table.finish()
    return new_arms


def _check_sums(section: Section, active: Sequence[str], floor: float, floors: Floors) -> None:
    if len(active) <= 1:
        return
    if not floors.arms and len(active) * floor >= 1.0:
        section.fault(
            "floor",
            f"{floor!r} for each of {len(active)} active arms leaves nothing to choose with; "
            f"write a number below {1.0 / len(active):.6g}",
        )
        return
    for place, of_segment in {"": floor, **_places(floors.segments)}.items():
        shared = 0.0 if place else floors.share or 0.0
        total = shared + sum(floors.arms.get(arm, of_segment) for arm in active)
        if total >= 1.0:
            section.fault(
                place,
                f"the floors of the {len(active)} active arms come to {total:.6g}, which leaves nothing to choose "
                "with; let them come to less than 1",
            )
            return


def _places(segments: Mapping[str, float]) -> dict[str, float]:
    return {f"segments.{name}": floor for name, floor in segments.items()}
