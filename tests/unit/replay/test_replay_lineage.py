from __future__ import annotations

from typing import Any

import pytest

from pipeline.codec import avro
from pipeline.publish.hold import republish
from pipeline.publish.outline import kept
from pipeline.publish.snapshot import build_snapshot, snapshot_id
from pipeline.replay.proof.lineage import Lineage
from tests.samples import define, plain_policy


def altered(content: bytes, **fields: Any) -> bytes:
    return avro.encode("snapshot", avro.decode_as("snapshot", content) | fields)


def line(count: int) -> list[bytes]:
    """Versions 1 to `count`, each with a definition of its own."""
    contents: list[bytes] = []
    for version in range(1, count + 1):
        definition = define(plain_policy(exploration={"floor": version / 100}))
        contents.append(build_snapshot(definition, [], {}, version, snapshot_id(contents[-1]) if contents else ""))
    return contents


def read(*contents: bytes) -> Lineage:
    lineage = Lineage("homepage")
    for content in contents:
        lineage.add(kept(content))
    return lineage


def test_a_line_without_a_fault_has_none():
    lineage = read(*line(4))
    assert (lineage.fault, lineage.first, lineage.last, lineage.count) == (None, 1, 4, 4)


def test_a_snapshot_that_was_sent_again_is_one():
    one, two, three = line(3)
    lineage = read(one, two, two, one, three)
    assert (lineage.fault, lineage.count) == (None, 3)


def test_a_line_whose_beginning_has_aged_out_is_sound():
    assert read(*line(5)[2:]).fault is None


FAULTS = {
    "a number left out": (lambda c: [c[0], c[2]], "version 3: number after 1", "3", "2"),
    "a version used twice": (lambda c: [*c, altered(c[1], event_time_ms=9)], "version 2 is used twice", None, None),
    "an altered snapshot": (lambda c: [altered(c[0], event_time_ms=9), *c[1:]], "version 2: parent", None, None),
    "a first one with a parent": (lambda c: [altered(c[0], parent="ab")], "version 1: parent", "ab", "none"),
    "another definition": (lambda c: [altered(c[0], definition="{}")], "version 1: definition_hash", None, None),
    "a rollback to another content": (
        lambda c: [*c, altered(republish(c[0], 4, snapshot_id(c[2])), event_time_ms=9)],
        "version 4: content of version 1",
        None,
        None,
    ),
    "a rollback to itself": (
        lambda c: [*c, altered(republish(c[0], 4, snapshot_id(c[2])), rollback_of=4)],
        "version 4: rollback_of",
        "4",
        "a version before 4",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named(name):
    make, where, published, recomputed = FAULTS[name]
    fault = read(*make(line(3))).fault
    assert fault is not None
    assert fault.where == where
    if published is not None:
        assert (fault.published, fault.recomputed) == (published, recomputed)


def test_the_first_fault_is_the_one_that_is_kept():
    contents = line(5)
    fault = read(contents[0], contents[2], contents[4]).fault
    assert fault is not None
    assert fault.where.startswith("version 3")


def test_a_rollback_is_the_content_of_the_version_that_it_names():
    contents = line(3)
    lineage = read(*contents, republish(contents[0], 4, snapshot_id(contents[2])))
    assert (lineage.fault, lineage.rollbacks, lineage.unproven_rollbacks) == (None, 1, 0)


def test_a_rollback_of_a_rollback_names_the_rollback():
    contents = line(2)
    contents.append(republish(contents[0], 3, snapshot_id(contents[1])))
    lineage = read(*contents, republish(contents[2], 4, snapshot_id(contents[2])))
    assert (lineage.fault, lineage.rollbacks) == (None, 2)


def test_a_rollback_to_what_has_aged_out_is_counted_as_unproven():
    contents = line(3)
    lineage = read(*contents[1:], republish(contents[0], 4, snapshot_id(contents[2])))
    assert (lineage.fault, lineage.rollbacks, lineage.unproven_rollbacks) == (None, 1, 1)


def test_what_is_live_is_what_the_history_has():
    contents = line(3)
    lineage = read(*contents[:2])
    lineage.check_live(contents[1])
    lineage.check_live(contents[2])  # published since the history was read
    assert lineage.fault is None
    lineage.check_live(altered(contents[1], event_time_ms=9))
    assert lineage.fault is not None
    assert lineage.fault.where == "version 2 in snapshots is another than in snapshot-history"
