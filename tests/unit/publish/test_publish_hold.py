from __future__ import annotations

import hashlib

import pytest

from pipeline.codec import avro
from pipeline.policy.directive import Directive
from pipeline.publish.hold import Hold, hold_from_bytes, republish
from pipeline.publish.partials import Mark
from pipeline.publish.snapshot import build_snapshot, snapshot_id
from tests.samples import define, plain_policy


def test_nothing_is_held_before_a_directive_says_so():
    assert not Hold().is_held
    assert not Hold(5, "unpin").is_held
    assert Hold(5, "pin").is_held
    assert Hold(5, "rollback").is_held


def test_only_a_directive_of_a_higher_number_is_still_to_be_acted_on():
    hold = Hold(5, "pin")
    assert not hold.is_before(None)
    assert [hold.is_before(Directive("homepage", number, "unpin")) for number in (4, 5, 6)] == [False, False, True]


@pytest.mark.parametrize("hold", [Hold(), Hold(1_700_000_000_400, "rollback")])
def test_the_stored_form_reads_back(hold):
    assert hold_from_bytes(hold.to_bytes()) == hold


def test_content_published_again_differs_by_version_parent_and_whose_it_is_only():
    old = build_snapshot(define(plain_policy()), [], {0: Mark(9, 600)}, version=7, parent="ab" * 32)
    again = republish(old, 12, "cd" * 32)
    changed = {"version": 12, "parent": "cd" * 32, "rollback_of": 7}
    assert avro.decode_as("snapshot", again) == avro.decode_as("snapshot", old) | changed
    assert snapshot_id(again) == hashlib.sha256(again).hexdigest() != snapshot_id(old)
