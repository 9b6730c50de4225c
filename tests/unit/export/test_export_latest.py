"""Of each decision the last revision, once; nothing of the erased; no more held than is open."""

from __future__ import annotations

import itertools
from typing import Any

from pipeline.export.chunks import Chunks
from pipeline.export.latest import KEPT, Every, Held, Key, Latest

WINDOW_MS = 100


def record(action_id: str, revision: int, *, decided_ms: int, event_time_ms: int, reward: int = 0) -> dict[str, Any]:
    fields: dict[str, Any] = dict.fromkeys(KEPT, "") | {"outcomes": [], "decision": b"d"}
    return fields | {
        "action_id": action_id,
        "revision": revision,
        "reward": reward,
        "decided_at_ms": decided_ms,
        "expires_at_ms": decided_ms + WINDOW_MS,
        "event_time_ms": event_time_ms,
    }


def run(latest: Latest | Every, records: list[dict[str, Any]]) -> list[Held]:
    found = [held for offset, fields in enumerate(records) for held in latest.take(offset, fields)]
    return [*found, *latest.rest()]


def told(found: list[Held]) -> list[tuple[str, int, int]]:
    return [(held.fields["action_id"], held.fields["revision"], held.offset) for held in found]


A1 = record("a", 1, decided_ms=0, event_time_ms=0)
A2 = record("a", 2, decided_ms=0, event_time_ms=50)
B1 = record("b", 1, decided_ms=60, event_time_ms=60)
LATER = record("c", 1, decided_ms=150, event_time_ms=150)


def test_the_last_revision_counts_whatever_came_in_between_and_is_told_once_no_other_can_come() -> None:
    latest = Latest(set())
    assert [told(list(latest.take(offset, one))) for offset, one in enumerate([A1, B1, A2, A1])] == [[], [], [], []]
    # At 150 what expired at 100 is over, what expires at 160 is not.
    assert told(list(latest.take(4, LATER))) == [("a", 2, 2)]
    assert told(list(latest.rest())) == [("b", 1, 1), ("c", 1, 4)]


def test_of_equal_revisions_the_later_counts() -> None:
    again = record("a", 2, decided_ms=0, event_time_ms=60, reward=7)
    assert told(run(Latest(set()), [A1, A2, again])) == [("a", 2, 2)]


def test_a_repeat_of_what_is_over_is_not_told_again() -> None:
    assert told(run(Latest(set()), [A1, A2, LATER, A1, A2])) == [("a", 2, 1), ("c", 1, 2)]


def test_an_id_that_comes_again_is_another_decision() -> None:
    again = record("a", 1, decided_ms=200, event_time_ms=200)
    assert told(run(Latest(set()), [A1, again])) == [("a", 1, 0), ("a", 1, 1)]


def test_of_the_erased_nothing_is_told_before_and_behind_their_erasure() -> None:
    erased = {Key("a", 0)}
    assert told(run(Latest(erased), [A1, A2, B1, A2])) == [("b", 1, 2)]
    assert told(run(Every(erased), [A1, A2, B1, A2])) == [("b", 1, 2)]


def test_every_revision_is_told_where_all_are_asked_for() -> None:
    assert told(run(Every(set()), [A1, A2, B1])) == [("a", 1, 0), ("a", 2, 1), ("b", 1, 2)]


def test_no_more_is_held_than_is_open_however_long_the_ledger() -> None:
    latest, most = Latest(set()), 0
    for number in range(20_000):
        list(latest.take(number, record(str(number), 1, decided_ms=number, event_time_ms=number)))
        most = max(most, len(latest))
    # One a millisecond, each open for 100 ms and the last of them.
    assert most == WINDOW_MS + 1


def test_what_is_written_at_once_is_bounded_and_the_same_for_the_same_log() -> None:
    def files() -> list[tuple[str, int]]:
        chunks, written = Chunks(3), []
        for offset in range(70_000):
            day = offset % 2
            written += chunks.add("p", day * 86_400_000, offset, (offset,), 1)
        written += chunks.rest()
        return [(chunk.path, len(chunk.rows)) for chunk in written]

    # 32,768 rows at a time: 70,000 are written three times, each time of two days.
    assert [count for _, count in files()] == [16_384, 16_384, 16_384, 16_384, 2_232, 2_232]
    assert files() == files()
    assert files()[0][0] == "policy=p/day=1970-01-01/00003-000000000000-000000032766.parquet"
    assert len({path for path, _ in files()}) == 6


def test_large_records_are_written_the_sooner() -> None:
    chunks = Chunks(0)
    sizes = [len(list(chunks.add("p", 0, offset, (offset,), 16 << 20))) for offset in range(8)]
    # Four of 16 MiB are 64 MiB.
    assert sizes == [0, 0, 0, 1] * 2
    assert list(itertools.islice(chunks.rest(), 1)) == []
