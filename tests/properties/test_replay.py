"""A replay comes to what the naive fold comes to, under the old rules and under new ones, wherever it was stopped.

live     ├── decisions of generation 1 ──┤├── of generation 2 ──┤
replay   0 ───────── cut ──── cut ────────────────── cut          counts those of generation 1, under 2's rules
"""

from __future__ import annotations

import asyncio
import copy
import itertools
from base64 import b64encode
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics
from pipeline.policy.book import PolicyBook
from pipeline.publish.snapshot import posterior_sha256
from pipeline.replay.recounting import rebuild as rebuild_module
from pipeline.replay.recounting.plan import make_plan, plan_from_json
from pipeline.replay.recounting.rebuild import topics_of
from pipeline.stream.log import topics
from tests.doubles import Crashed, KnownPolicies
from tests.killed_worker import Worker, killer
from tests.naive.fold import naive_fold
from tests.replaying import ReplayMemory, cut_at, replayed, replayed_rows
from tests.samples import define, linear_policy
from tests.traffic import (
    COMBINATIONS,
    FOREVER_MS,
    LIMITS,
    SETTLES,
    START_MS,
    SUBJECTS,
    Traffic,
    fit_worths,
    plain_sums,
    traffic,
)

pytestmark = pytest.mark.timeout(600)

EVENTS = (topics.DECISIONS, topics.OUTCOMES)
LEDGER = (topics.REWARDS,)
SOURCES = st.sampled_from(["events", "ledger"])
Sums = dict[tuple[Any, ...], list[int]]


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a step be of a few records."""
    monkeypatch.setattr(rebuild_module, "STEP_OFFSETS", 7)


async def lived(data: Traffic, partitions: int, forget_at: int | None = None) -> Worker:
    """Play traffic through the agents as it arrives, to its end; a person may ask to be forgotten on the way."""
    worker = Worker(data, partitions)
    for step in itertools.count():
        if step == forget_at:
            await worker.read_all(topics.REWARDS)
            worker.forget(SUBJECTS[0] or "")
        if not worker.coming:
            break
        worker.arrive(20)
        for number in range(partitions):
            for topic in EVENTS:
                await worker.read(topic, number, 1_000)
    await worker.finish()
    return worker


def book_of(data: Traffic) -> PolicyBook:
    return KnownPolicies(define(data.policy)).book


def is_of_one_reward(policy: dict[str, Any]) -> bool:
    """Whether the algorithm can't have kinds counted apart."""
    return policy["algorithm"]["name"] == "linear_ensemble" or "contexts" in policy["statistics"]


def changed(policy: dict[str, Any], draw: st.DrawFn, *, narrower: bool) -> dict[str, Any]:
    """Draw other rules of attribution: windows, worths, combination, bounds, buckets, when a decision counts."""
    new = copy.deepcopy(policy)
    for rule in new["reward"]["outcomes"]:
        seconds = int(rule["window"].rstrip("s"))
        rule["window"] = f"{draw(st.integers(1, seconds if narrower else 15))}s"
        rule["worth"] = draw(st.sampled_from([rule["worth"], 0.5, 0.3]))
    new["reward"].pop("cap", None)
    allowed = COMBINATIONS[:4] if is_of_one_reward(new) else COMBINATIONS
    new["reward"]["combine"] = draw(st.sampled_from(allowed))
    new["reward"]["high"] = draw(st.sampled_from([new["reward"]["high"], 0.75, 9.0]))
    if policy["reward"]["low"] == 0.0:  # its algorithm takes rewards in [0, 1]
        new["reward"]["high"] = min(new["reward"]["high"], 1.0)
    if new["reward"]["combine"] == "weighted":
        fit_worths(new)
    new["attribution"]["settle"] = "wait" if narrower else draw(st.sampled_from(SETTLES))
    new["statistics"]["bucket"] = draw(st.sampled_from(["20s", "10s"]))
    if new["attribution"]["settle"] == "delay_corrected":
        new["statistics"]["bucket"] = "1s"
        new["reward"]["outcomes"][0]["window"] = "10s"
    return new


def naive_sums(policy: dict[str, Any], data: Traffic) -> Sums:
    return naive_fold(policy, [one.record for one in data.decisions], [one.record for one in data.outcomes]).sums


def cuts_of(worker: Worker, names: Sequence[str], times_ms: list[int]) -> list[Any]:
    """Cut at the start, at some times of arrival, and at the end."""
    start = cut_at(worker.broker, names, -1)
    return [start, *(cut_at(worker.broker, names, at_ms) for at_ms in sorted(times_ms)), end_of(worker, names)]


def end_of(worker: Worker, names: Sequence[str]) -> Any:
    return cut_at(worker.broker, names, 2**62)


times = st.lists(st.integers(START_MS, START_MS + 150_000), max_size=3)


@settings(max_examples=60)
@given(data=traffic(), partitions=st.integers(1, 3), stops=times)
def test_under_the_same_definition_a_replay_is_the_live_posterior_row_by_row(
    data: Traffic, partitions: int, stops: list[int]
) -> None:
    worker = asyncio.run(lived(data, partitions))
    plan = make_plan(book_of(data), "homepage", 2, None, "events", LIMITS)
    rows = asyncio.run(replayed_rows(worker.broker, plan, cuts_of(worker, EVENTS, stops)))
    live: dict[RowKey, Statistics] = {}
    for partition in worker.publish.partitions:
        for partials in partition.partials.values():
            live |= dict(partials.by_bucket())
    assert rows == {key._replace(generation=2): row for key, row in live.items()}
    assert plain_sums(rows.items()) == naive_sums(data.policy, data)
    naive = naive_fold(data.policy, [d.record for d in data.decisions], [o.record for o in data.outcomes])
    assert posterior_sha256(plan.definition, rows.items(), FOREVER_MS) == naive.sha256


@settings(max_examples=120)
@given(data=traffic(), partitions=st.integers(1, 3), stops=times, draw=st.data())
def test_under_another_definition_a_replay_is_the_naive_fold_under_it(
    data: Traffic, partitions: int, stops: list[int], draw: st.DataObject
) -> None:
    worker = asyncio.run(lived(data, partitions))
    new = changed(data.policy, draw.draw, narrower=False)
    plan = make_plan(book_of(data), "homepage", 2, define(new), "events", LIMITS)
    rows = asyncio.run(replayed_rows(worker.broker, plan, cuts_of(worker, EVENTS, stops)))
    assert plain_sums(rows.items()) == naive_sums(new, data)


@settings(max_examples=60)
@given(data=traffic(), partitions=st.integers(1, 3), stops=times, seed=st.integers(0, 99))
def test_under_a_new_encoder_a_replay_is_the_naive_fold_of_contexts_encoded_by_it(
    data: Traffic, partitions: int, stops: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    for record in {id(one.record): one.record for one in data.decisions}.values():
        record["context"] = {"x": float(rng.uniform(-1, 1)), "y": int(rng.integers(0, 10))}
    worker = asyncio.run(lived(data, partitions))
    weights = rng.integers(-(2**13), 2**13, (4, 3)).astype("<i2")  # 4 units over (1, x, y)
    layer = {"units": 4, "weights": b64encode(weights.tobytes()).decode()}
    new = copy.deepcopy(data.policy) | {"context": linear_policy()["context"], "encoder": {"layers": [layer]}}
    new["statistics"].pop("contexts", None)  # units make more of them than 25
    plan = plan_from_json(make_plan(book_of(data), "homepage", 2, define(new), "events", LIMITS).to_json())
    rows = asyncio.run(replayed_rows(worker.broker, plan, cuts_of(worker, EVENTS, stops)))
    for record in {id(one.record): one.record for one in data.decisions}.values():
        record["context_vector"] = naive_units(record["context"], weights.tolist())
    assert plain_sums(rows.items()) == naive_sums(new, data)


def naive_units(context: dict[str, float], weights: list[list[int]]) -> list[int]:
    """Encode in Python's own integers and fractions."""
    raw = [4096, round(Fraction(context["x"]) * 4096), round(Fraction(context["y"] / 9 * 2 - 1) * 4096)]
    sums = (sum(w * x for w, x in zip(row, raw, strict=True)) for row in weights)
    return [4096, *(min(max(round(Fraction(one, 4096)), 0), 32767) for one in sums)]


@settings(max_examples=80)
@given(data=traffic(), partitions=st.integers(1, 3), draw=st.data())
def test_the_ledger_weighed_again_is_the_naive_fold_too(data: Traffic, partitions: int, draw: st.DataObject) -> None:
    worker = asyncio.run(lived(data, partitions))
    new = changed(data.policy, draw.draw, narrower=True)
    plan = make_plan(book_of(data), "homepage", 2, define(new), "ledger", LIMITS)
    ends = end_of(worker, LEDGER)[topics.REWARDS]
    middle = {topics.REWARDS: {number: draw.draw(st.integers(0, end)) for number, end in ends.items()}}
    cuts = [cut_at(worker.broker, LEDGER, -1), middle, {topics.REWARDS: ends}]
    rows = asyncio.run(replayed_rows(worker.broker, plan, cuts))
    assert plain_sums(rows.items()) == naive_sums(new, data)


@settings(max_examples=80)
@given(data=traffic(), stops=times, source=SOURCES, kills=st.lists(st.integers(0, 12)))
def test_a_replay_killed_anywhere_goes_on_to_the_same_rows_byte_by_byte(
    data: Traffic, stops: list[int], source: Any, kills: list[int]
) -> None:
    worker = asyncio.run(lived(data, 1))
    plan = make_plan(book_of(data), "homepage", 2, None, source, LIMITS)
    # The in-memory broker stamps the ledger with 0: it has but one cut.
    cuts = cuts_of(worker, EVENTS, stops) if source == "events" else cuts_of(worker, LEDGER, [])
    whole, broken = ReplayMemory(), ReplayMemory()
    asyncio.run(replayed(worker.broker, plan, cuts, 0, whole))
    for kill_at in kills:
        interrupt = killer(kill_at)
        broken.interrupt = lambda interrupt=interrupt: interrupt("")
        try:
            asyncio.run(replayed(worker.broker, plan, cuts, 0, broken))
        except Crashed:
            continue
    broken.interrupt = lambda: None
    asyncio.run(replayed(worker.broker, plan, cuts, 0, broken))
    assert broken.rows.stored == whole.rows.stored


@settings(max_examples=80)
@given(data=traffic(), partitions=st.integers(1, 3), promoted_ms=st.integers(START_MS, START_MS + 120_000))
def test_what_a_replay_counts_and_what_is_learned_after_it_is_promoted_are_all_decisions_once(
    data: Traffic, partitions: int, promoted_ms: int
) -> None:
    """Serving nodes switch when they see the new snapshot: decisions of both generations come side by side."""
    new = copy.deepcopy(data.policy) | {"generation": 2}
    new["reward"]["outcomes"][0]["window"] = "3s"
    plan = make_plan(book_of(data), "homepage", 2, define(new), "events", LIMITS)
    for index, decision in enumerate(data.decisions):
        # A second copy of a decision is of the same generation: it is the record that was sent.
        is_switched = decision.record["decided_at_ms"] + 7 * (hash_of(decision.record) % 900) > promoted_ms
        data.decisions[index] = decision._replace(record=decision.record | {"generation": 1 + is_switched})
    worker = asyncio.run(lived_under_both(data, partitions, define(new)))
    rows = asyncio.run(replayed_rows(worker.broker, plan, cuts_of(worker, EVENTS, [promoted_ms])))
    for partition in worker.publish.partitions:
        for key, row in partition.of("homepage", 2).by_bucket():
            rows[key] = rows[key] + row if key in rows else row
    everything = [one.record | {"generation": 2} for one in data.decisions]
    assert plain_sums(rows.items()) == naive_fold(new, everything, [one.record for one in data.outcomes]).sums


@settings(max_examples=80)
@given(data=traffic(), partitions=st.integers(1, 3), asked_at=st.integers(0, 6), source=SOURCES, draw=st.data())
def test_a_forgotten_person_counts_in_no_replay_whatever_was_learned_of_them(
    data: Traffic, partitions: int, asked_at: int, source: Any, draw: st.DataObject
) -> None:
    worker = asyncio.run(lived(data, partitions, forget_at=asked_at))
    new = changed(data.policy, draw.draw, narrower=source == "ledger")
    plan = make_plan(book_of(data), "homepage", 2, define(new), source, LIMITS)
    rows = asyncio.run(replayed_rows(worker.broker, plan, cuts_of(worker, topics_of(plan), [])))
    data.decisions[:] = [one for one in data.decisions if one.record["action_id"] not in worker.forgotten]
    assert {key: sums for key, sums in plain_sums(rows.items()).items() if any(sums)} == naive_sums(new, data)


async def lived_under_both(data: Traffic, partitions: int, new: Any) -> Worker:
    worker = Worker(data, partitions)
    worker.policies.book.put(new)
    await worker.finish()
    return worker


def hash_of(record: dict[str, Any]) -> int:
    return sum(record["action_id"].encode())


@given(data=traffic())
def test_a_plan_is_read_back_as_it_was_written(data: Traffic) -> None:
    plan = make_plan(book_of(data), "homepage", 7, None, "events", LIMITS)
    assert plan_from_json(plan.to_json()) == plan
    # Of before: it tells ids by the names of our own schemas.
    before = plan.to_json().replace('"registry":{}', '"registry":{"7":"decision"}')
    assert before != plan.to_json()
    assert plan_from_json(before).to_json() == before
