"""Read what a ramp goes by: both policies' ledger since the step began, which published snapshots tell."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from pipeline.cli.control import find_policy, known_policies
from pipeline.cli.snapshots import Published, read_published
from pipeline.errors import ConfigError
from pipeline.evaluate.read import OnProgress, gather_both, gather_ledger
from pipeline.policy.book import PolicyBook
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.figure_condition import APPRENTICE_FIGURES, Figures
from pipeline.policy.guardrails import Rollout
from pipeline.policy.halt import Halt
from pipeline.rollout.apprentice import apprentice_figures, learned_from
from pipeline.rollout.figures import Step, figures_of, names_of
from pipeline.stream.log.topics import SNAPSHOT_HISTORY
from pipeline.stream.security import Address

SEED = 0
"""Of resamples: the same question has the same answer."""
NODES_FOLLOW_MS = 5_000
"""After a snapshot is published: nodes decide by it then. One that was away is found by the test of the shares."""


class Pair(NamedTuple):
    """A policy that follows another one, and that one."""

    new: PolicyDefinition
    rollout: Rollout
    old: PolicyDefinition
    halt: Halt | None

    @property
    def kinds(self) -> list[str]:
        """Return the outcome kinds that have figures."""
        return [rule.kind for rule in self.old.reward.outcomes]

    @property
    def names(self) -> list[str]:
        """Return the names of all figures."""
        return list(APPRENTICE_FIGURES) if self.is_apprentice else names_of(self.kinds)

    @property
    def is_apprentice(self) -> bool:
        """Whether the new one learns from what the old one shows."""
        return self.rollout.mode == "apprentice"


class Evidence(NamedTuple):
    """What is known of the present step."""

    figures: Figures
    since_ms: int | None
    """When it began; None: it has not yet."""
    doubts: Sequence[str]
    """What is missing, in words."""


async def find_pair(broker: Address, name: str) -> Pair:
    """Return a policy and the one that it follows.

    Raises:
        ConfigError: it follows none, or one that is not applied, or nobody is shown what it decides.
    """
    async with known_policies(broker) as policies:
        return _pair(policies.book, name)


def _pair(book: PolicyBook, name: str) -> Pair:
    new = find_policy(book, name, is_worn=True)
    rollout = new.rollout
    what = f"policy {name}"
    if rollout is None:
        fault = "rollout: is not declared; say which policy it is to follow: [rollout] of = NAME, share = 0.0"
        raise ConfigError(what, [fault])
    if rollout.mode == "apprentice" and rollout.share <= 0.0:
        fault = "it learns from nobody"
        raise ConfigError(what, [f"{fault}: pipeline policy rollout {name} --share 50 --mode apprentice"])
    if rollout.mode == "shadow":
        fault = f"rollout: mode {rollout.mode}: nobody is shown what it decides, so nothing comes of it"
        raise ConfigError(what, [f"{fault}: pipeline policy rollout {name} --share 5 --mode serve"])
    if new.switches.is_killed:
        raise ConfigError(what, [f"is killed: nobody is shown what it decides: pipeline policy revive {name}"])
    old = find_policy(book, rollout.of, is_worn=True)
    if old.switches.is_killed:
        fault = f"{old.name}, which it follows, is killed and shows its control: there is nothing to compare with"
        raise ConfigError(what, [f"{fault}: pipeline policy revive {old.name}"])
    return Pair(new, rollout, old, book.halt(name))


async def gather_evidence(broker: Address, pair: Pair, on_progress: OnProgress) -> Evidence:
    """Return the figures of the present step, or of what an apprentice has learned."""
    if pair.is_apprentice:
        return await _gather_lessons(broker, pair, on_progress)
    nothing: Figures = dict.fromkeys(pair.names)
    if not 0.0 < pair.rollout.share < 1.0:
        return Evidence(
            nothing, None, [f"at a share of {100 * pair.rollout.share:g} % there is nothing to compare with"]
        )
    published = await read_published(broker, SNAPSHOT_HISTORY)
    began_ms = {one.name: began_at_ms(published, one) for one in (pair.new, pair.old)}
    since_ms = 0 if pair.halt is None else pair.halt.halted_at_ms
    for name, at_ms in began_ms.items():
        if at_ms is None:
            doubt = f"no snapshot of {name} by the definition in force is live: is a worker running, or is it held?"
            return Evidence(nothing, None, [doubt])
        since_ms = max(since_ms, at_ms + NODES_FOLLOW_MS)
    # Rewards of both are told by the rules of the one that is followed: one yardstick.
    told = pair.new if pair.new.reward == pair.old.reward else replace(pair.new, reward=pair.old.reward)
    new, old = await gather_both(broker, told, pair.old, on_progress=on_progress)
    bounds = (pair.old.reward.low, pair.old.reward.high)
    step = Step(since_ms, time.time_ns() // 1_000_000, pair.rollout.share, bounds, pair.kinds)
    found = figures_of(new.entries.values(), old.entries.values(), step)
    return Evidence(found, since_ms, [*new.left_out(), *old.left_out()])


async def _gather_lessons(broker: Address, pair: Pair, on_progress: OnProgress) -> Evidence:
    gathering = learned_from(await gather_ledger(broker, pair.new, on_progress=on_progress), pair.old.name)
    try:
        log, left_out = gathering.log()
    except ConfigError as error:
        return Evidence(dict.fromkeys(APPRENTICE_FIGURES), None, error.faults)
    now_ms = time.time_ns() // 1_000_000
    found = apprentice_figures(log, pair.new, now_ms, np.random.default_rng(SEED))
    return Evidence(found, int(log.decided_at_ms.min()), left_out)


def began_at_ms(published: Sequence[Published], definition: PolicyDefinition) -> int | None:
    """Return since when the present definition has been live; None where the last snapshot is by another one.

    What was shown by another share, or by another algorithm of the same name, proves nothing of what is to be shown.
    """
    of_policy = [one for one in published if one.fields["policy"] == definition.name]
    began_ms = None
    for one in sorted(of_policy, key=lambda each: each.fields["version"], reverse=True):
        if one.fields["definition_hash"] != definition.definition_hash:
            break
        began_ms = one.published_at_ms
    return began_ms
