from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

from pipeline.codec import avro
from pipeline.errors import StateError
from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics, contributions
from pipeline.policy.definition import PolicyDefinition
from pipeline.publish.partials import Mark
from pipeline.publish.parts import (
    PART_BYTES,
    SnapshotContent,
    divide,
    part_key,
    part_names,
    part_of,
    rewards_counted,
    whole,
)
from pipeline.publish.snapshot import build_snapshot, snapshot_fields, snapshot_id
from pipeline.serve import load_snapshot
from tests.samples import define, linear_policy, plain_policy

FLOOR = {"floor": 1e-4}


def many_arms(count: int, policy: dict[str, Any]) -> PolicyDefinition:
    return define(policy | {"exploration": FLOOR, "arms": [{"name": f"arm-{number:05}"} for number in range(count)]})


def wide(count: int, features: int, algorithm: str = "linear_thompson") -> PolicyDefinition:
    """Give a policy of so many arms, and of `features` entries with the intercept."""
    context = [{"name": f"f{n}", "kind": "numeric", "low": -1.0, "high": 1.0} for n in range(features - 1)]
    policy = linear_policy() | {"algorithm": {"name": algorithm}, "context": context}
    if algorithm.startswith("hybrid"):
        arms = [{"name": f"arm-{n:05}", "features": {"price": n / count}} for n in range(count)]
        return define(policy | {"exploration": FLOOR, "arms": arms})
    return many_arms(count, policy)


def rows_of(definition: PolicyDefinition, arms: range, seen: int = 3, seed: int = 5) -> dict[RowKey, Statistics]:
    rng = np.random.default_rng(seed)
    rows = {}
    for segment in ("new", "other"):
        for number in arms:
            X = rng.integers(-4096, 4097, (seen, definition.dimension)).astype(np.int16)
            sums = contributions(X, rng.integers(0, 2, seen))
            rows[RowKey("homepage", 1, segment, f"arm-{number:05}", 0)] = Statistics(definition.dimension, sums)
    return rows


def fields_of(definition: PolicyDefinition, rows: dict[RowKey, Statistics], version: int = 1) -> dict[str, Any]:
    return snapshot_fields(definition, list(rows.items()), {0: Mark(9, 600)}, version=version, parent="")


def test_a_small_snapshot_is_one_record_as_ever():
    definition = many_arms(1_000, plain_policy())
    rows = rows_of(definition, range(9))
    content = divide(fields_of(definition, rows))
    assert content == (build_snapshot(definition, list(rows.items()), {0: Mark(9, 600)}, 1, ""), {})


@pytest.mark.parametrize("algorithm", ["linear_thompson", "lin_ucb", "hybrid_thompson"])
def test_what_was_cut_is_put_together_to_the_bit(algorithm: str):
    # 300 arms of 16 entries in two segments: 600 covariances of 2 KB are above a megabyte.
    definition = wide(300, 16, algorithm)
    fields = fields_of(definition, rows_of(definition, range(0, 300, 3)))
    content = divide(fields)
    assert len(content.parts) > 2
    restored = whole(content)
    assert restored["segments"] == fields["segments"]
    assert {**restored, "parts": []} == fields


def test_a_snapshot_loads_from_its_parts_as_from_one_record():
    definition = wide(300, 16)
    fields = fields_of(definition, rows_of(definition, range(40)))
    content = divide(fields)
    one, other = load_snapshot(content), load_snapshot(avro.encode("snapshot", fields))
    assert one.id == snapshot_id(content.record)
    for segment in ("new", "other"):
        arrays = other.segments[segment].posterior.arrays()
        for name, array in one.segments[segment].posterior.arrays().items():
            assert array.tobytes() == arrays[name].tobytes()


def test_a_symmetric_matrix_is_sent_as_its_triangle():
    # d = 32: a whole covariance is 8,192 bytes, its triangle 32 · 33 / 2 · 8 = 4,224; θ 256 and the rest below 50.
    definition = wide(300, 32)
    content = divide(fields_of(definition, rows_of(definition, range(30))))
    assert sum(len(part) for part in content.parts.values()) < 600 * (4_224 + 256 + 50)


def test_a_matrix_that_differs_in_the_sign_of_a_zero_is_sent_whole():
    definition = wide(150, 32)
    fields = fields_of(definition, rows_of(definition, range(30)))
    (matrices,) = (one for one in fields["segments"][0]["parameters"] if one["name"] == "covariance")
    altered = np.frombuffer(matrices["data"]).reshape(matrices["shape"]).copy()
    altered[7, 1, 0], altered[7, 0, 1] = 0.0, -0.0
    matrices["data"] = altered.tobytes()
    assert whole(divide(fields))["segments"] == fields["segments"]


def test_every_part_is_about_as_large_as_it_should_be_and_is_named_by_its_hash():
    definition = wide(300, 16)
    content = divide(fields_of(definition, rows_of(definition, range(300))))
    named = avro.decode_as("snapshot", content.record)["parts"]
    assert [part["sha256"] for part in named] == list(content.parts)
    for part in named:
        data = content.parts[part["sha256"]]
        assert hashlib.sha256(data).hexdigest() == part["sha256"]
        assert len(data) == part["size_bytes"] <= PART_BYTES
    assert len(content.record) < 20_000  # the definition's 300 arms are most of it


def test_rewards_are_counted_without_the_parts():
    definition = wide(300, 16)
    fields = fields_of(definition, rows_of(definition, range(20), seen=3))
    # 20 arms in two segments, 3 decisions each.
    assert rewards_counted(avro.decode_as("snapshot", divide(fields).record)) == 120 == rewards_counted(fields)


def test_one_changed_arm_is_one_changed_part():
    definition = wide(300, 16)
    rows = rows_of(definition, range(300))
    before = divide(fields_of(definition, rows))
    changed = rows_of(definition, range(100, 101), seed=6)
    after = divide(fields_of(definition, rows | {key: changed[key] for key in changed if key.segment == "new"}, 2))
    assert len(after.parts) == len(before.parts)
    assert len(after.parts.keys() - before.parts.keys()) == 1


def test_an_id_covers_every_bit_of_the_parts():
    definition = wide(300, 16)
    fields = fields_of(definition, rows_of(definition, range(5)))
    before = divide(fields)
    theta = fields["segments"][1]["parameters"][-1]
    theta["data"] = theta["data"][:-1] + bytes([theta["data"][-1] ^ 1])
    assert snapshot_id(divide(fields).record) != snapshot_id(before.record)


def test_a_part_that_is_missing_or_altered_is_refused():
    definition = wide(300, 16)
    content = divide(fields_of(definition, rows_of(definition, range(5))))
    first = part_names(avro.decode_as("snapshot", content.record))[0]
    with pytest.raises(StateError, match=f"part 0 of {len(content.parts)} is missing: {first}"):
        load_snapshot(SnapshotContent(content.record))
    altered = content.parts[first][:-1] + b"?"
    with pytest.raises(StateError, match=rf"part 0 of {len(content.parts)} has hash .*, its name is {first}"):
        load_snapshot(SnapshotContent(content.record, {**content.parts, first: altered}))


def test_a_part_s_key_is_no_policy_s():
    assert part_of(part_key("homepage", "ab" * 32)) == ("homepage", "ab" * 32)
    assert part_of(b"homepage") is part_of(b"homepage/directive") is part_of(b"homepage/2") is part_of(None) is None
