"""Ledger records → a log: of each action the highest revision, once it has settled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from pipeline.codec.wire import decode_event, read_accepted
from pipeline.errors import ConfigError, RecordError
from pipeline.evaluate.log import DecisionLog
from pipeline.evaluate.retelling import obstacle, told
from pipeline.events import Decision
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.reward import RewardRules

HOLDOUT = "holdout"
"""Reason of a decision that the control was shown in whatever the policy says."""
_NOT = {True: "are not of the analysis group", False: "are of the analysis group, which nothing learns from,"}


class Entry(NamedTuple):
    """One action, as the ledger knows it last."""

    revision: int
    is_settled: bool
    reward: float
    segment: str
    """That it was counted in."""
    decision: Decision | None
    """None where the decision's bytes can't be read, or it is erased. It names its subject once `identify` has."""
    is_erased: bool = False
    """Whether the person behind it is forgotten: it counts for nothing."""
    generation: int = 1
    """Under which it was decided."""
    kinds: tuple[str, ...] = ()
    """Of the outcomes that were credited to it, each once."""
    undecodable: str = ""
    """Why its context gave no vector, so that nothing was learned from it; empty: it gave one, or none is wanted."""


class ActionKey(NamedTuple):
    """What tells decisions apart: an id that comes again once its row has expired is another decision."""

    action_id: str
    decided_at_ms: int


@dataclass(slots=True)
class Gathering:
    """Takes in ledger records of one policy, in any order; rewards are told by the rules of `definition`."""

    definition: PolicyDefinition
    """By whose rules."""
    generation: int | None = None
    """Whose decisions; None: those of every generation up to the definition's, as one history."""
    known: Sequence[PolicyDefinition] = ()
    """Definitions of the policy's generations: by which rules records were made."""
    entries: dict[ActionKey, Entry] = field(default_factory=dict)
    untold: dict[ActionKey, tuple[int, str]] = field(default_factory=dict)
    """Actions whose reward can't be told by these rules: their generation, and why."""
    generations: set[int] = field(default_factory=set)
    """That the policy has decisions of in the ledger, asked for or not."""
    _rules: dict[int | str, RewardRules] = field(default_factory=dict)
    _obstacles: dict[int | str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for one in (*self.known, self.definition):
            self._rules[one.generation] = self._rules[one.statistics_hash] = one.reward
        self._obstacles = {key: obstacle(rules, self.definition.reward) for key, rules in self._rules.items()}

    def add(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Take in decoded `reward` records, made whole."""
        for fields in records:
            if fields["policy"] != self.definition.name:
                continue
            self.generations.add(fields["generation"])
            if self._is_asked(fields["generation"]):
                self._add(ActionKey(fields["action_id"], fields["decided_at_ms"]), fields)

    def identify(self, decisions: Iterable[bytes]) -> None:
        """Take in records of `decisions`, which alone say whom a decision was made for (decision 41)."""
        for raw in decisions:
            try:
                event = decode_event(raw, "decision")
            except RecordError:
                continue
            if not isinstance(event, Decision) or event.subject_hash is None:
                continue
            key = ActionKey(event.action_id, event.decided_at_ms)
            entry = self.entries.get(key)
            known = None if entry is None else entry.decision
            if entry is None or known is None or known.subject_hash is not None:
                continue
            if known.policy == event.policy:
                decision = known._replace(subject_hash=event.subject_hash)
                self.entries[key] = entry._replace(decision=decision)

    def _is_asked(self, generation: int) -> bool:
        return generation <= self.definition.generation if self.generation is None else generation == self.generation

    def _add(self, key: ActionKey, fields: Mapping[str, Any]) -> None:
        known = self.entries.get(key)
        is_erased = fields["is_erased"]
        if known is not None and known.revision > fields["revision"]:
            return
        generation = fields["generation"]
        kept = fields["attribution"] if fields["attribution"] in self._rules else generation
        why = self._obstacles.get(kept, "by what rules they earned is not among the policies that are applied")
        if why is not None and not is_erased:
            self.untold[key] = generation, why
            return
        self.untold.pop(key, None)
        self.entries[key] = Entry(
            revision=fields["revision"],
            is_settled=fields["is_settled"],
            reward=0.0 if is_erased else told(fields, self._rules[kept], self.definition.reward),
            segment=fields["segment"],
            decision=None if is_erased else self._decision(known, fields["decision"]),
            is_erased=is_erased,
            generation=generation,
            kinds=() if is_erased else tuple(sorted({outcome["kind"] for outcome in fields["outcomes"]})),
            undecodable=fields["undecodable"],
        )

    def check_generation(self) -> None:
        """See that there is something of the generation that is asked for.

        Raises:
            ConfigError: there is nothing; says of which there is.
        """
        if self.generation is None or self.generation in self.generations:
            return
        known = ", ".join(str(one) for one in sorted(self.generations)) or "none"
        fault = (
            f"the ledger of {self.definition.name} has no decision of generation {self.generation}; it has of: {known}"
        )
        raise ConfigError("--generation", [fault])

    def left_out(self) -> list[str]:
        """Say in words which decisions can't be told by these rules, by generation."""
        return [
            f"{count:,} decisions of generation {generation} can't be told by the rules of generation "
            f"{self.definition.generation} and were left out: {why}. By their own rules: --generation {generation}"
            if generation != self.definition.generation
            else f"{count:,} decisions of generation {generation} were left out: {why}"
            for (generation, why), count in sorted(Counter(self.untold.values()).items())
        ]

    def log(self, *, analysis: bool | None = None) -> tuple[DecisionLog, list[str]]:
        """Return the settled decisions as a log, and in words what was left out.

        Those of the holdout are: they show the control to whomever it was drawn for, so of another arm their subjects
        say nothing, and a weighted mean over them counts them as if it had earned nothing. The others are a sample of
        the same visitors. `analysis` leaves those of the analysis group (True), those that are learned from (False),
        or all.

        Raises:
            ConfigError: nothing is left.
        """
        entries = [entry for entry in self.entries.values() if not entry.is_erased]
        open_count = sum(not entry.is_settled for entry in entries)
        unread = sum(entry.decision is None for entry in entries)
        left_out = self.left_out()
        if open_count:
            left_out.append(f"{open_count} decisions are still open and were left out")
        if unread:
            left_out.append(f"{unread} decisions can't be read and were left out")
        if erased := len(self.entries) - len(entries):
            left_out.append(f"{erased} decisions were erased and were left out")
        settled = [(entry, entry.decision) for entry in entries if entry.is_settled and entry.decision is not None]
        if analysis is not None:
            asked = [row for row in settled if row[1].is_analysis == analysis]
            if others := len(settled) - len(asked):
                left_out.append(f"{others} decisions {_NOT[analysis]} and were left out")
            settled = asked
        if held_out := sum(decision.reason == HOLDOUT for _, decision in settled):
            settled = [row for row in settled if row[1].reason != HOLDOUT]
            left_out.append(
                f"{held_out} decisions of the holdout were left out: they show the control, whatever a policy would "
                "have shown there. A target that holds out the same subjects is told without its holdout"
            )
        rows = [(entry, decision) for entry, decision in settled if not decision.candidates]
        if between := len(settled) - len(rows):
            left_out.append(f"{between} decisions between candidates of a request were left out")
        if not rows:
            raise ConfigError(
                f"the ledger of {self.definition.name} generation {self.generation or self.definition.generation}",
                ["holds no settled decision" + "".join(f"; {words}" for words in left_out)],
            )
        rows.sort(key=lambda row: (row[1].decided_at_ms, row[1].action_id))
        return _log(rows, self.definition), left_out

    def _decision(self, known: Entry | None, raw: bytes) -> Decision | None:
        if known is not None:
            return known.decision
        try:
            return read_accepted(raw)
        except RecordError:
            return None


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
        actions=[decision.action_id for _, decision in rows],
        subjects=[decision.subject_hash for _, decision in rows],
    )
