"""A policy that keeps people's answers has one snapshot an epoch, by event time, through restarts."""

from __future__ import annotations

from pipeline.codec import avro
from pipeline.policy.definition import PolicyDefinition
from tests.samples import define, plain_policy
from tests.unit.publish.bench import Bench, statistics

DAY_MS = 86_400_000
NOON_MS = 19_675 * DAY_MS + DAY_MS // 2


def keeps(epoch: str, **others) -> PolicyDefinition:
    assignment = {"sticky": "subject", "epoch": epoch, "constant": ["visits"]}
    return define(plain_policy(publish={"interval": "1s"}, assignment=assignment, **others))


async def learn(bench: Bench, n: int, event_time_ms: int) -> None:
    """Let `n` decisions be known at an event time, and an interval pass."""
    where = {"policy": "homepage", "generation": 1, "source_partition": 0, "ledger_offset": n}
    await bench.read(statistics(n, n), avro.encode("statistics_mark", where | {"event_time_ms": event_time_ms}))
    await wait(bench)


async def wait(bench: Bench) -> None:
    """Let an interval pass."""
    bench.now_s += 1
    await bench.publish()


async def test_within_a_day_there_is_one_snapshot_and_the_next_day_has_all_of_it(bench: Bench) -> None:
    bench.policies.book.put(keeps("1d"))
    await learn(bench, 1, NOON_MS)
    await learn(bench, 2, NOON_MS + 1)
    bench.restart()
    await learn(bench, 3, NOON_MS + DAY_MS // 2 - 1)
    # The restarted one sends the last once more.
    assert {record["version"] for record in bench.history} == {1}
    await learn(bench, 4, NOON_MS + DAY_MS // 2)
    assert bench.counts == [1, 1, 4]
    assert [record["event_time_ms"] // DAY_MS for record in bench.history] == [19_675, 19_675, 19_676]


async def test_what_was_learned_last_is_published_though_nothing_comes_after_the_epoch_but_time(bench: Bench) -> None:
    bench.policies.book.put(keeps("1d"))
    await learn(bench, 1, NOON_MS)
    await learn(bench, 2, NOON_MS + 1)
    where = {"policy": "homepage", "generation": 1, "source_partition": 0, "ledger_offset": 3}
    await bench.read(avro.encode("statistics_mark", where | {"event_time_ms": NOON_MS + DAY_MS}))
    await wait(bench)
    assert bench.counts == [1, 2]


async def test_a_changelog_that_was_lost_begins_no_epoch_anew(bench: Bench) -> None:
    """What was published says when the epoch began."""
    bench.policies.book.put(keeps("1d"))
    await learn(bench, 1, NOON_MS)
    bench.lose_changelog()
    await learn(bench, 1, NOON_MS)
    await learn(bench, 2, NOON_MS + 1)
    assert bench.counts == [1]
    await learn(bench, 3, NOON_MS + DAY_MS)
    assert bench.counts == [1, 3]


async def test_for_ever_means_the_first_and_each_snapshot_means_each(bench: Bench) -> None:
    bench.policies.book.put(keeps("for ever"))
    for n in (1, 2, 3):
        await learn(bench, n, NOON_MS + n * 400 * DAY_MS)
    assert bench.counts == [1]
    bench.policies.book.put(keeps("snapshot"))
    for n in (4, 5):
        await learn(bench, n, NOON_MS + 1_200 * DAY_MS)
    assert bench.counts == [1, 4, 5]


async def test_what_an_operator_changes_does_not_wait_for_the_epoch_s_end(bench: Bench) -> None:
    bench.policies.book.put(keeps("1d"))
    await learn(bench, 1, NOON_MS)
    bench.policies.book.put(keeps("1d", exploration={"floor": 0.25}))
    await learn(bench, 2, NOON_MS)
    await learn(bench, 3, NOON_MS)
    assert bench.counts == [1, 2]


async def test_what_is_switched_off_moves_nobody_else(bench: Bench) -> None:
    """Nodes leave it out by themselves: another snapshot would draw for everybody by what was learned meanwhile."""
    bench.policies.book.put(keeps("1d"))
    await learn(bench, 1, NOON_MS)
    switch = {"policy": "homepage", "arm": "b", "turned_at_ms": 0}
    for n, is_off in ((2, True), (3, False)):
        bench.policies.book.turn(switch | {"is_off": is_off})
        await learn(bench, n, NOON_MS)
        assert bench.counts == [1]
    bench.policies.book.turn(switch | {"is_off": True})
    await learn(bench, 4, NOON_MS + DAY_MS)
    assert bench.counts == [1, 4]
    assert '"killed":{"arms":["b"]}' in bench.history[-1]["definition"]


async def test_a_rollback_and_its_end_are_obeyed_within_an_epoch(bench: Bench) -> None:
    bench.policies.book.put(keeps("1d"))
    await learn(bench, 1, NOON_MS)
    await learn(bench, 2, NOON_MS + DAY_MS)
    bench.order("rollback", 1)
    await wait(bench)
    assert bench.counts == [1, 2, 1]
    bench.order("unpin")
    await wait(bench)
    # What was rolled back to is of yesterday's epoch, which is over.
    assert bench.counts == [1, 2, 1, 2]


async def test_monitors_look_though_nothing_is_published(bench: Bench) -> None:
    bench.policies.book.put(keeps("1d"))
    await learn(bench, 1, NOON_MS)
    looked = dict(bench.agent.watch)["homepage"].looked_at_s
    bench.now_s += 3_600
    await learn(bench, 2, NOON_MS + 1)
    assert bench.counts == [1]
    assert dict(bench.agent.watch)["homepage"].looked_at_s > looked
