"""Ledger records → a log: of each action the highest revision, once it has settled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from pipeline.codec.wire import decode_event
from pipeline.errors import ConfigError, RecordError
from pipeline.evaluate.log import DecisionLog
from pipeline.events import Decision
from pipeline.models.grid import reward_from_grid
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.reward import Credit, RewardRules


class Entry(NamedTuple):
    """One action, as the ledger knows it last."""

    revision: int
    is_settled: bool
    reward: float
    segment: str
    """That it was counted in."""
    decision: Decision | None
    """None where the decision's bytes can't be read, or it is erased."""
    is_erased: bool = False
    """Whether the person behind it is forgotten: it counts for nothing."""


@dataclass(slots=True)
class Gathering:
    """Takes in ledger records of one policy's generation, in any order."""

    policy: str
    generation: int
    rules: RewardRules | None = None
    """By which a reward is made of its outcomes, where the ledger says none: kinds that are counted apart."""
    registry: Mapping[int, str] = field(default_factory=dict)
    """Confluent schema id → schema name, for decisions that producers sent by a registry."""
    entries: dict[str, Entry] = field(default_factory=dict)

    def add(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Take in decoded `reward` records."""
        for fields in records:
            if (fields["policy"], fields["generation"]) != (self.policy, self.generation):
                continue
            known = self.entries.get(fields["action_id"])
            is_erased = fields["is_erased"]
            if known is not None and known.revision > fields["revision"]:
                continue
            self.entries[fields["action_id"]] = Entry(
                revision=fields["revision"],
                is_settled=fields["is_settled"],
                reward=self._reward(fields),
                segment=fields["segment"],
                decision=None if is_erased else self._decision(known, fields["decision"]),
                is_erased=is_erased,
            )

    def log(self, definition: PolicyDefinition) -> tuple[DecisionLog, list[str]]:
        """Return the settled decisions as a log, and in words what was left out.

        Raises:
            ConfigError: nothing is left.
        """
        entries = [entry for entry in self.entries.values() if not entry.is_erased]
        open_count = sum(not entry.is_settled for entry in entries)
        unread = sum(entry.decision is None for entry in entries)
        left_out = []
        if open_count:
            left_out.append(f"{open_count} decisions are still open and were left out")
        if unread:
            left_out.append(f"{unread} decisions can't be read and were left out")
        if erased := len(self.entries) - len(entries):
            left_out.append(f"{erased} decisions were erased and were left out")
        settled = [(entry, entry.decision) for entry in entries if entry.is_settled and entry.decision is not None]
        rows = [(entry, decision) for entry, decision in settled if not decision.candidates]
        if between := len(settled) - len(rows):
            left_out.append(f"{between} decisions between candidates of a request were left out")
        if not rows:
            raise ConfigError(
                f"the ledger of {self.policy} generation {self.generation}",
                ["holds no settled decision" + "".join(f"; {words}" for words in left_out)],
            )
        rows.sort(key=lambda row: (row[1].decided_at_ms, row[1].action_id))
        return _log(rows, definition), left_out

    def _reward(self, fields: Mapping[str, Any]) -> float:
        if self.rules is None or not self.rules.is_weighted:
            return reward_from_grid(fields["reward"], fields["reward_exponent"])
        return self.rules.weighted([Credit(**outcome) for outcome in fields["outcomes"]])

    def _decision(self, known: Entry | None, raw: bytes) -> Decision | None:
        if known is not None:
            return known.decision
        try:
            event = decode_event(raw, "decision", self.registry)
        except RecordError:
            return None
        return event if isinstance(event, Decision) else None


def _log(rows: Sequence[tuple[Entry, Decision]], definition: PolicyDefinition) -> DecisionLog:
    arms = tuple(sorted({*definition.arm_names, *(arm for _, decision in rows for arm in decision.eligible)}))
    place = {arm: i for i, arm in enumerate(arms)}
    active = tuple(sorted(definition.active_arms))
    segments = tuple(sorted({entry.segment for entry, _ in rows}))
    code = {segment: i for i, segment in enumerate(segments)}
    offers: dict[tuple[str, tuple[str, ...], tuple[str, ...]], int] = {}
    offer, least, is_whole = [], [], True
    for entry, decision in rows:
        if decision.probabilities:
            had = [p for p in decision.probabilities if p > 0.0]
            possible = tuple(a for a, p in zip(decision.eligible, decision.probabilities, strict=True) if p > 0.0)
            key = ("", tuple(decision.eligible), possible)
            least.append(min(had))
        else:
            # What could have been shown is not known: what was shown at least once in this segment could.
            key = (entry.segment, tuple(decision.eligible) or active, ())
            least.append(decision.propensity)
            is_whole = False
        offer.append(offers.setdefault(key, len(offers)))
    arm = np.array([place[decision.arm] for _, decision in rows])
    which = np.array(offer)
    offered = np.zeros((len(offers), len(arms)), np.bool_)
    possible_arms = np.zeros_like(offered)
    for (_, eligible, possible), at in offers.items():
        offered[at, [place[name] for name in eligible]] = True
        possible_arms[at, [place[name] for name in possible]] = True
    offered[which, arm] = True  # a retired arm that was shown
    possible_arms[which, arm] = True
    return DecisionLog(
        arms=arms,
        segments=segments,
        arm=arm,
        segment=np.array([code[entry.segment] for entry, _ in rows]),
        reward=np.array([entry.reward for entry, _ in rows]),
        propensity=np.array([decision.propensity for _, decision in rows]),
        contexts=[decision.context for _, decision in rows],
        decided_at_ms=np.array([decision.decided_at_ms for _, decision in rows]),
        offer=which,
        offered=offered,
        possible=possible_arms,
        bounds=(definition.reward.low, definition.reward.high),
        weight_bound_known=is_whole,
        least_propensity=np.array(least),
    )
