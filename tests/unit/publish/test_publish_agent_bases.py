"""PUBLISH of what a replay has put under a generation."""

from __future__ import annotations

from pipeline.codec import avro
from tests.unit.publish.bench import HOME, mark, statistics


def base(first: int, sources: int, event_time_ms: int = 5) -> bytes:
    """Name the sources first, first - 1, … as what a replay put under generation 1."""
    cuts = [[{"topic": "rewards", "partition": 0, "offset": end}] for end in (0, 7)]
    fields = {"policy": "homepage", "generation": 1, "plan": f"plan {first}", "cuts": cuts, "first_source": first}
    return avro.encode("statistics_base", {**fields, "sources": sources, "event_time_ms": event_time_ms})


def replayed(n: int, source: int, segment: str = "new") -> tuple[bytes, bytes]:
    return statistics(n, 1, source, segment), mark(1, source)


async def publish_next(bench) -> int:
    """Publish after the interval; return what is counted."""
    bench.now_s += 1
    await bench.publish()
    return sum(sum(segment["counts"]) for segment in bench.history[-1]["segments"])


async def test_a_replay_s_rows_count_from_when_a_base_names_them_beside_what_is_learned(bench):
    await bench.read(*replayed(20, -1), statistics(3, 10), mark(10), *replayed(400, -2, "other"))
    assert await publish_next(bench) == 3
    assert bench.history[-1]["base_plan"] == ""
    await bench.read(base(-1, 2))
    assert await publish_next(bench) == 423
    last = bench.history[-1]
    assert (last["base_plan"], [cut[0]["offset"] for cut in last["base_cuts"]]) == ("plan -1", [0, 7])
    # The ledger's prefix is that of what was learned, alone.
    assert last["ledger_offsets"] == [{"partition": 0, "offset": 10}]


async def test_a_later_base_takes_the_place_of_the_earlier_all_at_once_and_an_earlier_one_changes_nothing(bench):
    await bench.read(*replayed(20, -1), *replayed(400, -2, "other"), base(-1, 2))
    assert await publish_next(bench) == 420
    await bench.read(*replayed(5_000, -3))
    assert await publish_next(bench) == 420
    await bench.read(base(-3, 1))
    assert await publish_next(bench) == 5_000
    await bench.read(*replayed(20, -1), *replayed(400, -2, "other"), base(-1, 2), statistics(3, 10), mark(10))
    assert await publish_next(bench) == 5_003
    bench.restart()
    await bench.read(statistics(4, 11), mark(11))
    assert await publish_next(bench) == 5_004
    # What is in no base any more is not kept.
    kept = [key for key in bench.table.partition(HOME).stored if key[:1] == b"p"]
    assert sorted(key.rpartition(b",")[2] for key in kept) == [b"-3]", b"0]"]


async def test_a_base_of_which_a_source_is_missing_is_not_taken_and_learning_goes_on(bench):
    await bench.read(*replayed(20, -1), base(-1, 2), statistics(3, 10), mark(10))
    assert await publish_next(bench) == 3


async def test_a_base_s_event_time_stands_until_something_is_learned_beside_it(bench):
    await bench.read(*replayed(20, -1), base(-1, 1, event_time_ms=77))
    await publish_next(bench)
    assert bench.history[-1]["event_time_ms"] == 77
    await bench.read(statistics(3, 10), mark(10))
    await publish_next(bench)
    assert bench.history[-1]["event_time_ms"] == 5
