"""Policies → the rows of their list. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from pipeline.console.versions import Line
from pipeline.policy.book import PolicyBook
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.directive import ROLLBACK, Directive, is_held
from pipeline.policy.halt import Halt
from pipeline.serve.following.snapshot import LoadedSnapshot

Mark = Literal["ok", "note", "bad"]
STALE_S = 3_600.0
"""As a node counts itself ready (`--ready-within`)."""


class State(NamedTuple):
    """One thing that holds of a policy."""

    words: str
    mark: Mark
    why: str = ""


class PolicyRow(NamedTuple):
    """One policy."""

    name: str
    algorithm: str
    generation: int
    arms: int
    segments: int
    version: int | None
    """Live; None: there is none."""
    age_s: float | None
    counted: int | None
    """Rewards counted in it."""
    rate: float | None
    """Rewards counted a minute."""
    states: list[State]
    has_holdout: bool
    """Whether a lift can be told at all."""

    @property
    def mark(self) -> Mark:
        """The worst of its states."""
        return "bad" if any(one.mark == "bad" for one in self.states) else self.states[0].mark


def policy_row(
    definition: PolicyDefinition,
    book: PolicyBook,
    live: LoadedSnapshot | None,
    line: Line | None,
    age_ms: int | None,
    alarm: tuple[str, bool] | None = None,
    red: Sequence[str] = (),
) -> PolicyRow:
    """Return a policy's row.

    Args:
        definition: in force.
        book: what else holds of it.
        live: what decides.
        line: its versions.
        age_ms: how old `live` is.
        alarm: in which way its outcomes are not as they were, and whether publishing waits for that.
        red: monitors whose threshold is passed.
    """
    age_s = None if age_ms is None else age_ms / 1000.0
    return PolicyRow(
        definition.name,
        definition.algorithm.name,
        definition.generation,
        len(definition.active_arms),
        len(definition.segments.names),
        None if live is None else live.version,
        age_s,
        None if live is None else sum(sum(one.counts.values()) for one in live.segments.values()),
        None if line is None else line.rate_per_minute(),
        states_of(definition, book.directive(definition.name), book.halt(definition.name), live, age_s, alarm, red),
        definition.guardrails.holdout is not None,
    )


def states_of(
    definition: PolicyDefinition,
    directive: Directive | None,
    halt: Halt | None,
    live: LoadedSnapshot | None,
    age_s: float | None,
    alarm: tuple[str, bool] | None = None,
    red: Sequence[str] = (),
) -> list[State]:
    """Return all that holds, the plainest word first."""
    found = []
    if definition.switches.is_killed:
        found.append(State("killed", "bad", "nodes show its control arm, or any arm by chance, until it is revived"))
    if live is None:
        found.append(State("not published", "bad", "no snapshot yet: is a worker running?"))
    if alarm is not None:
        state, waits = alarm
        why = "publishing waits until they are as they were" if waits else "learning and publishing go on"
        found.append(State(f"outcomes have {state}", "bad", f"{why}: ops/runbooks/label-rate.md"))
    if red:
        found.append(State(f"red: {', '.join(red[:3])}", "bad", "its monitors say so: ops/runbooks/monitors.md"))
    if directive is not None and is_held(directive):
        what = f"rolled back to {directive.version}" if directive.action == ROLLBACK else f"held at {directive.version}"
        found.append(State(what, "note", "learning goes on beside it; what is learned is published after unpin"))
    if definition.rollout is not None:
        one = definition.rollout
        found.append(State(f"rollout {100 * one.share:g} %", "note", f"of the subjects of {one.of}, mode {one.mode}"))
    if halt is not None and halt.is_halted:
        found.append(State(f"ramp {halt.cause}", "bad", halt.why))
    if definition.switches.arms:
        count = len(definition.switches.arms)
        found.append(State(f"{count} arm{'s' * (count > 1)} killed", "note", ", ".join(definition.switches.arms[:20])))
    if age_s is not None and age_s > STALE_S and not is_held(directive):
        found.append(State("stale", "bad", "its snapshot is older than an hour: does a worker run, is there traffic?"))
    return found or [State("live", "ok")]
