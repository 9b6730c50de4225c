"""State that released code stored, byte by byte as its layout is documented, is read by this code."""

from __future__ import annotations

import json
import struct
from functools import partial
from hashlib import blake2b

import pytest

from pipeline.errors import StateError
from pipeline.join.progress import Progress, progress_from_bytes
from pipeline.join.row import UNTOLD, ActionRow, AwaitingOutcome, OutcomeFact
from pipeline.join.stored_row import due_of, row_from_bytes, row_to_bytes
from pipeline.learn.memory import (
    Counted,
    FoldState,
    counted_from_bytes,
    expires_of,
    fold_state_from_bytes,
    statistics_from_bytes,
)
from pipeline.publish.hold import Hold, hold_from_bytes

VECTOR = struct.pack("<2h", 4096, -4)
DECISION = b'{"action_id":"x"}'


def hashed(outcome_id: str) -> str:
    """Give what is kept of an outcome's id of action x."""
    return blake2b(f"x\0{outcome_id}".encode(), digest_size=16, person=b"outcome.1").hexdigest()


def row_1(facts: list[object], due_ms: int, vector: bytes, decision: bytes) -> bytes:
    """B version | q due_ms | I length of facts | H length of context vector | facts (JSON) | vector | decision."""
    text = json.dumps(facts, ensure_ascii=False, separators=(",", ":")).encode()
    return struct.pack("<BqIH", 1, due_ms, len(text), len(vector)) + text + vector + decision


def test_a_settled_action_of_version_1():
    outcomes = {"o-1": ["click", 1.0, 1_700_000_000_500, 41]}
    facts = [
        True,
        "homepage",
        2,
        "new",
        "hybrid",
        1_700_000_000_000,
        1_700_000_010_000,
        1_700_000_015_000,
        outcomes,
        [],
    ]
    stored = row_1(facts, 1_700_000_015_000, VECTOR, DECISION)
    assert due_of(stored) == 1_700_000_015_000
    assert row_from_bytes(stored, "x") == ActionRow(
        due_ms=1_700_000_015_000,
        is_settled=True,
        outcomes={hashed("o-1"): OutcomeFact("click", 1.0, 1_700_000_000_500, 41)},
        raw=DECISION,
        vector=VECTOR,
        policy="homepage",
        generation=2,
        segment="new",
        arm="hybrid",
        decided_at_ms=1_700_000_000_000,
        close_ms=1_700_000_010_000,
        expires_ms=1_700_000_015_000,
        stored_due_ms=1_700_000_015_000,
    )


def test_outcomes_that_await_their_decision_of_version_1():
    awaiting = ["ö", "click", -2.5, 7, 41, 9, "a2V5", "cmF3"]
    row = row_from_bytes(row_1([False, "", 0, "", "", 0, 0, 0, {}, [awaiting]], 60_007, b"", b""), "x")
    assert not row.has_decision
    assert row.awaiting == [AwaitingOutcome(hashed("ö"), "click", -2.5, 7, 41, 9, b"key", b"raw")]


def test_the_tombstone_of_an_erased_action_of_version_2():
    stored = struct.pack("<Bq", 2, 1_700_000_015_000)
    assert due_of(stored) == 1_700_000_015_000
    row = row_from_bytes(stored, "x")
    assert (row.is_erased, row.due_ms, row.stored_due_ms) == (True, 1_700_000_015_000, 1_700_000_015_000)
    assert row_to_bytes(row) == stored


def row_3(numbers: tuple[object, ...], names: bytes, facts: bytes, waiting: bytes, rest: tuple[bytes, bytes]) -> bytes:
    """B version | q due, decided, close, expires | d propensity | ? settled | H, I, H lengths | what is so long."""
    vector, decision = rest
    head = struct.pack("<Bqqqqd?HIH", 3, *numbers, len(names), len(facts), len(vector))
    return head + names + facts + waiting + vector + decision


def row_5(numbers: tuple[object, ...], names: bytes, facts: bytes, waiting: bytes, rest: tuple[bytes, bytes]) -> bytes:
    """As version 3, with outcomes by what is kept of their ids."""
    return b"\5" + row_3(numbers, names, facts, waiting, rest)[1:]


def test_a_settled_action_of_version_3():
    numbers = (1_700_000_015_000, 1_700_000_000_000, 1_700_000_010_000, 1_700_000_015_000, 0.1, True)
    facts = b'[{"o-1":["click",1.0,1700000000500,41]},[]]'
    stored = row_3(numbers, b'["homepage",2,"new","hybrid"]', facts, b"", (VECTOR, DECISION))
    row = row_from_bytes(stored, "x")
    assert due_of(stored) == row.due_ms == row.expires_ms == 1_700_000_015_000
    assert (row.policy, row.generation, row.segment, row.arm) == ("homepage", 2, "new", "hybrid")
    assert (row.is_settled, row.propensity, row.decided_at_ms, row.close_ms) == (
        True,
        0.1,
        1_700_000_000_000,
        1_700_000_010_000,
    )
    assert row.outcomes == {hashed("o-1"): OutcomeFact("click", 1.0, 1_700_000_000_500, 41)}
    assert (row.vector, row.raw, row.awaiting) == (VECTOR, DECISION, [])
    assert row_from_bytes(row_to_bytes(row), "x").outcomes == row.outcomes


def test_a_settled_action_of_version_5():
    numbers = (1_700_000_015_000, 1_700_000_000_000, 1_700_000_010_000, 1_700_000_015_000, 0.1, True)
    name = hashed("o-1").encode()
    facts = b'[{"' + name + b'":["click",1.0,1700000000500,41]},[]]'
    stored = row_5(numbers, b'["homepage",2,"new","hybrid"]', facts, b"", (VECTOR, DECISION))
    row = row_from_bytes(stored, "x")
    assert row.outcomes == {name.decode(): OutcomeFact("click", 1.0, 1_700_000_000_500, 41)}
    assert row.told == UNTOLD


def test_an_action_of_version_7_says_how_many_of_its_outcomes_are_told():
    numbers = (1_700_000_015_000, 1_700_000_000_000, 1_700_000_010_000, 1_700_000_015_000, 0.1, True)
    name, names = hashed("o-1").encode(), b'["homepage",2,"new","hybrid"]'
    facts = b'[{"' + name + b'":["click",1.0,1700000000500,41]},[]]'
    head = struct.pack("<Bqqqqd?HIHi", 7, *numbers, len(names), len(facts), len(VECTOR), 1)
    stored = head + names + facts + VECTOR + DECISION
    row = row_from_bytes(stored, "x")
    assert (row.told, row.is_analysis, list(row.outcomes)) == (1, False, [name.decode()])
    assert row_to_bytes(row) == stored
    assert row_from_bytes(b"\x08" + stored[1:], "x").is_analysis


def test_an_action_of_the_analysis_group_is_of_version_8_and_was_of_6_laid_out_as_5_and_of_4_laid_out_as_3():
    numbers = (1_700_000_015_000, 1_700_000_000_000, 1_700_000_010_000, 1_700_000_015_000, 0.1, True)
    facts = b'[{"o-1":["click",1.0,1700000000500,41]},[]]'
    stored = row_3(numbers, b'["homepage",2,"new","hybrid"]', facts, b"", (VECTOR, DECISION))
    row, beside = row_from_bytes(b"\4" + stored[1:], "x"), row_from_bytes(stored, "x")
    assert (row.is_analysis, beside.is_analysis) == (True, False)
    beside.is_analysis = True
    assert list(row.outcomes) == [hashed("o-1")]
    assert row == beside
    kept = row_to_bytes(row)
    assert (kept[0], row_to_bytes(row_from_bytes(kept, "x"))) == (8, kept)
    assert row_from_bytes(b"\6" + stored[1:], "x").is_analysis
    assert row_from_bytes(kept, "x").is_analysis


def test_an_action_whose_context_gave_no_vector_is_of_version_9_and_its_names_say_why():
    numbers = (1_700_000_015_000, 1_700_000_000_000, 1_700_000_010_000, 1_700_000_015_000, 0.1, True)
    names = b'["homepage",2,"new","hybrid","missing-feature",true]'
    stored = struct.pack("<Bqqqqd?HIHi", 9, *numbers, len(names), 0, 0, 1) + names + DECISION
    row = row_from_bytes(stored, "x")
    assert (row.undecodable, row.is_analysis, row.vector, row.arm) == ("missing-feature", True, b"", "hybrid")
    assert row_to_bytes(row) == stored


def test_outcomes_that_await_their_decision_of_version_3():
    facts = '[{},[["ö","click",-2.5,7,41,9,3,4],["p","click",1.0,8,42,9,null,2]]]'.encode()
    stored = row_3((60_007, 0, 0, 0, 0.0, False), b'["",0,"",""]', facts, b"key\0rawr2", (b"", b""))
    row = row_from_bytes(stored, "x")
    assert not row.has_decision
    assert row.awaiting == [
        AwaitingOutcome(hashed("ö"), "click", -2.5, 7, 41, 9, b"key", b"\0raw"),
        AwaitingOutcome(hashed("p"), "click", 1.0, 8, 42, 9, None, b"r2"),
    ]
    assert row_from_bytes(row_to_bytes(row), "x").awaiting == row.awaiting


def test_join_s_progress_of_version_1():
    positions, marks, counts = (
        {"decisions": 7, "outcomes": 3},
        {"decisions": 900, "outcomes": -1},
        {"decisions.read": 7},
    )
    stored = json.dumps([1, positions, marks, 850, counts]).encode()
    assert progress_from_bytes(stored) == Progress(positions, marks, 850, progress_from_bytes(stored).counts)
    assert progress_from_bytes(stored).counts["decisions.read"] == 7
    assert progress_from_bytes(stored).counts["never.counted"] == 0


def test_join_s_progress_of_version_2_has_a_promise():
    stored = json.dumps([2, {"decisions": 7}, {"decisions": 900}, 850, {"decisions.read": 7}, 880]).encode()
    progress = progress_from_bytes(stored)
    assert (progress.event_time_ms, progress.promised_ms, progress.counts["decisions.read"]) == (850, 880, 7)
    assert json.loads(progress.to_bytes()) == json.loads(stored)


def test_join_s_progress_of_version_3_has_clocks():
    marks = {"decisions": 900, "outcomes": -1}
    heard, clocks = {"decisions": 4_000, "outcomes": -1}, {"decisions": 900, "outcomes": -1}
    stored = json.dumps([3, {"decisions": 7}, marks, 850, {"decisions.read": 7}, 880, heard, clocks]).encode()
    progress = progress_from_bytes(stored)
    assert (progress.heard_ms, progress.clocks_ms, progress.held_back()) == (heard, clocks, ["decisions"])
    assert json.loads(progress.to_bytes()) == json.loads(stored)


def test_what_an_action_counts_for_of_version_1():
    stored = struct.pack("<Bqqq", 1, 3, -32_768, 1_700_000_015_000)
    assert counted_from_bytes(stored) == Counted(3, -32_768, 1_700_000_015_000)
    assert expires_of(stored) == 1_700_000_015_000


def test_statistics_of_version_1():
    # d = 2: n, Σr, Σr², b (2), upper triangle (3)
    sums = [2, -3, 5, 7, -11, 13, -17, 2**62]
    row = statistics_from_bytes(struct.pack("<BI8q", 1, 2, *sums))
    assert (row.dimension, row.sums.tolist()) == (2, sums)


def test_how_far_the_ledger_was_folded_of_version_1():
    assert fold_state_from_bytes(json.dumps([1, 17, 1_700_000_000_000]).encode()) == FoldState(17, 1_700_000_000_000)


@pytest.mark.parametrize(
    ("read", "stored"),
    [
        (partial(row_from_bytes, action_id="x"), b"\x0a" + row_1([False, "", 0, "", "", 0, 0, 0, {}], 0, b"", b"")[1:]),
        (progress_from_bytes, b"[4,{},{},0,{},0,{},{}]"),
        (counted_from_bytes, struct.pack("<Bqqq", 3, 0, 0, 0)),
        (statistics_from_bytes, struct.pack("<BI3q", 2, 0, 0, 0, 0)),
        (fold_state_from_bytes, b"[3,0,0]"),
    ],
)
def test_state_of_a_later_release_stops_the_worker_instead_of_being_guessed_at(read, stored):
    with pytest.raises(StateError, match="use the release that wrote it"):
        read(stored)


def test_a_hold_of_version_1():
    assert hold_from_bytes(b'[1,1700000000400,"rollback"]') == Hold(1_700_000_000_400, "rollback")
    with pytest.raises(StateError, match="hold of version 2, this code reads 1"):
        hold_from_bytes(b'[2,1700000000400,"rollback"]')
