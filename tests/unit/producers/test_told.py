"""What is told of a deployment's records: what came, what was refused, what was credited to what."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson

from pipeline.codec import avro
from pipeline.codec.reward import RewardWriter
from pipeline.join.dead_letter import dead_letter
from pipeline.join.progress import Progress
from pipeline.join.step import Limits, decode_arrivals, take
from pipeline.policy.book import PolicyBook
from pipeline.policy.parsing.parse import parse_policy
from pipeline.producers.check import _Rows
from pipeline.producers.told import Told, line, told_of
from tests.samples import plain_decision, plain_outcome, plain_policy

NOW_MS = 1_790_000_000_000


def told(topic: str, value: bytes) -> Told | None:
    return told_of(topic, 0, 7, NOW_MS, value)


def test_what_join_writes_of_two_events_is_told() -> None:
    """A decision, its click and a misspelled one, through JOIN, whose records are then told."""
    book, rows, progress = PolicyBook(), _Rows(), Progress()
    book.put(parse_policy(plain_policy(settle="optimistic"), "p"))
    events: list[tuple[str, Any]] = [
        ("decisions", plain_decision("a-1", NOW_MS)),
        ("outcomes", plain_outcome("a-1", NOW_MS + 1)),
        ("outcomes", plain_outcome("a-1", NOW_MS + 1) | {"kind": "clik", "outcome_id": "o-2"}),
    ]
    lines: list[str] = []
    offsets: Counter[str] = Counter()
    for topic, event in events:
        raw = orjson.dumps(event)
        lines += [line(one) for one in [told_of(topic, 0, offsets[topic], NOW_MS, raw)] if one]
        arrivals = decode_arrivals(topic, [(offsets[topic], NOW_MS + 1, None, raw)], Limits().registry)
        offsets[topic] += 1
        changes = take(topic, arrivals, progress, rows, book, Limits())
        rows.held.update({action: row for action, row in changes.rows.items() if row is not None})
        write = RewardWriter().write
        lines += [line(one) for record in changes.rewards if (one := told("rewards", write(record)))]
        lines += [
            line(one) for refusal in changes.refusals if (one := told("dead-letters", dead_letter(refusal, 0)[1]))
        ]
    words = [one.split()[0] for one in lines]
    assert words[0] == "decision"
    assert words[-2:] == ["outcome", "refused"]
    credited = next(one for one in lines if one.startswith("credited"))
    # A click is worth 1 in a policy of rewards within 0 and 1.
    assert "a-1: homepage" in credited
    assert credited.endswith("reward 1, by click")
    assert "refused    outcomes/0/1: unknown-outcome-kind" in lines[-1]


def test_a_tick_and_a_mark_of_a_replay_tell_a_producer_nothing() -> None:
    assert told("decisions", avro.encode("tick", {"event_time_ms": NOW_MS, "clock_ms": NOW_MS})) is None


def test_what_can_not_be_read_is_told_as_that() -> None:
    unreadable = told("outcomes", b"\xff")
    assert unreadable is not None
    assert (unreadable.what, unreadable.source) == ("unreadable", "outcomes/0/7")
