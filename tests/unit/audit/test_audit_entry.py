"""What `audit` holds of an act: bounded, both records whole, the last one shown."""

from __future__ import annotations

import hashlib

import orjson

from pipeline.audit.entry import MAX_TOLD_BYTES, Audit, Change, asked, differing, latest_of_each, told
from pipeline.codec import avro

ACT = asked(Change("switches", "homepage", {"promo": "on"}, {"promo": "off"}), "1", 10, "ada@desk", "policy kill")


def test_both_records_of_an_act_hold_all_of_it():
    done = ACT.ended("done", 20)
    assert done == ACT._replace(state="done", at_ms=20)
    assert Audit(**avro.decode_as("audit", done.to_bytes())) == done


def test_of_an_act_its_end_is_shown_and_a_second_delivery_of_its_beginning_changes_nothing():
    other = ACT._replace(act_id="2")
    failed = ACT.ended("failed", 20, "not acknowledged")
    assert latest_of_each([ACT, other, failed, ACT]) == [failed, other]


def test_what_is_long_is_cut_and_says_how_long_it_was_and_which():
    value = {"weights": ['"' * 50_000]}
    whole = orjson.dumps(value)
    kept = orjson.loads(told(value))
    assert len(told(value)) <= MAX_TOLD_BYTES
    assert (kept["bytes"], kept["sha256"]) == (len(whole), hashlib.sha256(whole).hexdigest())
    assert whole.decode().startswith(kept["cut"])


def test_names_and_errors_are_bounded_too():
    long = asked(Change("t" * 10_000), "1", 0, "a" * 10_000, "c").ended("failed", 0, "e" * 10_000)
    assert len(long.to_bytes()) < 3_000


def test_of_two_definitions_only_what_differs_is_told():
    before = {"arms": ["a", "b"], "rollout": {"of": "homepage", "share": 0.05}, "name": "v2"}
    after = {"arms": ["a", "b"], "rollout": {"of": "homepage", "share": 0.2}, "name": "v2", "control": "a"}
    assert differing(before, after) == ({"rollout": {"share": 0.05}}, {"rollout": {"share": 0.2}, "control": "a"})
    assert differing(before, before) == ({}, {})
