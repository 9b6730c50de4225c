"""What was read of a log stands beside the position, and another log is told from it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.errors import ConfigError, LogChangedError, StateError
from pipeline.stream.log import sources as module
from pipeline.stream.log.continuity import Accepted, Fault, Mark, accepted_logs
from pipeline.stream.log.fetch import Batch
from pipeline.stream.log.identity import Log
from pipeline.stream.log.sources import Resumption, Sources, marks_from_bytes
from pipeline.stream.log.watch import LogWatch

TOPIC = "outcomes"


def record(offset: int, text: str = "old") -> SimpleNamespace:
    return SimpleNamespace(offset=offset, timestamp=1_000 + offset, key=b"k", value=f"{text}-{offset}".encode())


class Brokers:
    """A partition, as the brokers tell of it."""

    def __init__(self, *, topic_id: str = "a", epoch: int = 0, first: int = 0, end: int = 0, text: str = "old") -> None:
        self.topic_id, self.epoch, self.first, self.end = topic_id, epoch, first, end
        self.records = {offset: record(offset, text) for offset in range(first, end)}
        self.epoch_ends: dict[int, int] = {}

    @property
    def state(self) -> Log:
        return Log("cluster", self.topic_id, 1, self.epoch, self.first, self.end)

    async def log(self, _partition: Any) -> Log:
        return self.state

    async def logs(self, partitions: Any) -> dict[Any, Log]:
        return dict.fromkeys(partitions, self.state)

    async def epoch_end(self, _partition: Any, _log: Log, epoch: int) -> int:
        return self.epoch_ends.get(epoch, self.end)

    async def record_at(self, _partition: Any, _log: Log, offset: int) -> Any:
        return self.records.get(offset)


async def known(brokers: Any, stored: bytes | None, position: int, **options: Any) -> tuple[Sources, Resumption]:
    sources = Sources(0, stored, brokers, **options)
    return sources, (await sources.confirm({TOPIC: position}))[TOPIC]


async def read_to(end: int) -> bytes:
    """Return the row of a stage that has read so many records of topic `a`."""
    brokers = Brokers(end=end)
    sources, _ = await known(brokers, None, 0)
    sources.take(batch(list(brokers.records.values())))
    sources.reached(TOPIC, end)
    (row,) = sources.rows().values()
    assert row is not None
    return row


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_AGAIN_S", 0.0)


async def test_the_same_log_is_read_on_where_the_state_ends():
    _, found = await known(Brokers(end=60), await read_to(50), 50)
    assert found == Resumption(50, 0)


@pytest.mark.parametrize(
    ("brokers", "said"),
    [
        (Brokers(topic_id="b", end=40), "another-topic.*seen topic id b, expected a"),
        (Brokers(topic_id="b", end=60), "another-topic"),  # longer than the old one: no offset would ever tell
        (Brokers(epoch=2, end=40), "shorter.*seen an end at 40, expected 50"),
        (Brokers(epoch=2, end=60, text="new"), "other-records.*at offset 49"),  # cut off, and grown beyond it again
    ],
)
async def test_a_log_that_is_another_stops_with_what_to_do_next(brokers, said):
    with pytest.raises(LogChangedError, match=said) as stop:
        await known(brokers, await read_to(50), 50)
    assert f"--accept-log {TOPIC}={brokers.topic_id}@{brokers.epoch}:start" in str(stop.value)


async def test_a_topic_of_which_nothing_was_read_may_be_made_anew():
    sources, _ = await known(Brokers(), None, 0)
    (row,) = sources.rows().values()
    _, found = await known(Brokers(topic_id="b", end=7), row, 0)
    assert found == Resumption(0, 0)


async def test_what_retention_took_is_counted_and_the_rest_is_read():
    gone: list[tuple[str, int, int]] = []
    _, found = await known(Brokers(first=70, end=90), await read_to(50), 50, on_gone=lambda *each: gone.append(each))
    assert found == Resumption(70, 20)
    assert gone == [(TOPIC, 0, 20)]


async def test_what_retention_took_before_anything_was_read_is_counted_once_the_log_is_known():
    sources, _ = await known(Brokers(), None, 0)
    (row,) = sources.rows().values()
    _, found = await known(Brokers(first=20, end=30), row, 0)
    assert found == Resumption(20, 20)


async def test_a_new_deployment_begins_where_an_old_topic_begins_and_has_lost_nothing():
    _, found = await known(Brokers(first=70, end=90), None, 0)
    assert found == Resumption(70, 0)


async def test_state_of_an_earlier_release_has_no_marks_and_is_told_by_its_position():
    _, found = await known(Brokers(end=60), None, 50)
    assert found == Resumption(50, 0)
    with pytest.raises(LogChangedError, match="shorter"):
        await known(Brokers(end=40), None, 50)


async def test_a_log_whose_last_read_record_is_compacted_is_told_by_its_epoch(caplog):
    brokers = Brokers(epoch=1, end=60)
    del brokers.records[49]
    await known(brokers, await read_to(50), 50)
    assert "log-unproven" not in caplog.text
    brokers.epoch_ends[0] = 30
    await known(brokers, await read_to(50), 50)
    assert "log-unproven" in caplog.text


@pytest.mark.parametrize(
    ("accepted", "begins"),
    [
        (Accepted("b", 0, from_start=True), 5),
        (Accepted("b", 0, from_start=False), 50),
    ],
)
async def test_an_operator_says_from_where_another_log_is_read(accepted, begins):
    brokers = Brokers(topic_id="b", first=5, end=80)
    sources, found = await known(brokers, await read_to(50), 50, accepted={TOPIC: accepted})
    assert found == Resumption(begins, 0)
    # From then on it is the log that is known.
    (row,) = sources.rows().values()
    assert marks_from_bytes(row)[TOPIC] == Mark("b", 0)


async def test_what_was_cut_off_is_given_up_from_where_the_epoch_ends():
    brokers = Brokers(epoch=2, end=60, text="new")
    brokers.epoch_ends[0] = 42
    _, found = await known(brokers, await read_to(50), 50, accepted={TOPIC: Accepted("a", 2, from_start=False)})
    assert found == Resumption(42, 0)


@pytest.mark.parametrize("accepted", [Accepted("c", 9, from_start=True), Accepted("a", 1, from_start=True)])
async def test_an_operator_s_word_holds_for_the_log_that_it_names_and_for_nothing_later(accepted):
    with pytest.raises(LogChangedError):
        await known(Brokers(epoch=2, end=40), await read_to(50), 50, accepted={TOPIC: accepted})


async def test_a_mark_is_of_the_last_record_of_the_step_and_not_of_the_batch():
    brokers = Brokers(end=50)
    sources, _ = await known(brokers, None, 0)
    sources.take(batch(list(brokers.records.values())))
    sources.reached(TOPIC, 20)
    (row,) = sources.rows().values()
    assert marks_from_bytes(row)[TOPIC].offset == 19
    assert sources.rows() == {}


def batch(records: list[Any]) -> Batch:
    return Batch(TOPIC, 0, records[0].offset, records, records[-1].offset + 1)


class Held:
    """What the watch sees of a partition."""

    changelog = ("changelog", 0)

    def __init__(self, sources: Sources) -> None:
        self.sources = sources

    def see_changelog(self, _found: Log) -> None:
        """It stays the same."""


async def watched(brokers: Brokers) -> tuple[LogWatch, Sources]:
    sources, _ = await known(brokers, None, 0)
    sources.take(batch(list(brokers.records.values())))
    sources.reached(TOPIC, brokers.end)
    return LogWatch("nowhere:9092", lambda: [Held(sources)]), sources


async def test_a_topic_that_is_made_anew_under_a_running_worker_stops_it():
    watch, _ = await watched(Brokers(end=50))
    with pytest.raises(LogChangedError, match="another-topic"):
        await watch.look(Brokers(topic_id="b", end=60))


async def test_policies_that_are_made_anew_under_a_running_worker_stop_it():
    watch = LogWatch("nowhere:9092", list, ["policies"])
    await watch.look(Brokers(topic_id="", end=3))  # a broker that tells none
    for _ in range(2):
        await watch.look(Brokers(topic_id="a", end=3))
    with pytest.raises(LogChangedError, match="policies was made anew while it was followed: seen topic id b, exp"):
        await watch.look(Brokers(topic_id="b", end=3))


async def test_an_unclean_election_under_a_running_worker_stops_it():
    brokers = Brokers(end=50)
    watch, _ = await watched(brokers)
    brokers.epoch, brokers.end, brokers.records = 1, 60, Brokers(end=60, text="new").records
    with pytest.raises(LogChangedError, match="other-records"):
        await watch.look(brokers)


async def test_a_clean_election_is_learned_and_nothing_else():
    watch, sources = await watched(Brokers(end=50))
    await watch.look(Brokers(epoch=1, end=60))
    assert sources.marks()[TOPIC][0].leader_epoch == 1


async def test_an_end_that_is_too_early_is_believed_when_it_is_seen_twice():
    watch, _ = await watched(Brokers(end=50))
    await watch.look(Brokers(epoch=1, end=49))
    await watch.look(Brokers(epoch=1, end=50))
    await watch.look(Brokers(epoch=1, end=49))
    with pytest.raises(LogChangedError, match=Fault.SHORTER):
        await watch.look(Brokers(epoch=1, end=49))


def test_marks_of_version_1():
    stored = b'[1,{"outcomes":["6f4d",3,49,123]}]'
    assert marks_from_bytes(stored) == {"outcomes": Mark("6f4d", 3, 49, 123)}
    with pytest.raises(StateError, match="use the release that wrote it"):
        marks_from_bytes(b"[2,{}]")


def test_what_accepts_a_log_is_checked_as_a_whole():
    assert accepted_logs(["outcomes=6f4d@3:position"]) == {"outcomes": Accepted("6f4d", 3, from_start=False)}
    with pytest.raises(ConfigError, match="'outcomes' is not TOPIC=ID@EPOCH:start"):
        accepted_logs(["outcomes"])
