from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.policy.parsing.parse import load_policy
from pipeline.policy.parsing.toml import to_toml
from tests.samples import define, linear_policy, plain_policy

FILES = sorted((Path(__file__).parents[3] / "ops" / "policies").glob("*.toml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_policy_file_written_again_is_the_same_policy(file: Path):
    definition = load_policy(file.read_text("utf-8"), file.name)
    assert load_policy(to_toml(definition.to_plain()), "again") == definition


@pytest.mark.parametrize("plain", [plain_policy(), linear_policy()])
def test_a_definition_written_as_toml_is_the_same_definition(plain):
    definition = define(plain)
    assert load_policy(to_toml(definition.to_plain()), "again").definition_hash == definition.definition_hash


words = st.text(st.characters(codec="utf-8"), max_size=8)
scalars = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | words
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3))


@given(st.dictionaries(words, values, max_size=4))
def test_whatever_is_written_is_read_back(table):
    assert tomllib.loads(to_toml(table)) == table
