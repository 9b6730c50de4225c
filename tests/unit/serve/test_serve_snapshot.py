from __future__ import annotations

import gc
import hashlib
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.codec import avro
from pipeline.errors import DecodeError, StateError
from pipeline.models.chances.floor import apply_floor
from pipeline.policy.definition import PolicyDefinition
from pipeline.publish.snapshot import posterior_sha256
from pipeline.serve import load_snapshot
from pipeline.serve.following.snapshot import KEPT_VECTORS

CLICKS = {"news": (30, 100), "best": (40, 100), "fresh": (1, 2)}
NOTHING = np.zeros(0, np.int16)
Content = Callable[..., bytes]


def changed(content: bytes, **fields: Any) -> bytes:
    return avro.encode("snapshot", avro.decode_as("snapshot", content) | fields)


def first_segment(content: bytes, **fields: Any) -> bytes:
    segments = avro.decode_as("snapshot", content)["segments"]
    return changed(content, segments=[segments[0] | fields, *segments[1:]])


def test_a_snapshot_is_what_its_record_says(beta: PolicyDefinition, content_of: Content) -> None:
    content = content_of(beta, CLICKS)
    snapshot = load_snapshot(content)
    assert (snapshot.policy, snapshot.version) == ("homepage", 7)
    assert snapshot.id == hashlib.sha256(content).hexdigest()
    assert snapshot.definition == beta
    assert snapshot.ledger_offsets == {0: 120, 1: 80}
    assert snapshot.event_time_ms == 4_000
    assert snapshot.active == ("best", "fresh", "news")
    other = snapshot.segments["other"]
    assert other.arms == ("best", "fresh", "news", "old")
    # A prior of (1, 1), and clicks and views without a click: 40 and 60, 1 and 1, 30 and 70, none.
    assert other.posterior.parameters["alpha"].tolist() == [41.0, 2.0, 31.0, 1.0]
    assert other.posterior.parameters["beta"].tolist() == [61.0, 2.0, 71.0, 1.0]
    assert snapshot.segments["premium"].posterior.parameters["alpha"].tolist() == [1.0] * 4


def test_the_hash_of_the_posterior_is_carried_over(beta: PolicyDefinition, content_of: Content) -> None:
    assert load_snapshot(content_of(beta, {})).posterior_sha256 == posterior_sha256(beta, [])


def test_some_arms_stand_in_the_order_asked_for(beta: PolicyDefinition, content_of: Content) -> None:
    segment = load_snapshot(content_of(beta, CLICKS)).segments["other"]
    assert segment.of(("news", "best")).parameters["alpha"].tolist() == [31.0, 41.0]
    assert segment.of(segment.arms) is segment.posterior


def test_propensities_are_the_models_with_the_floor(beta: PolicyDefinition, content_of: Content) -> None:
    snapshot = load_snapshot(content_of(beta, CLICKS))
    arms = ("best", "news")
    weights = snapshot.model.probabilities(snapshot.segments["other"].of(arms), None)
    np.testing.assert_array_equal(snapshot.propensities("other", arms, NOTHING), apply_floor(weights, 0.05))


def test_the_floor_gives_way_where_the_arms_are_too_many_for_it(beta: PolicyDefinition, content_of: Content) -> None:
    # One active arm may have any floor, but here three are asked for, which can't have 0.5 each.
    greedy = replace(beta, floor=0.5, arms=beta.arms[:1])
    snapshot = load_snapshot(content_of(greedy, {}))
    assert snapshot.propensities("other", ("news",), NOTHING).tolist() == [1.0]
    crowded = replace(load_snapshot(content_of(beta, CLICKS)), definition=replace(beta, floor=0.5))
    thirds = crowded.propensities("other", crowded.active, NOTHING)
    np.testing.assert_allclose(thirds, [1 / 3] * 3, rtol=1e-15)


def test_without_context_a_vector_is_computed_once(
    beta: PolicyDefinition, content_of: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = load_snapshot(content_of(beta, CLICKS))
    first = snapshot.propensities("other", ("best", "news"), NOTHING)
    monkeypatch.setattr(type(snapshot.model), "probabilities", None)
    assert snapshot.propensities("other", ("best", "news"), NOTHING) is first
    # Those of all active arms were computed when the snapshot was tried out.
    for segment in snapshot.segments:
        assert len(snapshot.propensities(segment, snapshot.active, NOTHING)) == 3


def test_a_vector_that_is_kept_cannot_be_written_to(beta: PolicyDefinition, content_of: Content) -> None:
    vector = load_snapshot(content_of(beta, CLICKS)).propensities("other", ("best", "news"), NOTHING)
    with pytest.raises(ValueError, match="read-only"):
        vector[0] = 1.0


def test_two_snapshots_never_share_a_vector(beta: PolicyDefinition, content_of: Content) -> None:
    before = load_snapshot(content_of(beta, {"best": (90, 100), "news": (10, 100)}))
    after = load_snapshot(content_of(beta, {"best": (10, 100), "news": (90, 100)}, version=8))
    assert before.propensities("other", ("best", "news"), NOTHING)[0] > 0.9
    assert after.propensities("other", ("best", "news"), NOTHING)[0] < 0.1


def test_no_more_vectors_are_kept_than_the_bound(beta: PolicyDefinition, content_of: Content) -> None:
    names = [f"a{number}" for number in range(KEPT_VECTORS + 10)]
    many = replace(beta, arms=tuple(replace(beta.arms[0], name=name) for name in names), floor=0.0)
    snapshot = load_snapshot(content_of(many, {}))
    kept = [snapshot.propensities("other", (name,), NOTHING) for name in names]
    assert snapshot.propensities("other", (names[-1],), NOTHING) is kept[-1]
    assert snapshot.propensities("other", (names[0],), NOTHING) is not kept[0]


def test_a_snapshot_that_is_replaced_goes_with_its_vectors(beta: PolicyDefinition, content_of: Content) -> None:
    gone = weakref.ref(load_snapshot(content_of(beta, CLICKS)))
    gc.collect()
    assert gone() is None


def test_with_context_the_vector_depends_on_it(linear: PolicyDefinition, content_of: Content) -> None:
    snapshot = load_snapshot(content_of(linear, CLICKS))
    young, old = (linear.features.encode({"age": age, "device": "mobile"}) for age in (0, 100))
    assert snapshot.needs_context
    assert (
        snapshot.propensities("other", snapshot.active, young).tolist()
        != snapshot.propensities("other", snapshot.active, old).tolist()
    )


def test_what_is_no_snapshot_record_is_refused(beta: PolicyDefinition, content_of: Content) -> None:
    content = content_of(beta, CLICKS)
    with pytest.raises(DecodeError, match="not-decodable"):
        load_snapshot(b"")
    with pytest.raises(DecodeError, match="not-decodable"):
        load_snapshot(content[:-1])
    with pytest.raises(DecodeError, match="unexpected-record: a tick record where a snapshot belongs"):
        load_snapshot(avro.encode("tick", {"event_time_ms": 1}))


def test_a_record_that_contradicts_itself_is_refused(
    beta: PolicyDefinition, linear: PolicyDefinition, content_of: Content
) -> None:
    content = content_of(beta, CLICKS)
    with pytest.raises(StateError, match=r"snapshot homepage version 7: its definition has hash"):
        load_snapshot(changed(content, definition_hash="0" * 64))
    with pytest.raises(StateError, match="its definition is that of policy 'homepage'"):
        load_snapshot(changed(content, policy="checkout"))
    with pytest.raises(StateError, match="this release encodes contexts by feature schema"):
        load_snapshot(changed(content, schema_hash=linear.schema_hash))
    broken = "{}"
    with pytest.raises(StateError, match="name: missing"):
        load_snapshot(changed(content, definition=broken, definition_hash=hashlib.sha256(broken.encode()).hexdigest()))


def test_a_segment_that_could_not_decide_is_refused(beta: PolicyDefinition, content_of: Content) -> None:
    content = content_of(beta, CLICKS)
    ones, nans = np.ones(4).tobytes(), np.full(4, np.nan).tobytes()

    def parameters(data: bytes, shape: int) -> list[dict[str, Any]]:
        return [{"name": name, "shape": [shape], "data": data} for name in ("alpha", "beta")]

    with pytest.raises(StateError, match="takes 24 bytes"):
        load_snapshot(first_segment(content, parameters=parameters(ones, 3)))
    with pytest.raises(StateError, match=r"has 4 posteriors for the 3 arms"):
        load_snapshot(first_segment(content, arms=["best", "fresh", "news"]))
    with pytest.raises(StateError, match=r"has 4 posteriors for the 4 arms"):
        load_snapshot(first_segment(content, arms=["best", "best", "fresh", "news"]))
    with pytest.raises(StateError, match=r"has no posterior of the active arms \['news'\]"):
        load_snapshot(first_segment(content, arms=["best", "fresh", "newt", "old"]))
    with pytest.raises(StateError, match="are no finite numbers"):
        load_snapshot(first_segment(content, parameters=parameters(nans, 4)))
    with pytest.raises(StateError, match="alpha"):
        load_snapshot(first_segment(content, parameters=[{"name": "theta", "shape": [4], "data": ones}]))


def test_a_posterior_of_another_dimension_is_refused(linear: PolicyDefinition, content_of: Content) -> None:
    content = content_of(linear, CLICKS)
    thetas = {"name": "theta", "shape": [4, 3], "data": np.ones((4, 3)).tobytes()}
    covariances = {"name": "covariance", "shape": [4, 3, 3], "data": np.ones((4, 3, 3)).tobytes()}
    with pytest.raises(StateError, match=r"needs a context vector of shape \(3,\): seen \(4,\)"):
        load_snapshot(first_segment(content, parameters=[covariances, thetas]))


def test_arrays_that_are_none_are_refused(beta: PolicyDefinition, content_of: Content) -> None:
    content = content_of(beta, CLICKS)
    with pytest.raises(StateError, match="snapshot homepage version 7"):
        load_snapshot(first_segment(content, parameters=[{"name": "alpha", "shape": [], "data": bytes(8)}]))
    with pytest.raises(StateError, match="snapshot homepage version 7"):
        load_snapshot(first_segment(content, parameters=[{"name": "alpha", "shape": [-2, -2], "data": bytes(32)}]))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0.0, 1.0, exclude_max=True), byte=st.integers(0, 255), is_linear=st.booleans())
def test_a_changed_byte_is_refused_or_harmless_and_never_anything_else(
    place: float, byte: int, is_linear: bool, beta: PolicyDefinition, linear: PolicyDefinition, content_of: Content
) -> None:
    content = bytearray(content_of(linear if is_linear else beta, CLICKS))
    content[int(place * len(content))] = byte
    with suppress(DecodeError, StateError):
        load_snapshot(bytes(content))
