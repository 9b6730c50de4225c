"""PUBLISH under an operator's directives: rollback, pin, unpin."""

from __future__ import annotations

import pytest

from pipeline.codec import avro
from pipeline.policy.directive import Directive
from pipeline.publish.snapshot import snapshot_id
from pipeline.stream.log import topics
from tests.doubles import Crashed, KnownPolicies
from tests.samples import define, plain_policy
from tests.unit.publish.bench import mark, statistics


def followed(bench) -> list[tuple[int, int, int]]:
    """Version, whose content it is, and the decisions it knows; each once, though a restart sends the last again."""
    versions = [(record["version"], record["rollback_of"]) for record in bench.history]
    return list(dict.fromkeys((*version, count) for version, count in zip(versions, bench.counts, strict=True)))


async def test_a_rollback_publishes_the_old_content_under_a_new_version_at_once(bench):
    """
    s      1    2    3
    n      1    2    3
           ▲ v1 ▲ v2 ▲ v3, rollback to 1: ▲ v4 in the same moment
    """
    for n in (1, 2, 3):
        await bench.learn(n)
    bench.order("rollback", 1)
    await bench.publish()
    assert followed(bench) == [(1, 0, 1), (2, 0, 2), (3, 0, 3), (4, 1, 1)]
    contents = bench.broker.values(topics.SNAPSHOT_HISTORY)
    first, last = bench.history[0], bench.history[-1]
    assert last["parent"] == snapshot_id(contents[2])
    assert last == first | {"version": 4, "parent": last["parent"], "rollback_of": 1}


async def test_learning_goes_on_beside_a_rollback_and_comes_back_at_once_with_unpin(bench):
    for n in (1, 2):
        await bench.learn(n)
    bench.order("rollback", 1)
    for n in (3, 4):
        await bench.learn(n)
    assert followed(bench)[2:] == [(3, 1, 1)]
    bench.order("unpin")
    await bench.publish()
    assert followed(bench)[3:] == [(4, 0, 4)]
    await bench.learn(5)
    assert followed(bench)[4:] == [(5, 0, 5)]


async def test_a_pin_holds_what_is_published(bench):
    await bench.learn(1)
    bench.order("pin")
    await bench.learn(2)
    bench.restart()
    await bench.learn(3)
    assert followed(bench) == [(1, 0, 1)]
    bench.order("unpin")
    await bench.publish()
    assert followed(bench) == [(1, 0, 1), (2, 0, 3)]


async def test_a_pin_of_a_policy_that_was_never_published_holds_its_first_snapshot(bench):
    bench.order("pin")
    await bench.publish()
    await bench.learn(2)
    assert followed(bench) == [(1, 0, 0)]


async def test_a_directive_is_acted_on_once(bench):
    await bench.learn(1)
    bench.order("rollback", 1)
    for _ in range(3):
        bench.now_s += 1
        await bench.publish()
        bench.restart()
        await bench.publish()
    bench.table.lose()
    bench.restart()
    bench.now_s += 1
    await bench.publish()
    assert {record["version"] for record in bench.history} == {1, 2}


async def test_a_worker_that_has_read_less_of_the_policies_does_not_act_on_an_earlier_directive_again(bench):
    await bench.learn(1)
    bench.order("rollback", 1)
    await bench.publish()
    earlier = bench.policies.book.directive("homepage")
    bench.order("unpin")
    await bench.publish()
    bench.policies = KnownPolicies(*bench.policies.book)
    bench.policies.book.put_directive(earlier)
    bench.restart()
    await bench.learn(2)
    assert followed(bench)[-1][1:] == (0, 2)


async def test_a_rollback_may_follow_a_rollback(bench):
    for n in (1, 2, 3):
        await bench.learn(n)
    bench.order("rollback", 1)
    await bench.publish()
    bench.order("rollback", 2)
    await bench.publish()
    assert followed(bench)[3:] == [(4, 1, 1), (5, 2, 2)]


async def test_a_policy_without_a_directive_of_its_own_is_not_held(bench):
    bench.policies.book.put_directive(Directive("other", 1, "pin"))
    for n in (1, 2):
        await bench.learn(n)
    assert bench.counts == [1, 2]


@pytest.mark.parametrize(
    "change", [{"exploration": {"floor": 0.1}}, {"generation": 2}], ids=["definition", "generation"]
)
async def test_a_changed_definition_waits_for_unpin(bench, change):
    await bench.learn(1)
    bench.order("pin")
    await bench.publish()
    changed = define(plain_policy(publish={"interval": "1s"}, **change))
    bench.policies.book.put(changed)
    bench.now_s += 1
    await bench.publish()
    bench.restart()
    await bench.publish()
    assert followed(bench) == [(1, 0, 1)]
    bench.order("unpin")
    await bench.publish()
    assert bench.history[-1]["definition_hash"] == changed.definition_hash
    assert bench.history[-1]["generation"] == changed.generation


async def test_a_version_of_an_earlier_generation_comes_back_as_it_was(bench):
    await bench.learn(1)
    bench.policies.book.put(define(plain_policy(publish={"interval": "1s"}, generation=2)))
    bench.now_s += 1
    await bench.publish()
    bench.order("rollback", 1)
    await bench.publish()
    assert [(record["version"], record["generation"]) for record in bench.history] == [(1, 1), (2, 2), (3, 1)]


# A directive costs two deliveries, the changelog's and the topics', each with a side before and one after.
@pytest.mark.parametrize("kill_at", range(4))
@pytest.mark.parametrize("loses_disk", [False, True], ids=["disk", "no disk"])
@pytest.mark.parametrize("action", ["rollback", "unpin"])
async def test_a_directive_survives_a_crash_anywhere_and_no_version_is_used_for_two_contents(
    bench, action, kill_at, loses_disk
):
    for n in (1, 2):
        await bench.learn(n)
    if action == "unpin":
        bench.order("pin")
        await bench.learn(3)
    bench.order(action, 1)
    sides = iter(range(100))

    def kill(_: str) -> None:
        if next(sides) == kill_at:
            raise Crashed

    bench.broker.interrupt = kill
    with pytest.raises(Crashed):
        await bench.publish()
    bench.broker.interrupt = lambda _: None
    if loses_disk:
        bench.table.lose()
    bench.restart()
    await bench.read(statistics(4, 4), mark(4))
    await bench.publish()
    bench.now_s += 1
    await bench.publish()
    ids = {(record["version"], snapshot_id(avro.encode("snapshot", record))) for record in bench.history}
    assert sorted(version for version, _ in ids) == list(range(1, len(ids) + 1))
    assert [record["version"] for record in bench.history if record["rollback_of"] == 1][:1] == (
        [3] if action == "rollback" else []
    )
    # Killed before the changelog has it, unpin publishes what is live when it is done again.
    expected = {"rollback": (3, 1, 1), "unpin": (3 if kill_at == 0 else 4, 0, 4)}
    assert followed(bench)[-1] == expected[action]
