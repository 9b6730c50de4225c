from __future__ import annotations

from copy import deepcopy
from fractions import Fraction

import numpy as np
import pytest

from pipeline.errors import ConfigError, InvalidRecordError
from pipeline.policy.canonical import to_canonical_json
from pipeline.policy.changes import check_change
from pipeline.policy.encoder import Encoder, Layer
from pipeline.policy.parsing.parse import load_canonical_json, load_policy
from pipeline.policy.parsing.toml import to_toml
from tests.samples import define, linear_policy

ONE = 4096
LARGEST = np.iinfo(np.int16).max


def some_encoder(inputs: int = 2, units: tuple[int, ...] = (5, 3), largest: int = ONE, seed: int = 1) -> Encoder:
    rng = np.random.default_rng(seed)
    widths = zip(units, (inputs, *units), strict=False)
    return Encoder(tuple(Layer(rng.integers(-largest, largest, (n, 1 + m)).astype(np.int16)) for n, m in widths))


def encoded(**others) -> dict:
    return linear_policy(encoder=some_encoder().to_plain(), **others)


def in_integers(encoder: Encoder, vector: list[int]) -> list[int]:
    """What the module says, in Python's own integers."""
    for layer in encoder.layers:
        sums = [sum(w * x for w, x in zip(row, vector, strict=True)) for row in layer.weights.tolist()]
        vector = [ONE, *(min(max(round(Fraction(one, ONE)), 0), LARGEST) for one in sums)]
    return vector


@pytest.mark.parametrize("largest", [ONE, LARGEST])
def test_a_batch_and_each_context_come_to_the_integers_of_the_formula(largest):
    encoder = some_encoder(inputs=255, units=(255, 64), largest=largest)
    vectors = np.random.default_rng(2).integers(-largest, largest, (20, 256)).astype(np.int16)
    vectors[:, 0] = ONE
    vectors[0, 1:] = LARGEST
    found = encoder.encode(vectors)
    assert found.tolist() == [in_integers(encoder, row) for row in vectors.tolist()]
    assert [encoder.encode(row[None])[0].tolist() for row in vectors] == found.tolist()
    assert found.dtype == np.int16


def test_a_half_goes_to_the_even_neighbour_and_less_than_nothing_is_nothing():
    # Sums of 1.5, 2.5 and -9 steps after the division by 4096: x is 1 step, the weights 6144, 10240, -36864 / 4096.
    encoder = Encoder((Layer(np.array([[0, 6144], [0, 10240], [0, -9 * 3640]], np.int16)),))
    assert encoder.encode(np.array([[ONE, 1]], np.int16)).tolist() == [[ONE, 2, 2, 0]]


def test_the_features_of_a_policy_go_through_its_encoder():
    definition, plain = define(encoded()), define(linear_policy())
    context = {"x": 0.5, "y": 3}
    assert definition.dimension == 4
    assert definition.features.encode(context).tolist() == in_integers(
        some_encoder(), plain.features.encode(context).tolist()
    )
    vectors, errors = definition.features.encode_many([context, {"x": 9, "y": 3}])
    assert vectors[0].tolist() == definition.features.encode(context).tolist()
    assert not vectors[1].any()
    assert isinstance(errors[1], InvalidRecordError)
    assert definition.features.encode_many([])[0].shape == (0, 4)


def test_a_policy_with_an_encoder_comes_back_from_its_texts():
    definition = define(encoded())
    assert load_policy(to_toml(definition.to_plain()), "written") == definition
    again = load_canonical_json(to_canonical_json(definition), "record")
    assert (again, again.definition_hash) == (definition, definition.definition_hash)


def test_encodings_have_hashes_of_their_own():
    other = linear_policy(encoder=some_encoder(seed=2).to_plain())
    hashes = {define(plain).schema_hash for plain in (linear_policy(), encoded(), other)}
    assert len(hashes) == 3


def test_an_encoder_asks_for_a_generation_of_its_own():
    for old, new in ((linear_policy(), encoded()), (encoded(), linear_policy())):
        with pytest.raises(ConfigError) as refused:
            check_change(define(old), define(new))
        assert "made under another encoder; raise `generation` to 2" in refused.value.faults[0]
    check_change(define(linear_policy()), define(encoded(generation=2)))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"weights": "no base 64"}, "encoder.layers[0].weights: is not Base64"),
        ({"weights": "AAAA"}, "encoder.layers[0].weights: holds 3 bytes, expected 30: 5 units of 1 + 2 inputs"),
        ({"units": 256}, "encoder.layers[0].units: 256 is not a whole number from 1 to 255"),
        ({"unit": 5}, 'encoder.layers[0].unit: unknown key; did you mean "units"?'),
    ],
)
def test_a_layer_at_fault_is_named_with_what_is_wrong(change, fault):
    plain = deepcopy(encoded())
    plain["encoder"]["layers"][0] |= change
    with pytest.raises(ConfigError) as refused:
        define(plain)
    assert any(one.startswith(fault) for one in refused.value.faults), refused.value.faults


def test_an_encoder_without_features_is_refused():
    plain = encoded(algorithm={"name": "beta_thompson"})
    plain["context"] = []
    with pytest.raises(ConfigError) as refused:
        define(plain)
    assert "has no features to encode" in "; ".join(refused.value.faults)
