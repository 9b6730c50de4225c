"""Records of actions that belong to other partitions: sent home once, and taken there as if sent there."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import orjson
import pytest

from pipeline.codec import avro
from pipeline.codec.forwarded import Forwarded, forwarded_in
from pipeline.codec.murmur2 import partition_of
from pipeline.join.dead_letter import dead_letter
from pipeline.join.forwarding import Place
from pipeline.join.progress import DECISIONS, OUTCOMES, Progress, imbalance
from pipeline.join.step import Limits, decode_arrivals, take
from pipeline.policy.book import PolicyBook
from tests.doubles import MemoryActions
from tests.samples import define, plain_decision, plain_outcome, plain_policy

S = 1_000
PARTITIONS = 4
NAMES = [f"act-{number}" for number in range(40)]


class Cluster:
    """JOIN on four partitions of topics in memory; what it sends on lies behind what is there."""

    def __init__(self, **since: int) -> None:
        self.book = PolicyBook()
        self.book.put(define(plain_policy(settle="optimistic")))
        self.logs: defaultdict[tuple[str, int], list[tuple[int, bytes | None, bytes]]] = defaultdict(list)
        self.progress = [Progress() for _ in range(PARTITIONS)]
        self.actions = [MemoryActions() for _ in range(PARTITIONS)]
        self.places = [Place(number, PARTITIONS, since) if since else Place(number, PARTITIONS) for number in range(4)]
        self.ledger: dict[str, Any] = {}
        self.reasons: list[str] = []

    def send(self, stream: str, partition: int, record: dict[str, Any] | bytes, key: bytes | None = None) -> None:
        raw = record if isinstance(record, bytes) else orjson.dumps(record)
        self.logs[stream, partition].append((100 * S, key, raw))

    def read(self, number: int, stream: str, back: int = 0) -> None:
        progress = self.progress[number]
        start = max(0, progress.positions[stream] - back)
        rows = [(start + i, *record) for i, record in enumerate(self.logs[stream, number][start:])]
        arrivals = decode_arrivals(stream, rows, {})
        changes = take(stream, arrivals, progress, self.actions[number], self.book, Limits(), self.places[number])
        self.actions[number].apply(changes)
        for forward in changes.forwards:
            self.logs[forward.stream, forward.home].append((101 * S, forward.key, forward.value))
        for reward in changes.rewards:
            assert self.ledger.setdefault(reward.action_id, (number, 0, 0))[0] == number
            self.ledger[reward.action_id] = (number, reward.revision, reward.reward)
        self.reasons += [refusal.error.reason for refusal in changes.refusals]
        assert imbalance(progress.counts, stream) == 0

    def read_all(self, back: int = 0) -> None:
        for _ in range(3):
            for stream in (DECISIONS, OUTCOMES):
                for number in range(PARTITIONS):
                    self.read(number, stream, back)

    def count(self, name: str) -> int:
        return sum(progress.counts[name] for progress in self.progress)


def home(name: str) -> int:
    return partition_of(name.encode(), PARTITIONS)


@pytest.mark.parametrize("key", [None, b"", b"user-1"])
def test_every_click_is_credited_whatever_partitioner_its_producer_uses(key):
    cluster = Cluster()
    for number, name in enumerate(NAMES):
        cluster.send(DECISIONS, home(name), plain_decision(name, S), name.encode())
        cluster.send(OUTCOMES, number % PARTITIONS, plain_outcome(name, 2 * S, f"o{number}"), key)
    cluster.read_all()
    assert {name: row for name, (*_, row) in cluster.ledger.items()} == dict.fromkeys(NAMES, 2**15)
    astray = sum(home(name) != number % PARTITIONS for number, name in enumerate(NAMES))
    assert (cluster.count("outcomes.forwarded"), cluster.count("outcomes.credited")) == (astray, len(NAMES))


def test_decisions_and_outcomes_that_are_both_astray_meet_at_home():
    cluster = Cluster()
    for number, name in enumerate(NAMES):
        cluster.send(OUTCOMES, (number + 1) % PARTITIONS, plain_outcome(name, 2 * S, f"o{number}"))
        cluster.send(DECISIONS, number % PARTITIONS, plain_decision(name, S))
    cluster.read_all()
    assert {name: (number, reward) for name, (number, _, reward) in cluster.ledger.items()} == {
        name: (home(name), 2**15) for name in NAMES
    }


def test_a_record_that_is_sent_on_twice_counts_once_and_is_not_sent_on_again():
    cluster = Cluster()
    for number, name in enumerate(NAMES):
        cluster.send(DECISIONS, number % PARTITIONS, plain_decision(name, S))
        cluster.send(OUTCOMES, number % PARTITIONS, plain_outcome(name, 2 * S, f"o{number}"))
    before = [Progress() for _ in range(PARTITIONS)]
    for number in range(PARTITIONS):
        cluster.read(number, DECISIONS)
        cluster.read(number, OUTCOMES)
    # Killed between sending on and what makes it durable: all is read, and sent on, again.
    cluster.progress, cluster.actions = before, [MemoryActions() for _ in range(PARTITIONS)]
    cluster.read_all()
    assert {reward for *_, reward in cluster.ledger.values()} == {2**15}
    assert (cluster.count("decisions.open"), cluster.count("outcomes.credited")) == (len(NAMES), len(NAMES))


def test_what_lies_in_the_wrong_partition_though_it_was_sent_on_stays_there():
    """The count of partitions has changed since: it goes no further round."""
    cluster = Cluster()
    name = next(name for name in NAMES if home(name) != 2)
    sent = Forwarded(1, 0, 100 * S, True, None, orjson.dumps(plain_decision(name, S)))  # noqa: FBT003
    cluster.send(DECISIONS, 2, sent.to_bytes())
    cluster.read_all()
    assert cluster.ledger[name][0] == 2
    assert cluster.count("decisions.forwarded") == 0


def test_a_copy_within_a_copy_is_refused():
    cluster = Cluster()
    inner = Forwarded(1, 0, 100 * S, True, None, orjson.dumps(plain_decision("x", S)))  # noqa: FBT003
    cluster.send(DECISIONS, 2, inner._replace(raw=inner.to_bytes()).to_bytes())
    cluster.read_all()
    assert cluster.reasons == ["unexpected-record"]


def test_an_action_that_is_held_where_an_earlier_release_took_it_is_finished_there():
    """Both of its producers had another partitioner, the same: its decision was taken where it lay."""
    cluster = Cluster(decisions=1, outcomes=0)
    name = next(name for name in NAMES if home(name) != 2)
    cluster.send(DECISIONS, 2, plain_decision(name, S))
    cluster.send(OUTCOMES, 2, plain_outcome(name, 2 * S))
    cluster.send(DECISIONS, 2, plain_decision(name, S))
    cluster.read_all()
    assert cluster.ledger == {name: (2, 2, 2**15)}
    assert (cluster.count("decisions.duplicate"), cluster.count("decisions.forwarded")) == (1, 0)


def test_what_is_sent_on_moves_time_at_home_as_far_as_it_would_have_by_itself():
    cluster = Cluster()
    name = next(name for name in NAMES if home(name) == 3)
    cluster.logs[DECISIONS, 0].append((5 * S, None, orjson.dumps(plain_decision(name, 90 * S))))
    cluster.read_all()
    # The broker took it at 5 s, and its copy at 101 s.
    assert [progress.watermarks_ms[DECISIONS] for progress in cluster.progress] == [-1, -1, -1, 5 * S]


def test_ticks_and_what_can_t_be_read_stay_where_they_are():
    cluster = Cluster()
    for number in range(PARTITIONS):
        cluster.send(DECISIONS, number, avro.encode("tick", {"event_time_ms": S}))
        cluster.send(OUTCOMES, number, b"\xff nonsense")
    cluster.read_all()
    assert cluster.count("decisions.ticks") == PARTITIONS
    assert cluster.reasons == ["not-decodable"] * PARTITIONS


def test_an_erasure_follows_its_decision_home_and_one_that_says_what_counted_stays():
    cluster = Cluster()
    name = next(name for name in NAMES if home(name) != 1)
    fields = {"action_id": name, "policy": "homepage", "generation": 1, "segment": "other", "arm": "a"}
    cluster.send(DECISIONS, 1, plain_decision(name, S))
    cluster.send(DECISIONS, 1, avro.encode("erasure", {**fields, "decided_at_ms": S, "counted": None}))
    cluster.read_all()
    assert cluster.count("decisions.erased") == 1
    assert cluster.ledger[name][0] == home(name)


def test_a_refused_record_that_was_sent_on_is_a_dead_letter_with_its_own_bytes():
    name = next(name for name in NAMES if home(name) != 1)
    raw = orjson.dumps(plain_decision(name, S, arm="ghost"))
    sent = Forwarded(1, 7, 100 * S, True, b"its key", raw).to_bytes()  # noqa: FBT003
    (arrival,) = decode_arrivals(DECISIONS, [(3, 101 * S, name.encode(), sent)], {})
    assert (arrival.raw, arrival.key, arrival.timestamp_ms, arrival.offset) == (raw, b"its key", 100 * S, 3)
    assert forwarded_in(raw) is None
    book = PolicyBook()
    book.put(define(plain_policy()))
    progress = Progress(positions={DECISIONS: 3, OUTCOMES: 0})
    (refusal,) = take(DECISIONS, [arrival], progress, MemoryActions(), book, Limits()).refusals
    assert dead_letter(refusal, 0)[0] == b"decisions/1/7"
