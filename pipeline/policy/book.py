"""All policy definitions that are known, by name and generation, and the last directive about each policy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.directive import Directive
from pipeline.policy.halt import Halt
from pipeline.policy.switches import Switch, SwitchBoard


class PolicyBook:
    """The control plane as seen so far: the latest definition of each generation of each policy."""

    def __init__(self) -> None:
        self._by_generation: dict[tuple[str, int], PolicyDefinition] = {}
        self._latest: dict[str, PolicyDefinition] = {}
        self._in_force: dict[str, PolicyDefinition] = {}
        self._switches = SwitchBoard()
        self._directives: dict[str, Directive] = {}
        self._halts: dict[str, Halt] = {}
        self._parts: defaultdict[str, dict[str, bytes]] = defaultdict(dict)

    def put(self, definition: PolicyDefinition) -> None:
        """Take in a definition; a later one of the same generation replaces the earlier."""
        self._by_generation[definition.name, definition.generation] = definition
        latest = self._latest.get(definition.name)
        if latest is None or definition.generation >= latest.generation:
            self._latest[definition.name] = definition
            self._in_force[definition.name] = self._switches.applied(definition)

    def turn(self, fields: Mapping[str, Any]) -> Switch:
        """Take in a switch."""
        switch = self._switches.turn(fields)
        if latest := self._latest.get(switch.policy):
            self._in_force[switch.policy] = self._switches.applied(latest)
        return switch

    def put_directive(self, directive: Directive) -> None:
        """Take in a directive; the highest number of a policy holds."""
        known = self._directives.get(directive.policy)
        if known is None or directive.number >= known.number:
            self._directives[directive.policy] = directive

    def put_part(self, policy: str, name: str, part: bytes | None) -> None:
        """Take in a part of the snapshot that a policy is to be rolled back to; None: it is not needed any more."""
        if part is None:
            self._parts[policy].pop(name, None)
        else:
            self._parts[policy][name] = part

    def parts(self, policy: str) -> Mapping[str, bytes]:
        """Return the parts, by name, of the snapshot that a policy is to be rolled back to."""
        return dict(self._parts.get(policy, {}))

    def put_halt(self, halt: Halt) -> None:
        """Take in that a ramp is halted, or is not any more; the last one holds."""
        self._halts[halt.policy] = halt

    def halt(self, name: str) -> Halt | None:
        """Return whether a policy's ramp was ever halted, and why."""
        return self._halts.get(name)

    def directive(self, name: str) -> Directive | None:
        """Return the last directive about a policy, if there was any."""
        return self._directives.get(name)

    def find(self, name: str, generation: int) -> PolicyDefinition | None:
        """Return the definition of one generation, if known."""
        return self._by_generation.get((name, generation))

    def generations(self, name: str) -> list[PolicyDefinition]:
        """Return the definitions of a policy's generations that are known, in order."""
        return [
            definition
            for key, definition in sorted(self._by_generation.items(), key=lambda one: one[0])
            if key[0] == name
        ]

    def latest(self, name: str) -> PolicyDefinition | None:
        """Return the highest generation's definition as it was written, if the policy is known."""
        return self._latest.get(name)

    def in_force(self, name: str) -> PolicyDefinition | None:
        """Return the highest generation's definition, with what is switched off; what is published and shown."""
        return self._in_force.get(name)

    def switched_off(self, name: str) -> frozenset[str]:
        """Return what is off of a policy by switches alone."""
        return self._switches.off(name)

    def __iter__(self) -> Iterator[PolicyDefinition]:
        """Yield the definition in force of every policy, by name."""
        return iter([self._in_force[name] for name in sorted(self._in_force)])

    def __len__(self) -> int:
        return len(self._latest)
