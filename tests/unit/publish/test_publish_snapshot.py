from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from pipeline.codec import avro
from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics
from pipeline.policy.parsing.parse import load_canonical_json
from pipeline.publish.aged_rows import AgedRows
from pipeline.publish.merging import merge_buckets
from pipeline.publish.partials import Mark
from pipeline.publish.snapshot import build_snapshot, posterior_sha256, snapshot_id
from pipeline.replay.proof.compare import first_difference
from tests.naive.fold import sha256_of
from tests.samples import define, linear_policy, plain_policy

ONE = 2**15


def row(*sums: int, dimension: int = 0) -> Statistics:
    return Statistics(dimension, np.array(sums, np.int64))


def key(segment: str, arm: str, bucket: int = 0) -> RowKey:
    return RowKey("homepage", 1, segment, arm, bucket)


ROWS = [
    (key("new", "a"), row(4, ONE, ONE**2)),
    (key("new", "a", 1), row(1, ONE, ONE**2)),
    (key("other", "b"), row(2, 0, 0)),
]


def snapshot(plain=None, rows=ROWS, marks=None, version=1, parent="") -> dict:
    content = build_snapshot(define(plain or plain_policy()), rows, marks or {}, version, parent)
    return avro.decode_as("snapshot", content)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def parameters(record: dict, segment: str) -> dict[str, np.ndarray]:
    (found,) = [one for one in record["segments"] if one["segment"] == segment]
    return {p["name"]: np.frombuffer(p["data"], "<f8").reshape(p["shape"]) for p in found["parameters"]}


def test_the_hash_is_that_of_the_documented_text():
    first = '[["new","a","",[4,32768,1073741824]],["other","b","",[2,0,0]]]'
    second = '[["new","a","",[1,32768,1073741824]]]'
    spans = [f'[{bucket},"{sha256(text)}"]' for bucket, text in enumerate((first, second))]
    text = (
        '{"algorithm":["beta_thompson",[["prior_alpha",1.0],["prior_beta",1.0]]],"reward_exponent":15,'
        f'"spans":[{",".join(spans)}]}}'
    )
    assert posterior_sha256(define(plain_policy()), ROWS) == sha256(text)


def test_a_snapshot_of_a_release_without_spans_is_proven_by_its_own_hash():
    # Two decisions 160 buckets apart, weighed by each's own age then, and within the spans of the older one now.
    plain = plain_policy(forgetting={"half_life": "10m"})
    rows = [(key("new", "a", bucket), row(1, ONE, ONE**2)) for bucket in (0, 1, 160)]
    text = (
        '{"algorithm":["beta_thompson",[["prior_alpha",1.0],["prior_beta",1.0]]],"forgetting":[600000,null,20000],'
        '"reward_exponent":15,"rows":[["new","a",0,0,[1,32768,1073741824]],["new","a",1,0,[1,32768,1073741824]],'
        '["new","a",160,0,[1,32768,1073741824]]]}'
    )
    definition = define(plain)
    old = build_snapshot(definition, AgedRows(rows, coarsens=False), {}, 1, "")
    record = avro.decode_as("snapshot", old)
    assert record["posterior_sha256"] == sha256(text)
    # 30 buckets to a half-life: 2^-(160/30) and 2^-(159/30).
    alpha = parameters(record, "new")["alpha"][0]
    assert alpha == pytest.approx(1 + 1 + 2 ** (-160 / 30) + 2 ** (-159 / 30), abs=1e-9)
    assert first_difference(record, definition, rows) is None
    assert first_difference(record, definition, rows[1:]) is not None
    now = snapshot(plain, rows)
    # Of 8 buckets each, 0 to 7 counts as bucket 4 does: 160 - 7 is at least 16 · 8.
    assert parameters(now, "new")["alpha"][0] == pytest.approx(1 + 1 + 2 * 2 ** (-156 / 30), abs=1e-9)
    assert first_difference(now, definition, rows) is None


def test_the_hash_does_not_depend_on_the_order_of_rows_and_leaves_empty_ones_out():
    definition = define(plain_policy())
    mixed = [(key("new", "b"), Statistics.zero(0)), *reversed(ROWS)]
    assert posterior_sha256(definition, mixed) == posterior_sha256(definition, ROWS)


@pytest.mark.parametrize("change", [0, 1, 2])
def test_the_hash_changes_with_every_sum(change):
    definition = define(plain_policy())
    sums = [4, ONE, ONE**2]
    sums[change] += 1
    assert posterior_sha256(definition, [(ROWS[0][0], row(*sums)), *ROWS[1:]]) != posterior_sha256(definition, ROWS)


@pytest.mark.parametrize("ridge", [1e-6, 1e-5, 0.0001, 1.0, 1e6])
def test_the_hash_writes_numbers_as_canonical_json_does(ridge):
    plain = linear_policy()
    plain["algorithm"]["ridge"] = ridge
    sums = {("new", "a", 0): [1, 0, 0, 0, 0, 0, *[0] * 6]}
    # Rewards between -2 and 3: 3 · 2^13 is below 2^15, 3 · 2^14 is not.
    rows = [(key("new", "a"), row(*sums["new", "a", 0], dimension=3))]
    assert posterior_sha256(define(plain), rows) == sha256_of(plain, 13, sums)


KNOWN = [
    {"name": "b", "features": {"y": 1, "x": 0}, "prior": {"mean": 0.25, "weight": 8}},
    {"name": "a", "features": {"y": 2, "x": 0.5}},
]


@pytest.mark.parametrize(
    "others",
    [
        {"forgetting": {"half_life": "1m"}},
        {"forgetting": {"half_life": "90s", "window": "40s"}},
        {"arms": KNOWN},
        {"arms": KNOWN, "forgetting": {"window": "20s"}},
    ],
)
def test_the_hash_covers_what_is_known_beforehand_and_what_is_forgotten(others):
    plain = plain_policy(**others)
    sums = {(key.segment, key.arm, key.bucket): row.sums.tolist() for key, row in ROWS}
    assert posterior_sha256(define(plain), ROWS) == sha256_of(plain, 15, sums)
    assert posterior_sha256(define(plain), ROWS) != posterior_sha256(define(plain_policy()), ROWS)


def test_the_hash_with_everything_in_it_is_that_of_the_documented_text():
    plain = plain_policy(arms=KNOWN, forgetting={"half_life": "1m"})
    # The widest variance of rewards in [0, 1] with the mean 1/4: 1/4 * 3/4 = 3/16.
    text = (
        '{"algorithm":["beta_thompson",[["prior_alpha",1.0],["prior_beta",1.0]]],'
        '"arms":[["a",null,[["x",0.5],["y",2.0]]],["b",[0.25,8.0,0.1875],[["x",0.0],["y",1.0]]]],'
        '"forgetting":[60000,null,20000],"reward_exponent":15,"spans":[]}'
    )
    assert posterior_sha256(define(plain), []) == hashlib.sha256(text.encode()).hexdigest()


def test_old_buckets_count_less_from_the_policy_s_newest_on():
    # Buckets of 20 s, a half-life of 40 s, a window of 80 s; the newest bucket of any segment and arm is 9:
    #   bucket   9    8      7    6        5
    #   age s    0    20     40   60       80
    #   weight   1    2^-½   ½    2^-1½    0
    rows = [
        (key("new", "a", 5), row(1000, 0, 0)),
        (key("new", "a", 6), row(8, ONE, ONE**2)),
        (key("new", "a", 7), row(4, 2 * ONE, 2 * ONE**2)),
        (key("other", "b", 9), row(2, 0, 0)),
    ]
    record = snapshot(plain_policy(forgetting={"half_life": "40s", "window": "80s"}), rows)
    # Σr = 2^-1.5 + 1,  n - Σr = 7 * 2^-1.5 + 1
    assert parameters(record, "new")["alpha"].tolist() == pytest.approx([1 + 2**-1.5 + 1, 1], rel=1e-9)
    assert parameters(record, "new")["beta"].tolist() == pytest.approx([1 + 7 * 2**-1.5 + 1, 1], rel=1e-9)
    assert parameters(record, "other")["beta"].tolist() == [1, 3]
    # What was counted is told whole.
    assert record["segments"][0]["counts"] == [1012, 0]


def test_a_row_without_decisions_makes_nothing_older():
    plain = plain_policy(forgetting={"window": "20s"})
    late = (key("new", "b", 99), Statistics.zero(0))
    assert snapshot(plain, [*ROWS, late])["segments"] == snapshot(plain)["segments"]


def test_a_prior_counts_like_decisions_made_before():
    record = snapshot(plain_policy(arms=KNOWN), rows=ROWS)
    # 8 decisions of mean 1/4: 2 successes, 6 failures; sorted by name, b is the second arm.
    assert parameters(record, "new")["alpha"].tolist() == [3.0, 1.0 + 2.0]
    assert parameters(record, "new")["beta"].tolist() == [4.0, 1.0 + 6.0]
    assert parameters(record, "other")["beta"].tolist() == [1.0, 1.0 + 6.0 + 2.0]
    assert record["segments"][1]["counts"] == [0, 2]


def test_a_linear_prior_is_decisions_of_which_only_the_intercept_is_known():
    plain = linear_policy()
    plain["arms"][0]["prior"] = {"mean": 1.5, "weight": 9}
    record = snapshot(plain, rows=[])
    # λ = 1: θ₀ = 9 * 1.5 / (9 + 1)
    assert parameters(record, "other")["theta"].tolist() == [[pytest.approx(1.35, rel=1e-12), 0, 0], [0, 0, 0]]
    assert parameters(record, "other")["covariance"][0].tolist() == [[pytest.approx(0.1), 0, 0], [0, 1, 0], [0, 0, 1]]


def test_buckets_are_summed_by_segment_and_arm():
    merged = merge_buckets(ROWS)
    assert {name: statistics.sums.tolist() for name, statistics in merged.items()} == {
        ("new", "a"): [5, 2 * ONE, 2 * ONE**2],
        ("other", "b"): [2, 0, 0],
    }


def test_every_segment_and_arm_of_the_policy_is_in_with_or_without_data():
    record = snapshot()
    assert [segment["segment"] for segment in record["segments"]] == ["new", "other"]
    for segment in record["segments"]:
        assert segment["arms"] == ["a", "b"]
    assert [segment["counts"] for segment in record["segments"]] == [[5, 0], [0, 2]]
    assert [segment["reward_sums"] for segment in record["segments"]] == [[2 * ONE, 0], [0, 0]]
    # alpha = 1 + Σr, beta = 1 + n - Σr
    assert parameters(record, "new")["alpha"].tolist() == [3.0, 1.0]
    assert parameters(record, "new")["beta"].tolist() == [4.0, 1.0]


def test_a_segment_that_the_policy_no_longer_has_keeps_its_posterior():
    record = snapshot(rows=[*ROWS, (key("vip", "b"), row(1, 0, 0))])
    assert [segment["segment"] for segment in record["segments"]] == ["new", "other", "vip"]


def test_a_linear_posterior_has_its_arms_first():
    record = snapshot(linear_policy(), rows=[])
    shapes = {name: array.shape for name, array in parameters(record, "other").items()}
    assert shapes == {"theta": (2, 3), "covariance": (2, 3, 3)}


def test_a_snapshot_says_what_it_was_made_from():
    definition = define(plain_policy())
    record = snapshot(marks={3: Mark(40, 700), 0: Mark(9, 600)}, version=7, parent="ab" * 32)
    assert record["ledger_offsets"] == [{"partition": 0, "offset": 9}, {"partition": 3, "offset": 40}]
    assert (record["event_time_ms"], record["version"], record["parent"]) == (600, 7, "ab" * 32)
    assert record["posterior_sha256"] == posterior_sha256(definition, ROWS)
    assert record["definition_hash"] == hashlib.sha256(record["definition"].encode()).hexdigest()
    assert record["definition_hash"] == definition.definition_hash
    assert load_canonical_json(record["definition"], "the snapshot") == definition
    assert json.loads(record["definition"])["name"] == "homepage"


def test_equal_statistics_give_equal_bytes_and_an_id_that_is_their_sha_256():
    definition = define(plain_policy())
    contents = {build_snapshot(definition, list(rows), {}, 1, "") for rows in (ROWS, reversed(ROWS))}
    (content,) = contents
    assert snapshot_id(content) == hashlib.sha256(content).hexdigest()
    assert build_snapshot(definition, ROWS, {}, 2, "") != content
