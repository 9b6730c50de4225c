"""A machine that plays JOIN and LEARN on one partition, rule by rule, and looks for a way off the naive fold.

    decide, observe      records come now or a little later, late by less than the grace
    repeat, spoil        any record again, in the other encoding; what is no record
    tick, pass time      event time moves
    forget, look again   an operator asks for a subject, and asks again for what is not erased yet
    join, fold           any prefix of a topic is delivered, from any earlier offset on, perhaps with a crash

`--hypothesis-profile=long` looks for much longer.
"""

from __future__ import annotations

import heapq
from typing import Any

import orjson
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pipeline.codec import avro
from pipeline.join.erasure import ERASED_REVISION
from pipeline.join.progress import DECISIONS, OUTCOMES
from pipeline.learn.memory import counted_from_bytes
from pipeline.policy.book import PolicyBook
from pipeline.replay.erasure.forgetting import Forgetting, decision_of
from tests.naive.fold import naive_fold
from tests.samples import define, plain_decision, plain_outcome
from tests.simulation import STREAMS, JoinSimulation, LearnSimulation
from tests.traffic import DELAYS_MS, FOREVER_MS, GRACE_MS, LIMITS, START_MS, SUBJECTS, as_avro, plain_sums, policies

# To make a failing example small may take hypothesis five minutes.
pytestmark = pytest.mark.timeout(3_600)

IN_A_SUITE = 500
ROUNDS = 3

late_ms = st.integers(0, GRACE_MS - 1)
places = st.integers(0, 1_000)
"""Which of those that are there; modulo how many."""
crashes = st.none() | st.integers(0, 3)


class JoinAndLearn(RuleBasedStateMachine):
    """One partition, its two topics, and what is still on its way to them."""

    @initialize(policy=policies(), step_rows=st.sampled_from([1, 2, 2_000]))
    def begin(self, policy: dict[str, Any], step_rows: int) -> None:
        self.policy = policy
        self.now_ms = START_MS
        self.decisions: list[dict[str, Any]] = []
        self.outcomes: list[dict[str, Any]] = []
        self.coming: list[tuple[int, int, str, bytes]] = []
        self.sent = 0
        self.forgettings: list[Forgetting] = []
        self.highest: dict[str, int] = {}
        book = PolicyBook()
        book.put(define(policy))
        self.join = JoinSimulation({DECISIONS: [], OUTCOMES: []}, book, LIMITS, step_rows)
        self.learn = LearnSimulation(self.join.ledger, 0, forgets=True)

    # What comes

    @rule(arms=st.text("ab", min_size=1, max_size=4), late_ms=late_ms, place=places)
    def decide(self, arms: str, late_ms: int, place: int) -> None:
        for index, arm in enumerate(arms):
            segment, subject = ["other", "new"][place % 2], SUBJECTS[(place + index) % 3]
            fields: dict[str, Any] = {"arm": arm, "segment": segment, "subject_hash": subject}
            if place % 5 == 4:
                fields["is_analysis"] = True
            if "context" in self.policy:
                fields["context_vector"] = [4096, 7 * place - 3_000, -place - index]
            decision = plain_decision(f"x{len(self.decisions)}", self.now_ms, **fields)
            self.decisions.append(decision)
            self.send(DECISIONS, decision, self.now_ms + late_ms * (1 + index) // 4)

    @precondition(lambda self: self.decisions)
    @rule(place=places, delay_ms=st.sampled_from(DELAYS_MS), late_ms=late_ms, value=st.sampled_from([1.0, -0.3, 8.0]))
    def observe(self, place: int, delay_ms: int, late_ms: int, value: float) -> None:
        decision = self.decisions[-1 - place % min(4, len(self.decisions))]
        occurred_ms = decision["decided_at_ms"] + delay_ms
        if occurred_ms + late_ms < self.now_ms:  # it would come later than the policy waits for
            return
        kinds = self.policy["reward"]["outcomes"]
        fields = {"kind": kinds[place % len(kinds)]["kind"], "value": value}
        outcome = plain_outcome(decision["action_id"], occurred_ms, f"o{len(self.outcomes)}", **fields)
        self.outcomes.append(outcome)
        self.send(OUTCOMES, outcome, occurred_ms + late_ms)

    @precondition(lambda self: self.decisions)
    @rule(place=places, later_ms=st.integers(0, 40_000))
    def repeat_a_decision(self, place: int, later_ms: int) -> None:
        again = self.decisions[place % len(self.decisions)]
        self.send(DECISIONS, again, max(self.now_ms, again["decided_at_ms"] + GRACE_MS) + later_ms)

    @precondition(lambda self: self.outcomes)
    @rule(place=places, later_ms=st.integers(0, 40_000))
    def repeat_an_outcome(self, place: int, later_ms: int) -> None:
        again = self.outcomes[place % len(self.outcomes)]
        self.send(OUTCOMES, again, max(self.now_ms, again["occurred_at_ms"] + GRACE_MS) + later_ms)

    @rule(stream=st.sampled_from(STREAMS), raw=st.sampled_from([b"", b"{}", b"\x8f", b'{"event_time_ms":-1}']))
    def spoil(self, stream: str, raw: bytes) -> None:
        self.push(stream, raw, self.now_ms)

    @rule(stream=st.sampled_from(STREAMS))
    def tick(self, stream: str) -> None:
        self.push(stream, avro.encode("tick", {"event_time_ms": self.now_ms}), self.now_ms)

    @rule(ms=st.sampled_from([1, 500, 4_000, 15_000]))
    def pass_time(self, ms: int) -> None:
        self.now_ms += ms
        self.arrive()

    def send(self, stream: str, record: dict[str, Any], arrives_ms: int) -> None:
        raw = as_avro(stream, record) if self.sent % 2 else orjson.dumps(record)
        self.push(stream, raw, arrives_ms)

    def push(self, stream: str, raw: bytes, arrives_ms: int) -> None:
        self.sent += 1
        heapq.heappush(self.coming, (arrives_ms, self.sent, stream, raw))
        self.arrive()

    def arrive(self) -> None:
        while self.coming and self.coming[0][0] <= self.now_ms:
            arrived_ms, _, stream, raw = heapq.heappop(self.coming)
            self.join.topics[stream].append((arrived_ms, raw))

    # Whom one forgets

    @precondition(lambda self: self.join.topics[DECISIONS])
    @rule(subject=st.sampled_from([subject for subject in SUBJECTS if subject]))
    def forget(self, subject: str) -> None:
        """Run the command once more: it finds what has come by now, and asks for what is not erased."""
        forgetting = Forgetting()
        for _, raw in self.join.topics[DECISIONS]:
            if decision := decision_of(raw, subject, {}):
                forgetting.find(0, decision)
        self.forgettings.append(forgetting)
        self.ask(forgetting)

    @precondition(lambda self: self.forgettings)
    @rule(place=places)
    def look_again(self, place: int) -> None:
        self.ask(self.forgettings[place % len(self.forgettings)])

    def ask(self, forgetting: Forgetting) -> None:
        start = forgetting.position(0)
        forgetting.read(0, list(enumerate(self.join.ledger))[start:])
        for asked in forgetting.ask():
            self.push(DECISIONS, asked.value, self.now_ms)

    # What is read

    @rule(stream=st.sampled_from(STREAMS), count=st.integers(1, 12), back=st.integers(0, 6), crash=crashes)
    def deliver(self, stream: str, count: int, back: int, crash: int | None) -> None:
        self.join.read(stream, count, back=back, now_ms=self.now_ms, crash=crash)

    @rule(count=st.integers(1, 12), back=st.integers(0, 6), crash=crashes, forgets=st.booleans())
    def fold(self, count: int, back: int, crash: int | None, forgets: bool) -> None:
        self.learn.forgets = forgets
        self.learn.fold(count, back=back, crash=crash)

    # What always holds; conservation is checked with each step that becomes durable

    @invariant()
    def revisions_and_event_time_only_grow(self) -> None:
        if not hasattr(self, "join"):
            return
        rows = {name: stored for name in self.join.actions.stored if (stored := self.join.actions.load([name])[name])}
        seen = {
            f"row {name}": ERASED_REVISION if row.is_erased else row.revision * row.has_decision
            for name, row in rows.items()
        }
        seen |= {f"counted {name}": counted_from_bytes(raw).revision for name, raw in self.learn.counted.items()}
        # Time that passed over no row needs no writing: after a crash it passes again.
        seen |= {"event time": self.join.durable.event_time_ms, "folded": self.learn.state.position}
        for name, number in seen.items():
            assert number >= self.highest.get(name, number), name
        self.highest |= seen

    def teardown(self) -> None:
        """All is read, time goes by, all is folded: the sums are the naive ones, without whom one forgot."""
        if not hasattr(self, "join"):
            return
        self.now_ms = FOREVER_MS
        self.arrive()
        self.join.read_all(FOREVER_MS)
        self.push(DECISIONS, avro.encode("tick", {"event_time_ms": FOREVER_MS}), FOREVER_MS)
        self.join.read_all(FOREVER_MS)
        for _ in range(ROUNDS):
            for forgetting in self.forgettings:
                self.ask(forgetting)
            self.join.read_all(FOREVER_MS)
        assert not any(forgetting.remaining for forgetting in self.forgettings)
        assert not self.join.actions.stored
        assert not self.join.actions.index
        self.learn.fold(len(self.learn.ledger))
        forgotten = {action_id for forgetting in self.forgettings for action_id in forgetting.actions}
        remembered = [one for one in self.decisions if one["action_id"] not in forgotten]
        naive = naive_fold(self.policy, remembered, self.outcomes)
        assert plain_sums((key, row) for key, row in self.learn.sums().items() if row.sums.any()) == naive.sums


TestJoinAndLearn = JoinAndLearn.TestCase
TestJoinAndLearn.settings = settings(max_examples=max(IN_A_SUITE, settings.default.max_examples))
