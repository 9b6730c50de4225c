from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.codec import avro
from pipeline.join.step import Limits
from pipeline.replay.erasure.late_erasures import behind
from pipeline.replay.recounting.base import base_record
from pipeline.replay.recounting.plan import ReplayPlan
from tests.samples import define, plain_policy

PLAN = ReplayPlan(define(plain_policy(generation=2)), "events", (1,), Limits())
LEDGER = replace(PLAN, source="ledger")
IN_1 = {("homepage", 1, 0)}
"""A decision of generation 1, in partition 0."""


def base(plan: ReplayPlan, *topics: str, read: int):
    cuts = [{topic: {0: at, 1: at} for topic in topics} for at in (0, read)]
    return avro.decode_as("statistics_base", base_record(plan, cuts, -1, 1, 5))


@pytest.mark.parametrize(("read", "is_behind"), [(7, True), (8, False), (9, False)])
def test_a_replay_is_behind_until_it_has_read_the_last_erasure(read, is_behind):
    # The erasure is at offset 7: whoever has read it goes on at 8.
    found = behind([base(PLAN, "decisions", "outcomes", read=read)], IN_1, {"decisions": {0: 8}, "rewards": {0: 99}})
    assert [(one.policy, one.generation) for one in found] == [("homepage", 2)] * is_behind


def test_one_from_the_ledger_is_behind_until_it_has_read_the_answers():
    ends = {"decisions": {0: 99}, "rewards": {0: 8}}
    assert behind([base(LEDGER, "rewards", read=8)], IN_1, ends) == []
    assert len(behind([base(LEDGER, "rewards", read=7)], IN_1, ends)) == 1


def test_one_that_counts_other_generations_or_has_read_another_partition_is_not_concerned():
    bases = [base(PLAN, "decisions", "outcomes", read=1)]
    ends = {"decisions": {0: 8, 1: 0}}
    assert behind(bases, {("homepage", 3, 0)}, ends) == []
    assert behind(bases, {("checkout", 1, 0)}, ends) == []
    assert behind(bases, {("homepage", 1, 1)}, ends) == []


def test_with_nothing_erased_yet_it_counts_what_it_has_counted():
    assert len(behind([base(PLAN, "decisions", "outcomes", read=9)], IN_1, {"decisions": {}})) == 1
