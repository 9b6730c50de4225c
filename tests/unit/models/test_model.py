from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import StateError
from pipeline.models.model import ArrayBytes, Posterior


def two_arms() -> Posterior:
    return Posterior({"mean": np.array([1.0, 2.0]), "spread": np.array([[1.0, 0.0], [0.0, 4.0]])})


def test_an_arm_is_an_entry_of_the_first_axis_of_every_array():
    posterior = two_arms()
    second = posterior.take([1])
    assert (posterior.arm_count, second.arm_count) == (2, 1)
    assert second.parameters["mean"].tolist() == [2.0]
    assert second.parameters["spread"].tolist() == [[0.0, 4.0]]


def test_taken_arms_stand_in_the_order_of_their_indices():
    assert two_arms().take([1, 0]).parameters["mean"].tolist() == [2.0, 1.0]


def test_arrays_with_different_numbers_of_arms_are_refused():
    with pytest.raises(StateError, match="one entry an arm each"):
        Posterior({"alpha": np.ones(2), "beta": np.ones(3)})


def test_arrays_cannot_be_changed_from_outside():
    mean = np.array([1.0])
    posterior = Posterior({"mean": mean})
    mean[0] = 7.0
    assert posterior.parameters["mean"][0] == 1.0
    for frozen in (posterior, posterior.take([0])):
        with pytest.raises(ValueError, match="read-only"):
            frozen.parameters["mean"][0] = 7.0


def test_bytes_are_little_endian_float64_row_major_whatever_the_memory_order():
    columns_first = np.asfortranarray([[1.0, 2.0], [3.0, 4.0]])
    arrays = Posterior({"theta": columns_first}).to_bytes()
    assert arrays == {"theta": ArrayBytes((2, 2), np.array([1.0, 2.0, 3.0, 4.0], "<f8").tobytes())}


def test_bytes_that_do_not_fill_their_shape_are_refused():
    with pytest.raises(StateError, match="takes 16 bytes: seen 8"):
        Posterior.from_bytes({"alpha": ArrayBytes((2,), bytes(8))})


def test_what_arms_share_stays_whole_and_comes_back_from_its_bytes():
    posterior = Posterior({"mean": np.array([1.0, 2.0])}, {"covariance": np.eye(3)})
    assert posterior.take([1]).shared["covariance"].shape == (3, 3)
    arrays = posterior.to_bytes()
    assert sorted(arrays) == ["mean", "shared.covariance"]
    again = Posterior.from_bytes(arrays)
    assert again.to_bytes() == arrays
    assert again.shared["covariance"].tolist() == np.eye(3).tolist()
