from __future__ import annotations

from collections.abc import Callable

from pipeline.policy.definition import PolicyDefinition
from pipeline.serve import load_snapshot
from pipeline.serve.delivery.recent import ENTRY_BYTES, RecentDecision, RecentDecisions, RecentSnapshots

Content = Callable[..., bytes]


def test_the_latest_decisions_are_held_up_to_their_bytes() -> None:
    recent = RecentDecisions(3 * (100 + ENTRY_BYTES))
    for number in range(5):
        recent.keep(str(number), RecentDecision(bytes(100), None, ""))
    assert [str(number) for number in range(5) if recent.get(str(number))] == ["2", "3", "4"]
    recent.keep("large", RecentDecision(bytes(1_000), None, ""))
    assert len(recent) == 1


def test_a_decision_that_is_made_again_counts_once() -> None:
    recent = RecentDecisions(2 * (100 + ENTRY_BYTES))
    for _ in range(10):
        recent.keep("x", RecentDecision(bytes(100), None, ""))
    recent.keep("y", RecentDecision(bytes(100), None, ""))
    assert len(recent) == 2


def test_with_no_room_nothing_is_held() -> None:
    recent = RecentDecisions(0)
    recent.keep("x", RecentDecision(b"1", None, ""))
    assert recent.get("x") is None
    assert recent._bytes == 0


def test_the_latest_snapshots_are_held_up_to_their_bytes(beta: PolicyDefinition, content_of: Content) -> None:
    # alpha and beta of 4 arms in 2 segments, 8 bytes each: 128.
    snapshots = [load_snapshot(content_of(beta, {}, version=version)) for version in (1, 2, 3)]
    recent = RecentSnapshots(2 * 128)
    for snapshot in (*snapshots, snapshots[-1]):
        recent.keep(snapshot)
    assert recent.get("homepage", 1) is None
    assert [recent.get("homepage", version) for version in (2, 3)] == snapshots[1:]
    smaller = RecentSnapshots(1)
    smaller.keep(snapshots[0])
    assert smaller.get("homepage", 1) is snapshots[0]
