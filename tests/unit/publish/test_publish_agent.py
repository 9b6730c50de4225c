from __future__ import annotations

import asyncio

import pytest

from pipeline.errors import DecodeError, StateError
from pipeline.publish.partition import VERSION
from pipeline.publish.snapshot import snapshot_id
from pipeline.stream.log import topics
from tests.samples import define, plain_policy
from tests.unit.publish.bench import HOME, Bench, mark, statistics


async def test_a_policy_is_published_before_anything_is_learned(bench):
    await bench.publish()
    assert bench.counts == [0]


async def test_a_change_is_published_when_the_interval_has_passed(bench):
    """
    s   0      0.9    1
        ▲ v1   ·      ▲ v2     interval 1 s
    """
    await bench.publish()
    await bench.read(statistics(3, 10), mark(10))
    bench.now_s += 0.9
    await bench.publish()
    assert bench.counts == [0]
    bench.now_s += 0.1
    await bench.publish()
    assert bench.counts == [0, 3]


async def test_what_is_no_record_of_statistics_stops_with_the_place_where_it_stands(bench):
    await bench.read(statistics(3, 10), mark(10))
    with pytest.raises(DecodeError, match="at offset 2 of statistics: "):
        await bench.read(b"junk")


async def test_nothing_new_is_not_published_again(bench):
    await bench.publish()
    bench.now_s += 100
    await bench.publish()
    await bench.read(statistics(3, 10))  # its mark has not come
    await bench.publish()
    assert bench.counts == [0]


async def test_a_changed_definition_is_published_though_nothing_was_learned(bench):
    await bench.publish()
    bench.policies.book.put(define(plain_policy(publish={"interval": "1s"}, exploration={"floor": 0.1})))
    bench.now_s += 1
    await bench.publish()
    assert [record["version"] for record in bench.history] == [1, 2]


async def test_a_new_generation_starts_anew_beside_the_old(bench):
    await bench.read(statistics(3, 10), mark(10))
    await bench.publish()
    bench.policies.book.put(define(plain_policy(publish={"interval": "1s"}, generation=2)))
    bench.now_s += 1
    await bench.publish()
    await bench.read(statistics(4, 20), mark(20), statistics(1, 20, generation=2), mark(20, generation=2))
    bench.now_s += 1
    await bench.publish()
    assert bench.counts == [3, 0, 1]


async def test_versions_rise_by_one_and_name_their_parent(bench):
    for n in (1, 2, 3):
        await bench.read(statistics(n, n), mark(n))
        bench.now_s += 1
        await bench.publish()
    contents = bench.broker.values(topics.SNAPSHOT_HISTORY)
    assert [record["version"] for record in bench.history] == [1, 2, 3]
    assert [record["parent"] for record in bench.history] == ["", *map(snapshot_id, contents[:2])]


async def test_the_latest_snapshot_and_the_history_are_the_same_bytes_keyed_by_policy(bench):
    await bench.publish()
    (latest,) = bench.broker.logs[topics.SNAPSHOTS, HOME]
    (past,) = bench.broker.logs[topics.SNAPSHOT_HISTORY, HOME]
    assert (latest.key, latest.value) == (b"homepage", past.value)


async def test_who_waits_for_something_to_publish_is_woken_by_what_is_learned(bench):
    await bench.publish()
    waiting = asyncio.create_task(bench.agent.until_due(10_000.0))
    await asyncio.sleep(0)
    await bench.learn(1)
    await waiting
    assert [record["version"] for record in bench.history] == [1, 2]


async def test_what_is_learned_is_due_an_interval_after_the_last_publishing_began(bench):
    await bench.publish()
    assert list(bench.agent._due_s()) == []
    await bench.read(statistics(1, 1), mark(1))
    assert list(bench.agent._due_s()) == [bench.now_s + 1]


async def test_what_is_learned_of_a_pinned_policy_is_not_due_before_it_is_unpinned(bench):
    await bench.publish()
    bench.order("pin")
    await bench.publish()
    await bench.read(statistics(1, 1), mark(1))
    assert list(bench.agent._due_s()) == []
    bench.order("unpin")
    await bench.publish()
    assert bench.history[-1]["version"] == 2


async def test_a_worker_publishes_only_the_policies_of_its_partitions(bench):
    for number in range(4):
        if number != HOME:
            await bench.agent.publish_due(number)
    assert bench.history == []


async def test_rows_without_their_mark_are_read_again_after_a_restart(bench):
    """Offsets: 0 row, 1 mark | 2 row, 3 row of source 1 | 4 mark | 5 mark of source 1."""
    assert await bench.read(statistics(3, 10), mark(10)) == 2
    assert await bench.read(statistics(4, 20), statistics(5, 20, source=1)) == 2  # at the first that waits
    assert await bench.read(mark(20)) == 3  # source 1 still waits
    assert await bench.read(mark(20, source=1)) == 6


async def test_a_tombstone_is_passed_over(bench):
    assert await bench.read(None) == 1


async def test_a_restart_goes_on_with_what_was_known(bench):
    await bench.read(statistics(3, 10), mark(10), statistics(5, 20, source=1), mark(20, source=1))
    await bench.publish()
    bench.restart()
    await bench.read(statistics(4, 30), mark(30))
    bench.now_s += 1
    await bench.publish()
    last = bench.history[-1]
    assert (last["version"], last["segments"][0]["counts"][0]) == (2, 9)
    assert last["ledger_offsets"] == [{"partition": 0, "offset": 30}, {"partition": 1, "offset": 20}]


async def test_a_snapshot_that_was_not_sent_before_the_crash_is_sent_after_it(bench):
    await bench.read(statistics(3, 10), mark(10))

    class Killed(Exception):  # noqa: N818
        """The process ended between the changelog and the sending."""

    deliveries = iter(("before changelog", "after changelog", "before sending"))

    def kill_before_sending(_: str) -> None:
        if next(deliveries) == "before sending":
            raise Killed

    bench.broker.interrupt = kill_before_sending
    with pytest.raises(Killed):
        await bench.publish()
    bench.broker.interrupt = lambda _: None
    bench.restart()
    await bench.read(statistics(4, 20), mark(20))
    await bench.publish()
    assert [(record["version"], record["segments"][0]["counts"][0]) for record in bench.history] == [(1, 3), (2, 4)]


@pytest.mark.parametrize("segment", ["a/b", "x@1", "a/b@2/c"])
async def test_a_segment_with_the_key_s_separators_survives_a_restart(bench, segment):
    """JOIN should refuse it; what is in a topic already must not stop PUBLISH."""
    await bench.read(statistics(3, 10, segment=segment), mark(10))
    bench.restart()
    await bench.publish()
    assert len(bench.history) == 1


async def test_a_snapshot_that_a_later_release_has_stored_stops_the_worker_and_says_what_to_do(monkeypatch):
    """A release that is taken back meets what its successor wrote: it must not guess, nor publish from version 1 on."""
    bench = Bench(monkeypatch)
    await bench.learn(3)
    rows = (await bench.agent.open(HOME)).rows
    ((key, content),) = rows.scan(VERSION)
    of_later_release = content[:2] + bytes(8) + content[10:]  # another schema's fingerprint
    rows.write({key: of_later_release}, 99, ())
    bench.restart()
    with pytest.raises(
        StateError, match=r"stored snapshot can't be read \(unknown-fingerprint.*the release that wrote"
    ):
        await bench.agent.open(HOME)


async def test_a_lost_changelog_uses_no_version_again(bench):
    """
    published   v1  v2  v3 │ changelog lost │ v4
    """
    for n in (1, 2, 3):
        await bench.learn(n)
    before = bench.broker.values(topics.SNAPSHOT_HISTORY)
    bench.lose_changelog()
    await bench.learn(4)
    assert [record["version"] for record in bench.history] == [1, 2, 3, 4]
    assert bench.history[-1]["parent"] == snapshot_id(before[-1])
    assert bench.counts[-1] == 4


async def test_a_changelog_that_was_cut_off_sends_no_older_snapshot_again(bench):
    await bench.learn(1)
    kept = list(bench.broker.logs["changelog", HOME])
    await bench.learn(2)
    await bench.learn(3)
    bench.broker.logs["changelog", HOME] = kept
    bench.table.lose()
    bench.restart()
    await bench.learn(4)
    assert [record["version"] for record in bench.history] == [1, 2, 3, 4]


async def test_what_was_published_last_and_is_stored_is_sent_again_as_ever(bench):
    await bench.learn(1)
    bench.restart()
    await bench.learn(2)
    assert [record["version"] for record in bench.history] == [1, 1, 2]
