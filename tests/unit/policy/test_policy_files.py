"""The policies that ship with the repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.policy.canonical import to_canonical_json
from pipeline.policy.parsing.parse import load_canonical_json, load_policy

FOLDER = Path(__file__).parents[3] / "ops" / "policies"


def load(name):
    return load_policy((FOLDER / name).read_text(encoding="utf-8"), name)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.name)
def test_every_policy_file_loads_and_is_named_after_its_policy(path):
    policy = load(path.name)
    assert policy.name == path.stem
    assert load_canonical_json(to_canonical_json(policy), path.name) == policy


@pytest.mark.parametrize(
    ("context", "segment"),
    [
        ({"visits": 1, "premium": True}, "premium"),
        ({"visits": 1, "premium": False}, "new"),
        ({"visits": 2, "premium": False}, "returning"),
    ],
)
def test_the_homepage_tells_its_visitors_apart(context, segment):
    assert load("homepage.toml").segments.segment_for(context) == segment


def test_both_homepages_offer_the_same_arms():
    assert load("homepage.toml").arm_names == load("homepage-linear.toml").arm_names


def test_the_linear_homepage_has_the_dimension_that_its_comment_says():
    assert load("homepage-linear.toml").dimension == 8
