"""What every algorithm must obey from statistics to decision: published, loaded, decided with, proven."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import numpy as np
import pytest

from pipeline.codec import avro
from pipeline.learn.memory import RowKey
from pipeline.models import ALGORITHMS
from pipeline.models.sums.statistics import Statistics, contributions
from pipeline.models.sums.tally import row_of, rows_beside
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.reward import Credit
from pipeline.policy.tallies import Shown, tallies_of
from pipeline.publish.derivation import Derivation
from pipeline.publish.partials import Mark, PartialKey, Partials
from pipeline.publish.snapshot import build_snapshot, posterior_sha256, snapshot_fields
from pipeline.replay.proof.compare import first_difference
from pipeline.serve.decision.decide import Decided, decide
from pipeline.serve.following.snapshot import load_snapshot
from tests.naive.fold import sha256_of
from tests.samples import define
from tests.traffic import plain_sums

ONE = 2**15
FLOOR = 0.02
SOURCES = 3
ARMS = ("a", "b", "c", "d")


def plain_for(algorithm: str) -> dict[str, Any]:
    """Give a policy with all that can be said of arms and forgetting; the algorithm's parameters are written out."""
    info = ALGORITHMS[algorithm]
    parameters = {name: one.default for name, one in info.parameters.items() if not one.is_implied}
    features = {"price": 0.5, "size": -1.0}
    return {
        "name": "homepage",
        "generation": 1,
        "arms": [
            {"name": "a", "prior": {"mean": 0.3, "weight": 5.0}, "features": features},
            {"name": "b", "features": features | {"price": 1.0}},
            {"name": "c", "features": features | {"size": 0.25}},
            {"name": "d", "features": features, "retired": True},
        ],
        "segments": {"default": "other", "rules": [{"name": "new", "when": {"visits": {"below": 2}}}]},
        "algorithm": {"name": algorithm, **parameters},
        "reward": {"low": 0.0, "high": 1.0, "outcomes": [{"kind": "click", "worth": 1.0, "window": "10s"}]},
        "exploration": {"floor": FLOOR},
        "statistics": {"bucket": "20s"},
        "forgetting": {"half_life": "1m", "window": "2m"},
        **({"context": [{"name": "x", "kind": "numeric", "low": -1, "high": 1}]} if info.needs_context else {}),
    }


# Three units over (1, x): what lies to the right, to the left, and beside the middle.
UNITS = np.array([[0, 4096], [0, -4096], [1024, 2048]], "<i2")
ENCODER = {"layers": [{"units": 3, "weights": b64encode(UNITS.tobytes()).decode()}]}


CLICK = {"kind": "click", "worth": 0.4, "window": "2m"}
BASKET = {"kind": "basket", "worth": 0.05, "window": "90s", "times_value": True, "value_low": 0.0, "value_high": 10.0}
# What a policy may be beside its algorithm: counted apart, by delays, both; with an encoder where it has features.
APART = {"reward": {"low": 0.0, "high": 1.0, "combine": "weighted", "outcomes": [CLICK, BASKET]}}
DELAYS = {
    "reward": {"low": 0.0, "high": 1.0, "combine": "max", "outcomes": [CLICK, BASKET]},
    "attribution": {"settle": "delay_corrected"},
}
SORTS = {"": {}, "encoder": {"encoder": ENCODER}, "apart": APART, "delays": DELAYS, "both": DELAYS | APART}


@pytest.fixture(
    params=[
        (name, sort)
        for name, info in ALGORITHMS.items()
        for sort in SORTS
        if (sort != "encoder" or info.needs_context)
        and (sort not in {"apart", "both"} or not (info.counts_contexts or info.counts_groups))
    ],
    ids=lambda param: ", ".join(filter(None, param)),
)
def plain(request) -> dict[str, Any]:
    name, sort = request.param
    return plain_for(name) | SORTS[sort]


@pytest.fixture
def definition(plain) -> PolicyDefinition:
    return define(plain)


def parts_of(definition: PolicyDefinition) -> list[tuple[PartialKey, Statistics]]:
    """Give every row's part of every source: segments, arms, and buckets from new to forgotten."""
    rng = np.random.default_rng(41)
    dimension = definition.dimension
    parts = []
    for segment in ("other", "new"):
        for arm in ARMS[:3]:
            for bucket in range(8):
                for source in range(SOURCES):
                    X = rng.integers(-(2**12), 2**12, (5, dimension)).astype(np.int16)
                    X[:, :1] = 2**12
                    key = RowKey("homepage", 1, segment, arm, bucket)
                    rows = counted_for(definition, X, rng)
                    parts += [(PartialKey(key._replace(tally=name), source), row) for name, row in rows.items()]
    return parts


def counted_for(definition: PolicyDefinition, X: np.ndarray, rng: np.random.Generator) -> dict[str, Statistics]:
    """Give what five decisions count for, sums and tallies: two kinds came of some, and two have settled."""
    rewards, tallies = [], []
    for row, late in enumerate((rng.integers(0, 2, (len(X), 2)) * 1_000).tolist()):
        credited = [
            Credit(rule.kind, rule.kind, 2.5 if rule.times_value else 1.0, ms)
            for rule, ms in zip(definition.reward.outcomes, late, strict=False)
            if ms
        ]
        vector = X[row].astype("<i2").tobytes()
        shown = Shown(0, vector, float(rng.uniform(FLOOR, 1.0)), f"x{rng.integers(10**9)}")
        tallies += tallies_of(definition, credited, shown, is_settled=row < 2)
        rewards.append(definition.reward.combine(credited))
    widths = {tally.row: tally.width for tally in tallies if tally.width}
    of_each = {name: row_of((one for one in tallies if one.row == name), width) for name, width in widths.items()}
    beside = rows_beside(tallies)
    for name in sorted(set(beside)):
        mine = np.array([row == name for row in beside])
        of_each[name] = Statistics(definition.dimension, contributions(X[mine], np.array(rewards)[mine]))
    return {"": Statistics(definition.dimension, contributions(X, rewards)), **of_each}


def gathered(parts: list[tuple[PartialKey, Statistics]]) -> list[tuple[RowKey, Statistics]]:
    """Take in the parts in their order, each twice: it was redelivered."""
    partials = Partials()
    for key, statistics in parts * 2:
        partials.stage(key, 1, statistics)
    for source in range(SOURCES):
        partials.mark(source, Mark(1, 0))
    return list(partials.rows())


def content(definition: PolicyDefinition, rows: list[tuple[RowKey, Statistics]]) -> bytes:
    return build_snapshot(definition, rows, {}, version=1, parent="")


def test_the_snapshot_is_the_same_bytes_whatever_the_order_of_delivery(definition):
    parts = parts_of(definition)
    shuffled = [parts[i] for i in np.random.default_rng(42).permutation(len(parts))]
    assert content(definition, gathered(shuffled)) == content(definition, gathered(parts))


def test_the_snapshot_is_the_same_bytes_whatever_the_partitioning(definition):
    parts = parts_of(definition)
    elsewhere = [(PartialKey(key.row, SOURCES - 1 - key.source), statistics) for key, statistics in parts]
    assert content(definition, gathered(elsewhere)) == content(definition, gathered(parts))


def test_going_on_from_the_snapshot_before_gives_the_same_bytes_as_beginning_anew(definition):
    parts = parts_of(definition)
    rng = np.random.default_rng(43)
    known = Derivation()
    for round_ in range(5):
        # Nothing at first, then some of the rows in every round, and once what is there already; tallies with sums.
        chances = {(key.row._replace(tally=""), key.source): rng.random() for key, _ in parts}
        places = {which: place for place, which in enumerate(chances)}
        seen = []
        for key, row in parts:
            which = key.row._replace(tally=""), key.source
            if places[which] % 4 < min(round_, 3) or chances[which] < 0.02 * round_:
                seen.append((key, row))
        rows = gathered(seen)
        anew = snapshot_fields(definition, rows, {}, version=1, parent="")
        assert snapshot_fields(definition, rows, {}, version=1, parent="", known=known) == anew


def test_a_bucket_whose_decisions_were_all_erased_leaves_no_trace(definition):
    rows = gathered(parts_of(definition))
    # Far newer than all that count, as where the only decision of the day was erased.
    erased = [
        (key._replace(bucket=10**8), Statistics(row.dimension, np.zeros_like(row.sums)))
        for key, row in rows
        if key.bucket == 0
    ]
    assert content(definition, rows + erased) == content(definition, rows)


def test_the_hash_is_the_naive_one(plain, definition):
    rows = gathered(parts_of(definition))
    sums = plain_sums(rows)
    assert posterior_sha256(definition, rows) == sha256_of(plain, 15, sums)


def test_a_published_posterior_is_proven_by_its_rows_and_by_no_others(definition):
    rows = gathered(parts_of(definition))
    record = avro.decode_as("snapshot", content(definition, rows))
    assert first_difference(record, definition, rows) is None
    assert first_difference(record, definition, rows[1:]) is not None


def test_decisions_keep_the_floor_and_log_the_entry_that_was_drawn_from(definition):
    snapshot = load_snapshot(content(definition, gathered(parts_of(definition))))
    for visits in (1, 5):
        for eligible in (None, ["a", "c"]):
            answers = [
                decide(
                    snapshot,
                    "homepage",
                    {"visits": visits, "x": 0.4},
                    eligible,
                    rng=np.random.default_rng(7),
                    action_id="x",
                    now_ms=0,
                )
                for _ in range(2)
            ]
            first, second = answers
            assert isinstance(first, Decided)
            assert first == second, "the same seed, another choice"
            assert first.fallback is None
            probabilities = first.probabilities
            assert abs(sum(probabilities.values()) - 1) < 1e-12
            assert min(probabilities.values()) >= FLOOR
            assert first.propensity == probabilities[first.arm]
