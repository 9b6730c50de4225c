"""Kill switches: each stands alone, beside the definitions, so that turning one is no change of anything else.

A definition may carry switches too (`[killed]` of a file, and what earlier releases wrote); what is off
there or here is off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.guardrails import Switches

WHOLE = ""
"""In place of an arm: the policy as a whole."""


class Switch(NamedTuple):
    """One switch, turned."""

    policy: str
    """Its policy."""
    arm: str
    """Its arm, or `WHOLE`."""
    is_off: bool
    """Until it is turned again."""
    turned_at_ms: int
    """When, for people."""

    @property
    def key(self) -> bytes:
        """Its own, on `policies`.

        >>> Switch("homepage", "promo", is_off=True, turned_at_ms=0).key
        b'homepage/switch/promo'
        """
        return f"{self.policy}/switch/{self.arm}".encode()


class SwitchBoard:
    """What is off, by policy, as turned so far."""

    def __init__(self) -> None:
        self._off: dict[str, set[str]] = {}

    def turn(self, fields: Mapping[str, Any]) -> Switch:
        """Take in a `switch` record."""
        switch = Switch(**fields)
        off = self._off.setdefault(switch.policy, set())
        if switch.is_off:
            off.add(switch.arm)
        else:
            off.discard(switch.arm)
        return switch

    def off(self, policy: str) -> frozenset[str]:
        """Return the arms that are off, and `WHOLE` where the policy is."""
        return frozenset(self._off.get(policy, ()))

    def applied(self, definition: PolicyDefinition) -> PolicyDefinition:
        """Return the definition with all that is off, here or by itself."""
        switches = together(definition.switches, self.off(definition.name), definition.arm_set)
        return definition if switches == definition.switches else replace(definition, switches=switches)


def together(declared: Switches, off: Iterable[str], known: Iterable[str] | None = None) -> Switches:
    """Return what is off by a definition, by switches, or by both; of arms only those `known`, if they are given."""
    turned = set(off)
    arms = turned - {WHOLE}
    if known is not None:
        arms &= set(known)
    return Switches(declared.is_killed or WHOLE in turned, tuple(sorted({*declared.arms, *arms})))
