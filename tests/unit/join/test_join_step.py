from __future__ import annotations

import math
import struct
from hashlib import blake2b
from typing import Any

import orjson
import pytest

from pipeline.codec import avro
from pipeline.codec.wire import read_accepted
from pipeline.errors import StateError
from pipeline.join.progress import DECISIONS, OUTCOMES, TRUSTED_MS, Progress, imbalance
from pipeline.join.step import Changes, Limits, advance, decode_arrivals, take
from pipeline.policy.book import PolicyBook
from tests.doubles import MemoryActions
from tests.samples import BASKET, define, linear_policy, plain_decision, plain_outcome, plain_policy
from tests.traffic import as_avro

S = 1_000
HOUR_MS = 3_600 * S
ONE = 2**15  # rewards in [0, 1]: a reward of 1 is 2^15


JANE = "jane.doe@example.org"


def hashed(outcome_id: str) -> str:
    """Give what is kept of an outcome's id of action x."""
    return blake2b(f"x\0{outcome_id}".encode(), digest_size=16, person=b"outcome.1").hexdigest()


class Bench:
    """A partition of JOIN on which a test says what is read, in seconds of event time."""

    def __init__(self, *plain: dict[str, Any], limits: Limits | None = None) -> None:
        self.book = PolicyBook()
        for policy in plain or (plain_policy(),):
            self.book.put(define(policy))
        self.limits = limits or Limits(orphan_hold_ms=60 * S)
        self.progress = Progress()
        self.actions = MemoryActions()
        self.rewards: list[dict[str, Any]] = []
        self.refusals: list[Any] = []

    def read(self, stream: str, *records: dict[str, Any] | bytes, timestamp_ms: int = HOUR_MS) -> Changes:
        start = self.progress.positions[stream]
        raws = [record if isinstance(record, bytes) else orjson.dumps(record) for record in records]
        rows = [(start + index, timestamp_ms, b"key", raw) for index, raw in enumerate(raws)]
        return self.note(self.taken(stream, rows))

    def taken(self, stream: str, rows: list[Any]) -> Changes:
        arrivals = decode_arrivals(stream, rows, {})
        return take(stream, arrivals, self.progress, self.actions, self.book, self.limits)

    def decide(self, at_s: float, action_id: str = "x", **others: Any) -> Changes:
        return self.read(DECISIONS, plain_decision(action_id, round(at_s * S), **others))

    def click(self, at_s: float, outcome_id: str = "o", action_id: str = "x", **others: Any) -> Changes:
        return self.read(OUTCOMES, plain_outcome(action_id, round(at_s * S), outcome_id, **others))

    def time(self, at_s: float, limit: int = 1_000) -> list[Changes]:
        """Let event time come to `at_s`, by a tick with both topics at their ends."""
        self.read(DECISIONS, avro.encode("tick", {"event_time_ms": round(at_s * S)}))
        return self.pass_time(frozenset({DECISIONS, OUTCOMES}), limit)

    def pass_time(self, at_end: frozenset[str], limit: int = 1_000) -> list[Changes]:
        steps = []
        while (changes := advance(self.progress, at_end, self.actions, self.book, limit)) is not None:
            steps.append(self.note(changes))
        return steps

    def note(self, changes: Changes) -> Changes:
        self.actions.apply(changes)
        self.rewards += [reward.fields() for reward in changes.rewards]
        self.refusals += changes.refusals
        for stream in (DECISIONS, OUTCOMES):
            assert imbalance(self.progress.counts, stream) == 0
        return changes

    @property
    def ledger(self) -> list[tuple[int, float, bool, float]]:
        """(revision, reward, is settled, stamped at second)."""
        return [(r["revision"], r["reward"] / ONE, r["is_settled"], r["event_time_ms"] / S) for r in self.rewards]

    @property
    def reasons(self) -> list[str]:
        return [refusal.error.reason for refusal in self.refusals]

    def count(self, name: str) -> int:
        return self.progress.counts[name]


def test_a_click_in_the_window_counts_once_when_the_window_closes():
    """
    s  0         5         10        15
       D─────────C─────────┤close    ┤expires
                           ▲ ledger
    """
    bench = Bench()
    bench.decide(0)
    bench.click(5)
    bench.time(9.999)
    assert bench.ledger == []
    bench.time(10)
    assert bench.ledger == [(3, 1.0, True, 10.0)]


def test_a_decision_without_outcomes_counts_as_no_reward():
    """
    s  0                   10
       D───────────────────┤close
                           ▲ ledger: 0
    """
    bench = Bench()
    bench.decide(0)
    bench.time(10)
    assert bench.ledger == [(2, 0.0, True, 10.0)]


def test_an_optimistic_policy_counts_at_once_and_corrects_itself():
    """
    s  0         5         10
       D─────────C─────────┤close
       ▲ 0       ▲ 1       ▲ 1, settled
    """
    bench = Bench(plain_policy(settle="optimistic"))
    bench.decide(0)
    bench.pass_time(frozenset({DECISIONS, OUTCOMES}))
    bench.click(5)
    bench.time(10)
    assert bench.ledger == [(1, 0.0, False, -0.001), (2, 1.0, False, 0.0), (3, 1.0, True, 10.0)]


@pytest.mark.parametrize(
    ("at_s", "fate"),
    [(-0.001, "before-decision"), (0, "credited"), (10, "credited"), (10.001, "outside-window")],
)
def test_a_window_holds_both_its_ends(at_s, fate):
    """
    s  0                   10
      ×C───────────────────C×
       D                   ┤close
    """
    bench = Bench()
    bench.decide(20)
    bench.click(20 + at_s)
    assert bench.count(f"outcomes.{fate}") == 1


def test_each_kind_has_a_window_of_its_own_and_the_longest_closes_the_decision():
    """
    s  0       4   5       10
       D       │   L×      │
               ┤like       ┤click, close
    """
    bench = Bench()
    bench.decide(0)
    bench.click(5, kind="like")
    assert bench.count("outcomes.outside-window") == 1
    bench.time(9)
    assert bench.ledger == []


def test_an_outcome_that_arrives_in_grace_corrects_what_was_settled():
    """
    s  0         5         10     14  15
       D─────────C·········┤close ▼C  ┤expires      C occurred at 5, is read at 14
                           ▲ 0    ▲ 1
    """
    bench = Bench()
    bench.decide(0)
    bench.time(14)
    bench.click(5)
    assert bench.ledger == [(2, 0.0, True, 10.0), (3, 1.0, True, 14.0)]


def test_an_outcome_that_occurred_after_the_window_does_not_count_though_the_row_is_held():
    """
    s  0                   10  12     15
       D───────────────────┤   C×     ┤expires
    """
    bench = Bench()
    bench.decide(0)
    bench.time(11)
    bench.click(12)
    assert bench.ledger == [(2, 0.0, True, 10.0)]
    assert bench.count("outcomes.outside-window") == 1


def test_a_row_is_dropped_when_grace_ends_and_not_before():
    """
    s  0                   10        15
       D───────────────────┤close    ┤expires
                                  held│gone
    """
    bench = Bench()
    bench.decide(0)
    bench.time(14.999)
    assert list(bench.actions.stored) == ["x"]
    bench.time(15)
    assert not bench.actions.stored
    assert not bench.actions.index


def test_an_outcome_that_arrives_after_grace_waits_for_a_decision_and_expires():
    """
    s  0    5      10    15 16             65
       D────C······┤     ┤  ▼C read        ┤hold of 60 s after it occurred
    """
    bench = Bench()
    bench.decide(0)
    bench.time(16)
    bench.click(5)
    assert bench.count("outcomes.awaiting-decision") == 1
    bench.time(64.999)
    assert bench.reasons == []
    bench.time(65)
    assert bench.reasons == ["no-decision"]
    assert bench.count("outcomes.expired-orphan") == 1
    assert bench.count("outcomes.awaiting-decision") == 0
    assert not bench.actions.stored
    assert len(bench.ledger) == 1


def test_an_outcome_that_comes_too_late_to_wait_expires_at_once():
    bench = Bench()
    bench.time(65)
    bench.click(5)
    assert bench.reasons == ["no-decision"]
    assert bench.count("outcomes.expired-orphan") == 1
    assert not bench.actions.stored


def test_outcomes_may_be_read_before_their_decision():
    """
    read  C(5) C(11) D(0)      an outcome that came first is credited, or not, when its decision comes
    """
    bench = Bench(plain_policy(settle="optimistic"))
    bench.click(5, "o1")
    bench.click(11, "o2")
    bench.decide(0)
    assert (bench.count("outcomes.credited"), bench.count("outcomes.outside-window")) == (1, 1)
    assert bench.count("outcomes.awaiting-decision") == 0
    assert bench.ledger == [(2, 1.0, False, -0.001)]


def test_a_waiting_outcome_that_its_decision_cannot_credit_is_refused_whole():
    bench = Bench()
    record = plain_outcome("x", 5 * S, kind="cliqué")
    bench.read(OUTCOMES, record)
    bench.decide(0)
    (refusal,) = bench.refusals
    assert (refusal.stream, refusal.offset, refusal.error.reason) == (OUTCOMES, 0, "unknown-outcome-kind")
    assert refusal.raw == orjson.dumps(record)
    assert bench.count("outcomes.rejected.unknown-outcome-kind") == 1


def test_a_dead_letter_of_an_orphan_says_the_key_and_timestamp_that_its_record_had():
    bench = Bench()
    bench.read(OUTCOMES, plain_outcome("x", 5 * S), timestamp_ms=7 * S)
    bench.time(65)
    (refusal,) = bench.refusals
    assert (refusal.key, refusal.timestamp_ms) == (b"key", 7 * S)


def test_a_kind_or_value_that_the_policy_does_not_accept_is_refused():
    bench = Bench(plain_policy(outcomes=(BASKET,)))
    bench.decide(0)
    bench.click(1, "o1", kind="clack")
    bench.click(1, "o2", kind="basket", value=8.001)
    bench.click(1, "o3", kind="basket", value=8.0)
    assert bench.reasons == ["unknown-outcome-kind", "value-out-of-bounds"]
    assert bench.count("outcomes.credited") == 1


def test_a_repeated_decision_is_a_duplicate_in_either_encoding():
    bench = Bench(plain_policy(settle="optimistic"))
    fields = plain_decision("x", 0, context={"visits": 3.0})
    bench.read(DECISIONS, fields, fields, as_avro(DECISIONS, fields))
    assert (bench.count("decisions.open"), bench.count("decisions.duplicate")) == (1, 2)
    assert len(bench.ledger) == 1


def test_a_decision_with_a_known_id_and_other_content_is_refused_and_the_first_one_stands():
    bench = Bench(plain_policy(settle="optimistic"))
    bench.decide(0, arm="a")
    bench.decide(0, arm="b")
    assert bench.reasons == ["conflicting-duplicate"]
    assert [reward["arm"] for reward in bench.rewards] == ["a"]


def test_a_repeated_outcome_counts_once():
    bench = Bench(plain_policy(combine="sum", outcomes=({"kind": "click", "worth": 0.25, "window": "10s"},)))
    bench.decide(0)
    bench.click(5, "o1")
    bench.click(5, "o1")
    bench.click(6, "o2")
    bench.time(10)
    assert bench.count("outcomes.duplicate") == 1
    assert bench.ledger == [(4, 0.5, True, 10.0)]


def test_an_outcome_repeated_while_it_waits_counts_once():
    bench = Bench()
    bench.click(5)
    bench.click(5)
    bench.decide(0)
    assert (bench.count("outcomes.duplicate"), bench.count("outcomes.credited")) == (1, 1)


def test_a_redelivered_record_changes_nothing_and_is_not_read_twice():
    bench = Bench(plain_policy(settle="optimistic"))
    bench.decide(0)
    bench.click(5)
    counts = dict(bench.progress.counts)
    for stream, record in ((DECISIONS, plain_decision("x", 0)), (OUTCOMES, plain_outcome("x", 5 * S, "o"))):
        changes = bench.taken(stream, [(0, HOUR_MS, b"key", orjson.dumps(record))])
        assert changes == Changes()
    assert dict(bench.progress.counts) == counts
    assert bench.progress.positions == {DECISIONS: 1, OUTCOMES: 1}


def test_a_decision_whose_grace_has_ended_is_refused_as_too_late():
    """
    s  0                   10        15   read at 15: the row would be gone
       D───────────────────┤close    ┤expires
    """
    bench = Bench()
    bench.time(14.999)
    bench.decide(0, "in-time")
    bench.time(15)
    bench.decide(0, "late")
    assert bench.reasons == ["too-late"]
    assert bench.count("decisions.rejected.too-late") == 1


def test_a_decision_that_is_read_in_its_grace_settles_at_once_with_the_outcomes_that_waited():
    """
    s  0    5      10    12  15
       D····C······┤     ▼D  ┤expires       D is read at 12, its outcome was read before
    """
    bench = Bench()
    bench.click(5)
    bench.time(12)
    bench.decide(0)
    bench.pass_time(frozenset({DECISIONS, OUTCOMES}))
    assert bench.ledger == [(3, 1.0, True, 12.0)]


def test_a_repeat_of_a_decision_after_its_row_is_gone_cannot_count_again():
    bench = Bench()
    bench.decide(0)
    bench.time(20)
    bench.decide(0)
    bench.time(40)
    assert len(bench.ledger) == 1
    assert bench.reasons == ["too-late"]


def test_windows_do_not_close_over_outcomes_that_are_not_read_yet():
    """
    decisions  D(0) D(100)            ← read to its end
    outcomes   C(5) …                 ← nothing read: event time stands still
    """
    bench = Bench()
    bench.decide(0, "x")
    bench.decide(100, "y")
    bench.pass_time(frozenset({DECISIONS}))
    assert bench.ledger == []
    bench.click(5, action_id="x")
    bench.pass_time(frozenset({DECISIONS}))
    assert bench.ledger == []  # event time is 5
    bench.pass_time(frozenset({DECISIONS, OUTCOMES}))
    assert bench.ledger == [(3, 1.0, True, 10.0)]


def test_rows_fall_due_in_the_order_of_their_time_and_are_stamped_with_it():
    bench = Bench()
    for at_s in (3, 1, 2):
        bench.decide(at_s, f"x{at_s}")
    bench.time(50)
    assert [(r["action_id"], r["event_time_ms"] / S) for r in bench.rewards] == [
        ("x1", 11.0),
        ("x2", 12.0),
        ("x3", 13.0),
    ]


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
@pytest.mark.parametrize("grace", ["0s", "5s"])
def test_bounded_steps_of_time_settle_every_row_once(limit, grace):
    """Five rows, four of which fall due at the same time; with no grace they are dropped at that time too."""
    bench = Bench(plain_policy(grace=grace))
    for number in range(4):
        bench.decide(0, f"x{number}")
    bench.decide(1, "y")
    steps = bench.time(30, limit)
    assert all(len(changes.rows) <= limit for changes in steps)
    assert sorted(reward["action_id"] for reward in bench.rewards) == ["x0", "x1", "x2", "x3", "y"]
    assert not bench.actions.stored
    assert not bench.actions.index


def test_time_that_stops_among_rows_of_one_time_goes_on_from_there():
    bench = Bench()
    for number in range(3):
        bench.decide(0, f"x{number}")
    bench.read(DECISIONS, avro.encode("tick", {"event_time_ms": 20 * S}))
    both = frozenset({DECISIONS, OUTCOMES})
    bench.note(advance(bench.progress, both, bench.actions, bench.book, 2))
    assert bench.progress.event_time_ms == 10 * S - 1  # x2 has yet to settle at 10 s
    bench.pass_time(both)
    assert [stamp for *_, stamp in bench.ledger] == [10.0, 10.0, 10.0]


def test_an_event_too_far_ahead_of_the_broker_s_clock_is_refused_and_does_not_move_time():
    bench = Bench(limits=Limits(max_clock_skew_ms=300 * S))
    bench.read(DECISIONS, plain_decision("x", 301 * S), timestamp_ms=S)
    bench.read(DECISIONS, plain_decision("y", 301 * S + 1), timestamp_ms=S)
    bench.read(OUTCOMES, plain_outcome("x", 301 * S + 1), timestamp_ms=S)
    bench.read(DECISIONS, avro.encode("tick", {"event_time_ms": 301 * S + 1}), timestamp_ms=S)
    assert bench.reasons == ["far-future"] * 2  # of producers: a tick is the worker's own
    # What was accepted moves time as far as the broker's clock, and no further.
    assert bench.progress.watermarks_ms == {DECISIONS: S, OUTCOMES: -1}


def test_nobody_s_clock_closes_another_s_window():
    """
    clock  0   1    2          a phone five minutes fast decides, and clicks, at 1 s of the broker's clock
           D   P◁───┼── +300   everybody else's windows of 10 s stay open
    """
    bench = Bench(plain_policy(settle="optimistic"), limits=Limits(max_clock_skew_ms=300 * S))
    bench.read(DECISIONS, plain_decision("x", 0), timestamp_ms=0)
    bench.read(DECISIONS, plain_decision("phone", 300 * S), timestamp_ms=S)
    bench.read(OUTCOMES, plain_outcome("phone", 300 * S, "p"), timestamp_ms=S)
    bench.read(OUTCOMES, plain_outcome("x", S, "o"), timestamp_ms=S)
    bench.pass_time(frozenset({DECISIONS, OUTCOMES}))
    assert (bench.progress.event_time_ms, bench.reasons) == (S, [])
    assert (bench.count("decisions.open"), bench.count("outcomes.credited")) == (2, 2)


@pytest.mark.parametrize("record", [plain_outcome("nobody's", 50 * S), plain_outcome("x", 50 * S, kind="unheard-of")])
def test_an_outcome_that_nobody_waits_for_or_that_is_refused_moves_no_time(record):
    bench = Bench()
    bench.decide(0)
    bench.read(OUTCOMES, record)
    assert bench.progress.watermarks_ms[OUTCOMES] == -1


def test_repeats_move_no_time():
    bench = Bench()
    bench.decide(0)
    bench.click(1)
    changes = bench.click(5)  # the same outcome_id, told with another time
    assert (bench.progress.watermarks_ms[OUTCOMES], changes.is_heard) == (S, False)


@pytest.mark.parametrize(
    ("at", "says"),
    [
        (1_700_000_000, "looks like seconds"),
        (0, "is decades ago"),
        (1_700_000_000_000 - 21 * 365 * 86_400_000, "is decades ago"),
    ],
)
@pytest.mark.parametrize("write", [lambda _, record: orjson.dumps(record), as_avro])
def test_a_time_in_another_unit_is_refused_by_what_it_looks_like(at, says, write):
    bench = Bench()
    decision, outcome = plain_decision("x", at), plain_outcome("x", at)
    bench.read(DECISIONS, write(DECISIONS, decision), timestamp_ms=1_700_000_000_000)
    bench.read(OUTCOMES, write(OUTCOMES, outcome), timestamp_ms=1_700_000_000_000)
    assert bench.reasons == ["out-of-range"] * 2
    assert all(says in refusal.error.detail for refusal in bench.refusals)


@pytest.mark.parametrize("at", [1_700_000_000_000_000, 1_700_000_000_000_000_000, -1])
def test_a_time_in_micro_or_nanoseconds_or_below_zero_is_refused(at):
    bench = Bench()
    bench.read(DECISIONS, plain_decision("x", at), timestamp_ms=1_700_000_000_000)
    bench.read(OUTCOMES, plain_outcome("x", at), timestamp_ms=1_700_000_000_000)
    assert bench.reasons == ["out-of-range"] * 2


class UnstampedBench(Bench):
    """Of topics whose records carry their producers' own timestamps; seconds count from a moment of 2023."""

    START_S = 1_700_000_000

    def taken(self, stream, rows):
        arrivals = decode_arrivals(stream, rows, {}, unstamped={offset for offset, *_ in rows})
        return take(stream, arrivals, self.progress, self.actions, self.book, self.limits)

    def say(self, stream: str, make: Any, name: str, at_s: int) -> None:
        """A producer whose clock, right or wrong, also stamps the record."""
        at_ms = (self.START_S + at_s) * S
        self.read(stream, make(name, at_ms), timestamp_ms=at_ms)

    def clock(self, at_s: int, *streams: str) -> None:
        """A worker tells in these topics what its clock says."""
        for stream in streams:
            self.read(stream, avro.encode("tick", {"event_time_ms": 0, "clock_ms": (self.START_S + at_s) * S}))

    def mark_s(self, stream: str) -> float:
        return self.progress.watermarks_ms[stream] / S - self.START_S

    @property
    def event_time_s(self) -> float:
        self.pass_time(frozenset({DECISIONS, OUTCOMES}))
        return self.progress.event_time_ms / S - self.START_S


def test_under_producers_timestamps_event_time_follows_the_clock_that_a_worker_tells():
    """
    heard  0    fast: 3,300      a producer 55 minutes fast, whose record says the same
    clock       1       12       told by ticks
    time   -    1       12: x settles
    """
    bench = UnstampedBench()
    bench.say(DECISIONS, plain_decision, "x", 0)
    bench.say(DECISIONS, plain_decision, "fast", 3_300)
    bench.say(OUTCOMES, plain_outcome, "fast", 3_300)
    assert bench.event_time_s < 0
    assert bench.progress.held_back() == [DECISIONS, OUTCOMES]
    bench.clock(1, DECISIONS, OUTCOMES)
    assert (bench.event_time_s, bench.count("decisions.open")) == (1, 2)
    bench.clock(12, DECISIONS, OUTCOMES)
    assert (bench.event_time_s, bench.count("decisions.open"), bench.reasons) == (12, 1, [])


def test_a_clock_that_goes_on_moves_time_no_further_than_events_do():
    bench = UnstampedBench()
    bench.say(DECISIONS, plain_decision, "x", 5)
    bench.clock(3_000, DECISIONS)
    assert bench.mark_s(DECISIONS) == 5


def test_seconds_under_a_timestamp_in_seconds_are_refused_too():
    bench = UnstampedBench()
    bench.read(DECISIONS, plain_decision("x", 1_700_000_000), timestamp_ms=1_700_000_000)
    assert bench.reasons == ["out-of-range"]


def test_a_log_that_is_older_than_told_clocks_goes_by_its_producers_timestamps_until_one_is_told():
    bench = UnstampedBench()
    bench.progress.clocks_ms = dict.fromkeys((DECISIONS, OUTCOMES), TRUSTED_MS)
    bench.say(DECISIONS, plain_decision, "x", 5)
    assert bench.mark_s(DECISIONS) == 5
    bench.clock(6, DECISIONS)
    bench.say(DECISIONS, plain_decision, "y", 500)
    assert bench.mark_s(DECISIONS) == 6


LINEAR = linear_policy(settle="optimistic")
UNDECODABLE = [
    ({}, "missing-feature"),
    ({"context": {"x": 0.5}}, "missing-feature"),
    ({"context": {"x": 1.5, "y": 1.0}}, "feature-out-of-bounds"),
    ({"context": {"x": "much", "y": 1.0}}, "wrong-feature-type"),
    ({"context": {"x": [0.5], "y": {"z": 1}}}, "wrong-feature-type"),
    ({"context": JANE}, "unreadable-context"),
    ({"context": [JANE]}, "unreadable-context"),
    ({"context": None}, "unreadable-context"),
    ({"context_vector": [4096, 0]}, "schema-mismatch"),
    ({"context_vector": [4096, 0, 0], "schema_hash": "0" * 16}, "schema-mismatch"),
    ({"context_vector": [40_960, 0, 0]}, "unreadable-context"),
    ({"context_vector": JANE}, "unreadable-context"),
    ({"context": {"x": 0.0, "y": 0.0}, "undecodable": "unknown-category"}, "unknown-category"),
    ({"context": {"x": 0.0, "y": 0.0}, "undecodable": "jane-doe"}, "undecodable"),
]


@pytest.mark.parametrize(("fields", "reason"), UNDECODABLE)
def test_a_sound_decision_with_any_bad_context_is_told_and_credited_without_a_vector(fields, reason):
    bench = Bench(LINEAR)
    bench.decide(0, subject_hash="5e1f", **fields)
    bench.decide(0, subject_hash="5e1f", **fields)  # a repeat is one
    bench.click(5)
    bench.time(10)
    assert bench.reasons == []
    assert [(one["undecodable"], one["context_vector"], one["tallies"]) for one in bench.rewards] == [
        (reason, b"", [])
    ] * 3
    # The click is worth 1, in steps of 2^-13: rewards from -2 to 3 take two bits more than those within 1.
    assert [one["reward"] for one in bench.rewards] == [0, 2**13, 2**13]
    assert bench.count("decisions.settled") == bench.count("decisions.duplicate") == 1
    assert bench.count(f"undecodable.{reason}") == 1
    kept = bench.rewards[-1]["decision"]
    assert JANE.encode() not in kept
    assert b"5e1f" not in kept
    # What is kept says itself why, so that whoever reads it again finds the same.
    assert read_accepted(kept).undecodable == reason


@pytest.mark.parametrize("fields", [fields for fields, reason in UNDECODABLE if reason != "schema-mismatch"])
def test_a_policy_without_features_learns_from_a_decision_with_any_context(fields):
    bench = Bench(plain_policy(settle="optimistic"))
    bench.decide(0, **{name: value for name, value in fields.items() if name != "context_vector"})
    assert bench.reasons == []
    assert [one["undecodable"] for one in bench.rewards] == [""]
    assert JANE.encode() not in bench.rewards[0]["decision"]


def test_a_repeat_of_a_decision_with_a_number_that_is_none_is_a_repeat():
    bench = Bench(LINEAR)
    raw = as_avro(DECISIONS, plain_decision("x", 0, context={"x": math.nan, "y": 1.0}))
    bench.read(DECISIONS, raw, raw)
    assert (bench.reasons, bench.count("decisions.duplicate")) == ([], 1)


def test_a_holdout_decision_whose_context_gives_no_vector_counts_in_the_ledger():
    bench = Bench(LINEAR)
    bench.decide(0, reason="holdout", guardrails=["holdout"])
    assert [read_accepted(one["decision"]).reason for one in bench.rewards] == ["holdout"]


def test_a_foreign_candidate_that_cannot_be_scored_is_told_without_a_vector():
    policy = LINEAR | {
        "arms": [{"name": "a", "features": {"price": 0.5}}],
        "algorithm": {"name": "hybrid_thompson"},
        "candidates": {"features": ["price"]},
    }
    bench = Bench(policy)
    sound = {"arm": "sku-1", "context": {"x": 0.0, "y": 0.0}}
    bench.decide(0, "x", **sound, candidates={"sku-1": {"price": 0.5}})
    bench.decide(0, "y", **sound, candidates={"sku-1": {"price": 7.0}})
    bench.decide(0, "z", arm="sku-1", candidates={"sku-1": {"price": 0.5}})
    assert [one["undecodable"] for one in bench.rewards] == ["", "feature-out-of-bounds", "missing-feature"]
    assert len({one["arm"] for one in bench.rewards}) == 1


@pytest.mark.parametrize("wrong", [{"policy": "other"}, {"generation": 9}, {"arm": "z"}, {"segment": "not a name"}])
def test_a_refused_decision_moves_no_time(wrong):
    bench = Bench()
    bench.decide(1, "good")
    bench.decide(200, "bad", **wrong)
    assert len(bench.refusals) == 1
    assert bench.progress.watermarks_ms[DECISIONS] == 1 * S


def test_a_refused_record_says_where_it_was_and_keeps_its_bytes():
    bench = Bench()
    bench.read(DECISIONS, plain_decision(), b"\xff nonsense", timestamp_ms=5 * S)
    (refusal,) = bench.refusals
    assert refusal[:5] == (DECISIONS, 1, 5 * S, b"key", b"\xff nonsense")
    assert bench.count("decisions.rejected.not-decodable") == 1


def test_the_ledger_record_carries_all_that_is_needed_to_recompute_it():
    bench = Bench(plain_policy(settle="optimistic"))
    fields = plain_decision("x", 45 * S, segment="new", arm="b")
    bench.read(DECISIONS, fields)
    bench.click(46, "o2", kind="like")
    bench.click(47, "o1")
    bench.time(55)
    last = bench.rewards[-1]
    assert last == {
        "action_id": "x",
        "revision": 4,
        "is_settled": True,
        "policy": "homepage",
        "generation": 1,
        "segment": "new",
        "arm": "b",
        "reward": ONE,
        "reward_exponent": 15,
        "context_vector": b"",
        "decided_at_ms": 45 * S,
        "bucket": 2,  # 45 s in buckets of 20 s
        "expires_at_ms": 60 * S,
        "event_time_ms": 55 * S,
        "attribution": define(plain_policy(settle="optimistic")).statistics_hash,
        # Their ids are no UUIDs, so what is kept are hashes.
        "outcomes": [
            {"outcome_id": hashed("o2"), "kind": "like", "value": 1.0, "occurred_at_ms": 46 * S},
            {"outcome_id": hashed("o1"), "kind": "click", "value": 1.0, "occurred_at_ms": 47 * S},
        ],
        "outcomes_before": -1,
        "decision": orjson.dumps(fields),
        "is_erased": False,
        "is_reward_final": False,
        "tallies": [],
        "is_analysis": False,
        "undecodable": "",
    }


def test_between_decision_and_settling_the_ledger_tells_only_what_is_new():
    bench = Bench(plain_policy(settle="optimistic", combine="sum"))
    bench.decide(0)
    bench.click(1, "o1")
    bench.read(OUTCOMES, *(plain_outcome("x", 2 * S, name) for name in ("o2", "o3")))
    bench.time(10)
    bench.click(4, "o4")
    told = [
        (r["revision"], r["outcomes_before"], [one["outcome_id"] for one in r["outcomes"]], bool(r["decision"]))
        for r in bench.rewards
    ]
    names = [hashed(f"o{number}") for number in (1, 2, 3, 4)]
    assert told == [
        (1, -1, [], True),
        (2, 0, names[:1], False),
        (4, 1, names[1:3], False),
        (5, -1, names[:3], True),
        (6, 3, names[3:], False),
    ]


def test_a_row_of_a_release_before_is_told_whole_once_more():
    """Nobody said then what of it the ledger has."""
    bench = Bench(plain_policy(settle="optimistic", combine="sum"))
    bench.decide(0)
    bench.click(1, "o1")
    row = bench.actions.stored["x"]
    bench.actions.stored["x"] = b"\5" + row[1:50] + row[54:]
    bench.click(2, "o2")
    bench.click(3, "o3")
    assert [(r["outcomes_before"], len(r["outcomes"])) for r in bench.rewards] == [(-1, 0), (0, 1), (-1, 2), (2, 1)]


def test_what_one_action_writes_grows_as_its_outcomes_do():
    """n outcomes, each in a step of its own: n increments of one size, and the whole at the end, n more outcomes."""
    sizes = []
    for count in (50, 100, 200):
        bench = Bench(plain_policy(settle="optimistic", combine="sum"))
        bench.decide(0)
        for number in range(count):
            bench.click(1, f"o{number}")
        bench.time(10)
        sizes.append(sum(len(avro.encode("reward", one)) for one in bench.rewards))
    # By twice as many outcomes more, twice as many bytes more: to the byte but for what counts take as varints.
    assert abs((sizes[2] - sizes[1]) - 2 * (sizes[1] - sizes[0])) < 0.02 * sizes[2]


def test_conflicting_outcomes_of_one_id_end_alike_whichever_topic_is_read_first():
    """Of an id's outcomes the first that can be credited counts."""
    outcomes = [plain_outcome("x", 30 * S, "o"), plain_outcome("x", 5 * S, "o")]
    credited = []
    for is_decision_first in (True, False):
        bench = Bench()
        for stream in (DECISIONS, OUTCOMES) if is_decision_first else (OUTCOMES, DECISIONS):
            bench.read(stream, *([plain_decision("x", 0)] if stream == DECISIONS else outcomes))
        credited.append(bench.count("outcomes.credited"))
    assert credited[0] == credited[1]


def test_an_action_of_a_policy_that_is_no_longer_known_stops_the_worker():
    bench = Bench()
    bench.decide(0)
    bench.book = PolicyBook()
    with pytest.raises(StateError, match="generation 1 of policy 'homepage'"):
        bench.time(10)


def test_free_ids_of_outcomes_are_kept_as_hashes_and_a_repeat_is_one_over_an_upgrade():
    """State that a release before has stored has the id as it came; its repeat comes after the upgrade."""
    bench = Bench(plain_policy(settle="optimistic", combine="sum"))
    bench.decide(0)
    bench.click(1, "order 4711 of jane@example.org")
    (row,) = bench.actions.stored.values()
    assert b"jane" not in row
    free = b'[{"order 4711 of jane@example.org":["click",'
    kept = b'[{"' + hashed("order 4711 of jane@example.org").encode() + b'":["click",'
    assert kept in row
    facts_length = struct.unpack_from("<I", row, 44)[0] + len(free) - len(kept)
    # Then nothing was said behind the lengths (50 bytes) of what the ledger has told: four bytes.
    before = b"\3" + row[1:44] + struct.pack("<I", facts_length) + row[48:50] + row[54:].replace(kept, free)
    bench.actions.stored["x"] = before
    bench.click(1, "order 4711 of jane@example.org")
    assert bench.count("outcomes.duplicate") == 1
    bench.click(2, "order 4712 of jane@example.org")
    assert bench.count("outcomes.credited") == 2
    assert b"jane" not in bench.actions.stored["x"]
    assert not any("jane" in str(one["outcomes"]) for one in bench.rewards)


@pytest.mark.parametrize(
    "fields",
    [
        {"action_id": JANE},
        {"snapshot_id": JANE},
        {"guardrails": [JANE]},
        {"eligible": ["a", JANE], "probabilities": [0.5, 0.5]},
        {"segment": JANE},
        {"candidates": {JANE: {"price": 0.5}}},
    ],
)
def test_a_decision_whose_names_may_name_somebody_is_refused_and_no_row_is_made_of_it(fields):
    bench = Bench(plain_policy(settle="optimistic"))
    bench.read(DECISIONS, plain_decision("x", 0) | fields)
    assert (bench.reasons, bench.actions.stored, bench.rewards) == (["out-of-range"], {}, [])


def test_an_outcome_of_an_action_that_nobody_can_decide_does_not_wait_but_one_of_a_row_of_a_release_before_counts():
    bench = Bench()
    bench.click(1, action_id=JANE)
    assert (bench.reasons, bench.actions.stored) == (["out-of-range"], {})
    bench.decide(0)
    bench.actions.stored[JANE] = bench.actions.stored["x"]
    bench.click(1, action_id=JANE)
    assert bench.count("outcomes.credited") == 1
