"""A log that says what changes, and bounds what repeats: over simulated time."""

from __future__ import annotations

import io
import json
import logging

from pipeline.cli.logs import OTHERS_AT_ONCE, OURS_AT_ONCE, BoundedHandler
from pipeline.cli.repeats import AGAIN_S, MOST_KEYS, Repeats
from pipeline.settings import LogFormat

TEN_MINUTES_S = 600


class Log:
    """A log whose time is told to it."""

    def __init__(self, log_format: LogFormat = "text") -> None:
        self.now_s = 1_000.0
        self._written = io.StringIO()
        self.handler = BoundedHandler(self._written, lambda: self.now_s, log_format)

    def say(self, logger: str, level: int, message: str, *values: object, fault: Exception | None = None) -> None:
        told = (type(fault), fault, None) if fault else None
        self.handler.handle(logging.LogRecord(logger, level, __file__, 1, message, values, told))

    @property
    def lines(self) -> list[str]:
        return self._written.getvalue().splitlines()


def test_what_others_say_again_and_again_is_said_twice_then_once_a_minute_with_a_count() -> None:
    log = Log()
    for tenth in range(TEN_MINUTES_S * 10):  # ten lines a second
        log.now_s = 1_000.0 + tenth / 10
        log.say("aiokafka", logging.ERROR, "Unable connect to node with id %s: %s", tenth % 3, f"try {tenth}")
    # Two at once; then one for each minute that has passed, the last of them when 600 s are all but over.
    assert len(log.lines) == OTHERS_AT_ONCE + 9
    # Of the first minute two were said, one says how many it stands for: it came when AGAIN_S were over.
    assert "[and 598 more like it in 60 s]" in log.lines[2]
    assert sum(map(len, log.lines)) < 2_000


def test_nothing_is_left_uncounted_when_it_stops_and_when_the_log_ends() -> None:
    log = Log()
    for _ in range(50):
        log.say("mode.timers", logging.WARNING, "Timer commit is overlapping")
    log.now_s += AGAIN_S
    log.say("pipeline.publish.agent", logging.INFO, "snapshot-published version=%s", 7)
    # 48 were not said; the line that says so is one of them.
    assert log.lines[2].endswith("Timer commit is overlapping [and 47 more like it in 60 s]")
    assert log.lines[3].endswith("snapshot-published version=7")
    for _ in range(5):
        log.say("mode.timers", logging.WARNING, "Timer commit is overlapping")
    log.handler.close()
    assert log.lines[-1].endswith("Timer commit is overlapping [and 4 more like it in 0 s]")


def test_what_comes_again_after_a_while_is_new() -> None:
    log = Log()
    log.say("aiokafka", logging.ERROR, "Marking the coordinator dead", fault=ValueError("why"))
    log.now_s += AGAIN_S * OTHERS_AT_ONCE
    log.say("aiokafka", logging.ERROR, "Marking the coordinator dead", fault=ValueError("why"))
    assert [line for line in log.lines if line == "ValueError: why"] == ["ValueError: why"] * 2


def test_a_repeated_traceback_is_written_once() -> None:
    log = Log()
    for _ in range(OTHERS_AT_ONCE):
        log.say("aiokafka", logging.ERROR, "Unexpected error", fault=ValueError("why"))
    assert log.lines.count("ValueError: why") == 1


def test_kinds_do_not_hide_one_another() -> None:
    log = Log()
    for _ in range(5):
        log.say("aiokafka", logging.ERROR, "one kind %s", 1)
        log.say("aiokafka", logging.ERROR, "another kind %s", 1)
        log.say("faust", logging.ERROR, "one kind %s", 1)
    assert len(log.lines) == 3 * OTHERS_AT_ONCE


def test_our_own_news_are_all_said_and_our_own_warnings_of_several_partitions_too() -> None:
    log = Log()
    for number in range(100):
        log.say("pipeline.publish.agent", logging.INFO, "snapshot-published version=%s", number)
    assert len(log.lines) == 100
    for number in range(50):
        log.say("pipeline.stream.log.lanes", logging.WARNING, "lane-failed partition=%s", number)
    assert len(log.lines) == 100 + OURS_AT_ONCE


def test_kinds_without_end_take_no_memory_without_end() -> None:
    repeats = Repeats()
    told = 0
    for number in range(3 * MOST_KEYS):
        repeats.take(number, 1, 0.0)
        repeats.take(number, 1, 0.0)  # which is counted
        told += sum(each.more for _, each in repeats.due(0.0))
    assert len(repeats._said) <= MOST_KEYS + 1
    # What is forgotten is told first.
    assert told + sum(each.more for _, each in repeats.rest(0.0)) == 3 * MOST_KEYS


def test_a_program_is_given_an_event_its_fields_with_their_types_and_what_is_counted() -> None:
    log = Log("json")
    log.say("pipeline.publish", logging.INFO, "snapshot-published policy=%s version=%d id=%.3s", 'a "b"\n', 7, "abcdef")
    log.say("pipeline.stream", logging.INFO, "Rebalanced to level=%s share=50%% of=%s", "own", ValueError("x"))
    log.say("aiokafka", logging.ERROR, "Unable connect to node with id %s: %s", 1, "refused", fault=OSError("why"))
    log.say("pipeline.stream", logging.INFO, "lane-failed at=%s level=%s share=50%% of=%s", None, "own", {1: "y"})
    published, odd, sentence, failed = map(json.loads, log.lines)
    assert published["event"] == "snapshot-published"
    assert (published["policy"], published["version"], published["id"]) == ('a "b"\n', 7, "abcdef")
    assert published["message"] == 'snapshot-published policy=a "b"\n version=7 id=abc'
    assert (published["level"], published["logger"]) == ("INFO", "pipeline.publish")
    # A sentence has no name and no fields.
    assert {"event", "level_", "of"}.isdisjoint(odd)
    assert sentence["message"] == "Unable connect to node with id 1: refused"
    assert "OSError: why" in sentence["exception"]
    # What a field is called does not hide what the line says of itself.
    assert (failed["level"], failed["level_"], failed["at"], failed["of"]) == ("INFO", "own", None, {"1": "y"})
    for _ in range(5):
        log.say("aiokafka", logging.ERROR, "Unable connect to node with id %s: %s", 1, "refused")
    log.now_s += AGAIN_S
    log.say("pipeline.stream", logging.INFO, "restored topic=%s partition=%s", "rewards", 3)
    counted, restored = map(json.loads, log.lines[-2:])
    assert (restored["event"], restored["topic"], restored["partition"]) == ("restored", "rewards", 3)
    assert (counted["message"], counted["more"]) == ("Unable connect to node with id 1: refused", 3)
