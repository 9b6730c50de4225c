"""What is in force at one policy, and what each command makes of it: said without the code under test.

What is in force behind two commands that were given at once is what they make of it in one of the two orders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from itertools import permutations
from typing import Any, NamedTuple

from tests.samples import define


class Standing(NamedTuple):
    """What is in force."""

    plain: dict[str, Any]
    off: frozenset[str] = frozenset()
    """Arms that are switched off."""
    is_held: bool = False


Does = Callable[[Standing], Standing]
"""A command that is done."""


class OtherOrderError(Exception):
    """Behind the one before, a command would have been refused: what it was asked for was edited to something else."""


def applied(plain: dict[str, Any]) -> Does:
    """Give a file; the share of a rollout is set by another command, and kept."""

    def does(before: Standing) -> Standing:
        share = before.plain["rollout"]["share"]
        return before._replace(plain=plain | {"rollout": {"of": "control", "share": share}})

    return does


def killed(arm: str) -> Does:
    return lambda before: before._replace(off=before.off | {arm})


def revived(arms: Iterable[str]) -> Does:
    return lambda before: before._replace(off=before.off - set(arms))


def rolled_out(share: float) -> Does:
    return lambda before: before._replace(plain=before.plain | {"rollout": {"of": "control", "share": share}})


def promoted(into: int, window: str, floors: tuple[float, float] | None) -> Does:
    """Put a replay in force: what is edited meanwhile stays.

    Args:
        into: its generation.
        window: of clicks, which it counted by.
        floors: what its file had asked for, where that was another floor than was in force: that one, and the file's.
    """

    def does(before: Standing) -> Standing:
        plain = deepcopy(before.plain) | {"generation": into}
        plain["reward"]["outcomes"][0]["window"] = window
        if floors is not None:
            if plain["exploration"]["floor"] not in floors:
                raise OtherOrderError
            plain["exploration"] = {"floor": floors[1]}
        return before._replace(plain=plain)

    return does


def is_held(*, held: bool) -> Does:
    return lambda before: before._replace(is_held=held)


def same(expected: Standing, found: Standing) -> bool:
    """Compare definitions as they are parsed, what is off aside."""
    wanted, seen = define(expected.plain).to_plain(), dict(found.plain)
    for plain in (wanted, seen):
        plain.pop("killed", None)
    known = {arm["name"] for arm in expected.plain["arms"]}
    return (wanted, expected.off & known, expected.is_held) == (seen, found.off, found.is_held)


def behind(before: Standing, done: Sequence[Does], found: Standing) -> Standing | None:
    """Return what must be in force behind commands that were done at once, in the order that says it; None: in none."""
    for order in permutations(done):
        after = before
        with suppress(OtherOrderError):
            for does in order:
                after = does(after)
            if same(after, found):
                return after
    return None


def change(plain: dict[str, Any], place: int, floor: float) -> None:
    """Edit a file: its floor, an arm that is retired or on offer again, or an arm more."""
    arms: list[Mapping[str, Any]] = plain["arms"]
    if place % 3 == 0:
        plain["exploration"] = {"floor": floor}
    elif place % 3 == 1:
        name = arms[place % len(arms)]["name"]
        arms[place % len(arms)] = {"name": name, "retired": True} if place % 2 else {"name": name}
        if all(arm.get("retired") for arm in arms):
            arms[0] = {"name": arms[0]["name"]}
    elif len(arms) < 4:
        arms.append({"name": "abcd"[len(arms)]})
