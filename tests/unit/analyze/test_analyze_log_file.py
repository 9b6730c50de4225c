from __future__ import annotations

import numpy as np
import pytest

from pipeline.analyze.log_file import read_log_file
from pipeline.errors import ConfigError

TABLE = """time,subject,arm,reward,propensity,device,age
2026-03-01T00:00:01Z,ada,b,1,0.25,phone,31
2026-03-01T00:00:00Z,bob,a,0,0.75,desk,
"""


def test_a_table_is_a_log_in_order_of_time_and_all_other_columns_are_the_context():
    found = read_log_file(TABLE.encode(), "log.csv")
    log = found.log
    assert [log.arms[place] for place in log.arm] == ["a", "b"]
    assert log.reward.tolist() == [0.0, 1.0]
    assert log.propensity.tolist() == [0.75, 0.25]
    assert log.subjects == ["bob", "ada"]
    assert log.contexts == [{"device": "desk", "age": None}, {"device": "phone", "age": 31.0}]
    assert (np.diff(log.decided_at_ms) == 1_000).all()
    assert (found.doubts, found.has_propensities) == ([], True)


def test_a_spreadsheets_own_way_of_writing_is_read():
    text = "﻿ARM;Reward;propensity;plz\r\na;0,5;0,75;1011\r\nb;1,5;0,25;1012\r\n"
    found = read_log_file(text.encode(), "log.csv")
    assert found.log.reward.tolist() == [0.5, 1.5]
    assert any("decimal comma" in words for words in found.doubts)
    assert found.log.bounds == (0.5, 1.5)


def test_json_lines_hold_their_context_or_are_it():
    lines = (
        b'{"arm": "a", "reward": true, "propensity": 0.5, "decided_at_ms": 1e12, "context": {"age": 3}}\n'
        b'\n{"arm": "b", "reward": false, "propensity": 0.5, "decided_at_ms": 1000000001000, "segment": "n", "age":4}\n'
    )
    log = read_log_file(lines, "log.jsonl").log
    assert log.contexts == [{"age": 3}, {"age": 4}]
    assert log.reward.tolist() == [1.0, 0.0]  # true and false are clicks
    assert log.segments == ("", "n")
    assert log.decided_at_ms.tolist() == [1_000_000_000_000, 1_000_000_001_000]


def test_columns_of_other_names_are_named():
    raw = b"variant,clicked,chance\na,1,0.5\nb,0,0.5\n"
    named = {"arm": "variant", "reward": "Clicked", "propensity": "chance"}
    assert read_log_file(raw, "log.csv", named).log.reward.tolist() == [1.0, 0.0]
    with pytest.raises(ConfigError, match="column arm is missing"):
        read_log_file(raw, "log.csv")
    with pytest.raises(ConfigError, match="'armm' is no role of a column, expected one of arm, reward, propensity"):
        read_log_file(raw, "log.csv", {"armm": "variant"})
    with pytest.raises(ConfigError, match=r"column who is missing: seen .* --column subject=NAME"):
        read_log_file(raw, "log.csv", named | {"subject": "who"})


def test_without_propensities_the_shares_are_taken_and_that_is_told():
    found = read_log_file(b"arm,reward\na,1\na,0\na,0\nb,1\n", "log.csv")
    assert found.log.propensity.tolist() == [0.75, 0.75, 0.75, 0.25]
    assert not found.has_propensities
    assert "no column propensity" in found.doubts[0]
    assert "(a 0.75, b 0.25)" in found.doubts[0]


def test_an_arm_named_by_digits_and_seconds_since_1970_are_read():
    found = read_log_file(b"arm,reward,propensity,time\n7,1,0.5,1767225600\n8,0,0.5,1767225601\n", "log.csv")
    assert found.log.arms == ("7", "8")
    assert found.log.decided_at_ms.tolist() == [1_767_225_600_000, 1_767_225_601_000]
    assert found.doubts == ["column time: 2 numbers were taken for seconds since 1970"]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"arm,reward,propensity\na,1,0\n", "row 2, propensity: 0.0, expected a chance from 1e-06 to 1"),
        (b"arm,reward,propensity\na,x,0.5\n", 'row 2, reward: "x", expected a number'),
        (b"arm,reward,propensity\n,1,0.5\n", "row 2, arm: is empty"),
        (b"arm,reward,time\na,1,yesterday\n", 'row 2, time: "yesterday", expected a time such as'),
        (b"arm,reward\n", "holds no row below its header"),
        (b'{"arm": "a", "reward": NaN}\n', "line 1 is not JSON"),
        (b'{"arm": "a", "reward": 1}\n[]\n', r"line 2 is \[\], expected an object"),
        (b'{"arm": "a", "reward": "1"}\n{"arm": "a", "reward": 1}\n', 'line 1, reward: "1", expected a number'),
        (b"", "column arm is missing"),
    ],
)
def test_what_is_no_decision_is_named_with_its_place(raw, words):
    with pytest.raises(ConfigError, match=words):
        read_log_file(raw, "log.csv")


def test_of_many_faults_the_first_ten_are_told_and_how_many_there_are():
    with pytest.raises(ConfigError, match="and 90 more"):
        read_log_file(b"arm,reward,propensity\n" + b"a,1,2\n" * 100, "log.csv")


def test_an_arm_that_a_segment_never_showed_is_not_possible_there():
    log = read_log_file(b"arm,reward,propensity,segment\na,1,.5,x\nb,1,.5,x\na,1,1,y\n", "log.csv").log
    assert log.possible[log.offer].tolist() == [[True, True], [True, True], [True, False]]
