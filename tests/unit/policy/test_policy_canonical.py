from __future__ import annotations

import json
from copy import deepcopy
from hashlib import sha256

import pytest

from pipeline.policy.canonical import to_canonical_json
from pipeline.policy.parsing.parse import load_canonical_json, parse_policy


@pytest.mark.parametrize("which", ["full", "smallest"])
def test_canonical_json_reads_back_as_the_same_definition(which, request):
    policy = parse_policy(request.getfixturevalue(which), "test.toml")
    text = to_canonical_json(policy)
    again = load_canonical_json(text, "policies@0")

    assert again == policy
    assert to_canonical_json(again) == text
    assert again.definition_hash == policy.definition_hash == sha256(text).hexdigest()


def test_writes_out_defaults_sorts_keys_and_leaves_no_spaces(smallest):
    text = to_canonical_json(parse_policy(smallest, "test.toml")).decode()
    assert text == (
        '{"algorithm":{"name":"beta_thompson","prior_alpha":1.0,"prior_beta":1.0},'
        '"arms":[{"name":"only","retired":false}],'
        '"attribution":{"grace":"10m","settle":"wait"},'
        '"context":[],'
        '"exploration":{"share":0.01},'
        '"generation":1,'
        '"name":"tiny",'
        '"publish":{"interval":"1s"},'
        '"reward":{"combine":"max","high":1.0,"low":0.0,'
        '"outcomes":[{"kind":"click","times_value":false,"window":"30m","worth":1.0}]},'
        '"segments":{"default":"default","rules":[]},'
        '"statistics":{"bucket":"1d"}}'
    )


def test_what_means_the_same_has_the_same_text(full):
    other = deepcopy(full)
    other["reward"]["low"] = -0.0
    other["reward"]["high"] = 500.0
    other["reward"]["outcomes"].reverse()
    other["reward"]["outcomes"][0]["window"] = "1800s"
    other["arms"][0]["retired"] = False
    other = dict(reversed(other.items()))

    assert to_canonical_json(parse_policy(other, "b")) == to_canonical_json(parse_policy(full, "a"))


def test_words_of_any_script_survive(full):
    full["context"][1]["values"] = ["Gerät", "携帯", 'a"b']
    policy = parse_policy(full, "test.toml")
    assert "携帯".encode() in to_canonical_json(policy)
    assert load_canonical_json(to_canonical_json(policy), "policies@0") == policy


def test_the_schema_hash_is_of_the_features_alone(full):
    policy = parse_policy(full, "test.toml")
    features = json.loads(to_canonical_json(policy))["context"]
    text = json.dumps(features, sort_keys=True, separators=(",", ":"))
    assert policy.schema_hash == sha256(text.encode()).hexdigest()[:16]
