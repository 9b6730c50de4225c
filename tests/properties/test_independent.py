"""The independent proof agrees with what is right, and tells what the stages and `verify` have wrong in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import wrong_stages as wrong
from pipeline.codec import avro
from pipeline.independent.fold import Partition, merged
from pipeline.independent.proof import Folded, Proof, prove
from pipeline.independent.records import read_record
from pipeline.learn.ledger import ledger_record
from pipeline.publish.aged_rows import AgedRows
from pipeline.publish.partials import Mark
from pipeline.publish.snapshot import snapshot_fields
from pipeline.replay.proof.compare import first_difference
from pipeline.replay.proof.prefixes import Prefix, PrefixFold, PrefixRows
from tests.properties.test_join_learn import Move, moves, world, worlds
from tests.samples import define, ensemble_policy, exp3_policy, linear_policy, plain_policy
from tests.traffic import START_MS, Rolled, Traffic, traffic, traffic_of

pytestmark = pytest.mark.timeout(600)

Ledger = list[list[bytes]]
"""By partition."""
Plain = dict[str, Any]


def published(policy: Plain, ledger_: Ledger, ends: Sequence[int]) -> tuple[Plain, PrefixRows]:
    """Publish a prefix of the ledger by the stages' own code; return it and what the shared fold gives."""
    named = {number: end for number, end in enumerate(ends) if end}
    fold = PrefixFold([Prefix("it", policy["name"], 1, named)])
    done: list[PrefixRows] = []
    for number, end in named.items():
        records = [
            ledger_record(offset, avro.decode_as("reward", raw)) for offset, raw in enumerate(ledger_[number][:end])
        ]
        done += fold.add(number, records)
    (rows,) = [*done, *fold.finish()]
    marks = {number: Mark(end, rows.event_time_ms) for number, end in named.items()}
    return snapshot_fields(define(policy), rows.rows, marks, 1, ""), rows


def proven(snapshot: Plain, ledger_: Ledger) -> Proof:
    """Hold a snapshot against the ledger by the independent fold."""
    name = snapshot["policy"], snapshot["generation"]
    partitions = []
    for entry in snapshot["ledger_offsets"]:
        partition = Partition({name})
        for raw in ledger_[entry["partition"]][: entry["offset"]]:
            partition.take(read_record("reward", raw))
        partitions.append(partition)
    times_ms = [partition.event_time_ms for partition in partitions]
    return prove(snapshot, Folded(merged([one.sums[name] for one in partitions]), 0, max(times_ms, default=0)))


@settings(max_examples=80)
@given(data=traffic(), plan=moves(may_crash=True), draw=st.data(), **worlds)
def test_any_prefix_of_any_ledger_is_proven(data: Traffic, plan: list[Move], draw: Any, **how: Any) -> None:
    played = world(data, **how)
    played.play(plan)
    if draw.draw(st.booleans()):
        played.finish()
    made = [join.ledger for join in played.joins]
    snapshot, _ = published(data.policy, made, [draw.draw(st.integers(0, len(one))) for one in made])
    assert proven(snapshot, made).difference is None


# What the stages may have wrong: `verify`, which folds with the same code, sees nothing of it.

FORGETS = {"forgetting": {"half_life": "30s", "window": "100s"}}
WINDOW = {"forgetting": {"window": "40s"}}
PRIOR = {"arms": [{"name": "a", "prior": {"mean": 0.3, "weight": 10}}, {"name": "b"}]}
CAPS = {"guardrails": {"caps": [{"arm": "a", "share": 0.9, "window": "40s"}]}}
HOW = {"settle": "optimistic", "combine": "sum"}


class Mutant(NamedTuple):
    """A wrong stage, and a policy that it matters to."""

    apply: wrong.Fault
    policy: Plain


MUTANTS = {
    "squares of rewards are never counted": Mutant(wrong.squares_never_counted, linear_policy(**HOW)),
    "corrections are dropped": Mutant(wrong.corrections_dropped, plain_policy(**HOW)),
    "revisions are counted twice": Mutant(wrong.revisions_counted_twice, plain_policy(**HOW)),
    "of revisions the lower one counts": Mutant(wrong.lower_revision_counts, plain_policy(**HOW)),
    "negative rewards are clipped": Mutant(wrong.negative_rewards_clipped, linear_policy(**HOW)),
    "the half-life is halved": Mutant(wrong.half_life_halved, plain_policy(**HOW, **FORGETS)),
    "the half-life is halved under contexts": Mutant(wrong.half_life_halved, linear_policy(**HOW, **FORGETS)),
    "the window is off by a bucket": Mutant(wrong.window_off_by(20_000), plain_policy(**HOW, **WINDOW)),
    "all count in one segment": Mutant(
        wrong.all_in_one_segment("other"),
        plain_policy(**HOW),
    ),
    "importance is dropped": Mutant(wrong.without_tallies("importance"), exp3_policy(settle="optimistic")),
    "groups are passed over": Mutant(wrong.without_tallies("group:"), ensemble_policy(**HOW)),
    "what has settled is not told": Mutant(
        wrong.without_tallies("settled"), plain_policy(settle="delay_corrected", statistics={"bucket": "1s"})
    ),
    "the analysis group is learned from": Mutant(wrong.analysis_group_learned_from, plain_policy(**HOW)),
    "erasures are ignored": Mutant(wrong.erasures_ignored, plain_policy(**HOW)),
    "a prior is worth twice": Mutant(wrong.prior_worth_twice, plain_policy(**HOW, **PRIOR)),
    "exposures are a bucket short": Mutant(wrong.exposures_a_bucket_short, plain_policy(**HOW, **CAPS)),
}


AGED_MUTANTS = {
    "spans are twice as wide": wrong.spans_too_wide,
    "spans count by their newest bucket": wrong.spans_by_their_last_bucket,
    "what old buckets hold is lost when they join": wrong.what_joins_is_lost,
    "the half-life is halved": wrong.half_life_halved,
    "the window is off by a bucket": wrong.window_off_by(20_000),
}
HOURS = {"half_life": "2h", "window": "30h"}


def aged(policy: Plain, buckets: Sequence[int]) -> Ledger:
    """Return a ledger of decisions of these buckets, in this order, of which a third earn something when all are in."""
    data = traffic_of(policy, 60, 120_000, Rolled(7))
    world_ = world(data, partitions=1, is_replay=False, forgets=False, step_rows=2_000)
    for now_ms in range(START_MS, START_MS + 160_000, 1_000):
        for join in world_.joins:
            for stream in join.topics:
                join.read(stream, len(join.topics[stream]), now_ms=now_ms)
    templates = [avro.decode_as("reward", raw) for raw in world_.joins[0].ledger]
    made: Ledger = [[], []]
    bucket_ms = define(policy).bucket_ms
    for revision in (1, 2):
        for place, bucket in enumerate(buckets):
            if revision == 2 and place % 3:
                continue
            record = templates[place % len(templates)] | {
                "action_id": f"a{place}",
                "bucket": bucket,
                "revision": revision,
                "reward": (place % 7) * 100 * (revision - 1),
                "outcomes": [],
                "expires_at_ms": 1 << 50,
                "event_time_ms": max(buckets[: place + 1] if revision == 1 else buckets) * bucket_ms,
                "is_erased": False,
                "tallies": [],
            }
            made[place % 2].append(avro.encode("reward", record))
    return made


OLD_POLICIES = {
    "beta": plain_policy(**HOW, forgetting=HOURS, guardrails={"caps": [{"arm": "a", "share": 0.9, "window": "1h"}]}),
    "linear": linear_policy(**HOW, forgetting=HOURS),
    "nothing forgotten": plain_policy(**HOW),
}


@pytest.mark.parametrize("name", OLD_POLICIES)
@settings(max_examples=25, deadline=None)
@given(ages=st.lists(st.integers(0, 40) | st.integers(0, 20_000), min_size=1, max_size=60))
def test_what_is_old_and_counted_together_is_proven_refunds_of_it_included(name, ages):
    made = aged(OLD_POLICIES[name], [30_000 - age for age in sorted(ages, reverse=True)])
    snapshot, rows = published(OLD_POLICIES[name], made, [len(part) for part in made])
    assert proven(snapshot, made).difference is None
    assert first_difference(snapshot, define(OLD_POLICIES[name]), rows.rows, rows.event_time_ms) is None


@pytest.mark.parametrize("name", AGED_MUTANTS)
def test_a_fault_in_how_old_buckets_count_is_seen_by_other_code(name, monkeypatch):
    policy = OLD_POLICIES["beta"]
    # 5,400 buckets of 20 s are the window's 30 h: some lie on each side of it, by less than a bucket too.
    made = aged(policy, [30_000 - age for age in (*range(6_000, 0, -37), 5_399, 5_400, 5_401, *range(50, -1, -1))])
    ends = [len(part) for part in made]
    right, _ = published(policy, made, ends)
    assert proven(right, made).difference is None
    AGED_MUTANTS[name](monkeypatch)
    wrong, rows = published(policy, made, ends)
    assert first_difference(wrong, define(policy), rows.rows, rows.event_time_ms) is None
    assert proven(wrong, made).difference is not None


def test_a_snapshot_of_a_release_without_spans_is_proven_as_it_counted():
    policy = OLD_POLICIES["beta"]
    made = aged(policy, range(29_000, 30_001, 25))
    ends = [len(part) for part in made]
    now, rows = published(policy, made, ends)
    by_bucket = AgedRows(rows.rows, coarsens=False)
    marks = {number: Mark(end, rows.event_time_ms) for number, end in enumerate(ends)}
    before = snapshot_fields(define(policy), by_bucket, marks, 1, "")
    assert before["posterior_sha256"] != now["posterior_sha256"]
    assert before["segments"] != now["segments"]
    assert proven(before, made).difference is None
    assert proven(before | {"segments": now["segments"]}, made).difference is not None


def played(policy: Plain) -> Ledger:
    """Return the ledger of some decisions in two partitions, the first of which are erased in the end."""
    data = traffic_of(policy, 60, 120_000, Rolled(7))
    world_ = world(data, partitions=2, is_replay=False, forgets=True, step_rows=2_000)
    for now_ms in range(START_MS, START_MS + 160_000, 1_000):
        for number, join in enumerate(world_.joins):
            for stream in join.topics:
                join.read(stream, len(join.topics[stream]), now_ms=now_ms)
            del number
    made = [list(join.ledger) for join in world_.joins]
    for part in made:
        latest = avro.decode_as("reward", part[-1])
        # Just decided, so not expired: LEARN takes back what it remembers.
        gone = {"revision": 1 << 62, "is_erased": True, "reward": 0, "outcomes": [], "decision": b"", "tallies": []}
        part.append(avro.encode("reward", latest | gone))
    return made


@pytest.mark.parametrize("name", MUTANTS)
def test_a_fault_that_verify_has_in_common_with_the_stages_is_seen_by_other_code(name, monkeypatch):
    mutant = MUTANTS[name]
    made = played(mutant.policy)
    ends = [len(part) for part in made]
    right, _ = published(mutant.policy, made, ends)
    assert proven(right, made).difference is None
    mutant.apply(monkeypatch)
    wrong, rows = published(mutant.policy, made, ends)
    # What `pipeline verify` does: fold again, and compare.
    assert first_difference(wrong, define(mutant.policy), rows.rows, rows.event_time_ms) is None
    assert proven(wrong, made).difference is not None


def test_an_empty_prefix_is_proven():
    snapshot, _ = published(plain_policy(), [[]], [0])
    assert proven(snapshot, [[]]) == Proof(None)


def test_what_has_no_short_equations_is_named_and_its_sums_are_proven_all_the_same():
    policy = ensemble_policy(**HOW)
    made = played(policy)
    snapshot, _ = published(policy, made, [len(part) for part in made])
    proof = proven(snapshot, made)
    assert proof.difference is None
    assert proof.left_out == ("parameters of linear_ensemble (posterior_sha256 covers the sums)",)
