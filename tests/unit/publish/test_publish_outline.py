from __future__ import annotations

from typing import Any

import pytest

from pipeline.codec import avro
from pipeline.publish import outline
from pipeline.publish.outline import BURST_BYTES, Left, Outlines, if_whole, kept, outline_of
from pipeline.publish.snapshot import build_snapshot, snapshot_id
from pipeline.replay.proof.lineage import Lineage
from pipeline.stream.log import topics
from tests.samples import define, plain_policy
from tests.unit.publish.bench import HOME, Bench

HOUR_MS = 3_600_000
FIELDS: dict[str, Any] = {"policy": "homepage", "definition_hash": "one", "rollback_of": 0}


def snapshot(version: int = 1, parent: str = "", floor: float = 0.01) -> bytes:
    return build_snapshot(define(plain_policy(exploration={"floor": floor})), [], {}, version, parent)


def in_outline(content: bytes) -> bytes:
    return outline_of(content, avro.decode_as("snapshot", content))


def test_an_outline_says_everything_but_parameters_and_names_what_it_is_of():
    content = snapshot()
    reader = Outlines()
    whole, seen = reader.read(content), reader.read(in_outline(content))
    assert whole is not None
    assert seen is not None
    assert (whole.id, seen.id, whole.is_outline, seen.is_outline) == (snapshot_id(content), whole.id, False, True)
    bare = [{**segment, "parameters": []} for segment in whole.fields["segments"]]
    assert seen.fields == {**whole.fields, "segments": bare}
    assert avro.decode_as("snapshot", seen.content) == seen.fields


def test_the_definition_of_an_outline_is_that_of_the_last_whole_snapshot_of_the_same_hash():
    one, other = snapshot(floor=0.01), snapshot(2, floor=0.02)
    reader = Outlines()
    assert reader.read(in_outline(one)) is None  # what it stood behind has aged out
    reader.read(one)
    assert reader.read(in_outline(other)) is None
    reader.read(other)
    seen = reader.read(in_outline(other))
    assert seen is not None
    assert seen.fields["definition"] == kept(other).fields["definition"]


class Budget:
    """What one policy has left."""

    def __init__(self) -> None:
        self.left: Left | None = None

    def keeps_whole(self, size_bytes: int, now_ms: int, **others: Any) -> bool:
        left = if_whole(self.left, FIELDS | others, size_bytes, now_ms)
        self.left = left or self.left
        return left is not None


def test_a_policy_keeps_whole_what_its_budget_has_bytes_for_which_fills_up_in_a_day():
    budget, mib = Budget(), 1 << 20
    # 32 MiB at once and 32 a day: in the fourth part of a day, 8 more.
    assert [budget.keeps_whole(10 * mib, 0) for _ in range(4)] == [True, True, True, False]
    assert 32 * mib == BURST_BYTES
    assert [budget.keeps_whole(5 * mib, 5 * HOUR_MS) for _ in range(2)] == [True, False]


def test_what_is_needed_is_whole_whatever_the_budget_says_and_is_paid_back():
    budget, much = Budget(), 2 * BURST_BYTES
    assert budget.keeps_whole(much, 0)  # the first of a policy
    assert not budget.keeps_whole(1, 1_000)
    assert budget.keeps_whole(1, 2_000, definition_hash="two")
    assert budget.keeps_whole(1, 3_000, definition_hash="two", rollback_of=7)
    assert not budget.keeps_whole(1, 4_000, definition_hash="two")
    assert not budget.keeps_whole(1, 3_000 + 6 * HOUR_MS - 1, definition_hash="two")
    assert budget.keeps_whole(1, 3_000 + 6 * HOUR_MS, definition_hash="two")
    assert budget.keeps_whole(1, 2_000, definition_hash="two")  # the clock was set back: how long ago, nobody knows


@pytest.fixture
async def bench(monkeypatch):
    monkeypatch.setattr(outline, "BURST_BYTES", 0)
    monkeypatch.setattr(outline, "BYTES_PER_S", 0.0)
    return Bench(monkeypatch)


def history(bench: Bench) -> list[outline.Kept]:
    reader = Outlines()
    found = [reader.read(value) for value in bench.broker.values(topics.SNAPSHOT_HISTORY)]
    assert None not in found
    return [one for one in found if one is not None]


async def test_a_publisher_beyond_its_budget_sends_whole_snapshots_to_nodes_and_outlines_to_the_history(bench):
    await bench.publish()
    for n in (1, 2, 3):
        await bench.learn(n)
    live = [record.value for record in bench.broker.logs[topics.SNAPSHOTS, HOME]]
    assert [one.is_outline for one in history(bench)] == [False, True, True, True]
    assert [one.id for one in history(bench)] == [snapshot_id(content) for content in live]
    lineage = Lineage("homepage")
    for one in history(bench):
        lineage.add(one)
    assert (lineage.fault, lineage.count) == (None, 4)


async def test_a_publisher_that_starts_again_has_what_the_one_before_has_left(bench):
    await bench.publish()
    await bench.learn(1)
    for n in (2, 3):
        bench.restart()
        await bench.learn(n)
    # The last one is sent again as ever by who starts, by what is left now.
    assert [(one.fields["version"], one.is_outline) for one in history(bench)] == [
        (1, False),
        *((version, True) for version in (2, 2, 3, 3, 4)),
    ]


async def test_versions_go_on_from_an_outline_where_the_changelog_was_lost(bench):
    await bench.publish()
    await bench.learn(1)

    async def from_history(_number: int) -> dict[str, bytes]:
        return {"homepage": bench.broker.values(topics.SNAPSHOT_HISTORY)[-1]}

    bench.find_published = from_history
    bench.lose_changelog()
    await bench.learn(1)
    await bench.publish()
    found = history(bench)
    assert [one.fields["version"] for one in found][-2:] == [2, 3]
    assert found[-1].fields["parent"] == found[-2].id
    assert not found[-1].is_outline  # the first that this publisher sends


async def test_a_rollback_s_content_is_kept_whole(bench):
    await bench.publish()
    await bench.learn(1)
    bench.order("rollback", 1)
    await bench.publish()
    assert [one.is_outline for one in history(bench)] == [False, True, False]
    lineage = Lineage("homepage")
    for one in history(bench):
        lineage.add(one)
    assert (lineage.fault, lineage.rollbacks) == (None, 1)
