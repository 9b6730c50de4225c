from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.policy.durations import duration_text, parse_duration_ms


@pytest.mark.parametrize(
    ("text", "duration_ms"),
    [("250ms", 250), ("30s", 30_000), ("10m", 600_000), ("12h", 43_200_000), ("30d", 2_592_000_000), ("0s", 0)],
)
def test_reads_a_whole_number_and_a_unit(text, duration_ms):
    assert parse_duration_ms(text) == duration_ms


@pytest.mark.parametrize("text", ["", "30", "s", "1.5h", "-1s", "1 s", "1S", "1w", "1s\n", "\u0661s", "1" * 13 + "s"])
def test_anything_else_is_no_duration(text):
    assert parse_duration_ms(text) is None


@given(st.integers(0, 366 * 86_400_000))
def test_text_reads_back_as_the_same_duration(duration_ms):
    assert parse_duration_ms(duration_text(duration_ms)) == duration_ms
