from __future__ import annotations

import pytest

from pipeline.errors import ConfigError
from pipeline.policy.canonical import to_canonical_json
from pipeline.policy.changes import check_change
from pipeline.policy.parsing.parse import load_canonical_json
from tests.samples import define, plain_policy

CONTEXT = [{"name": "x", "kind": "numeric", "low": -1.0, "high": 1.0}]
ARMS = [{"name": "a", "features": {"price": 0.5}}]


def policy(**others):
    return plain_policy(
        **{
            "arms": ARMS,
            "algorithm": {"name": "hybrid_ucb"},
            "context": CONTEXT,
            "candidates": {"features": ["price"]},
            **others,
        }
    )


def test_it_reads_what_it_writes():
    definition = define(policy())
    assert definition.candidates.features == ("price",)
    assert load_canonical_json(to_canonical_json(definition), "test") == definition


@pytest.mark.parametrize(
    ("others", "fault"),
    [
        ({"algorithm": {"name": "linear_thompson"}}, "candidates: linear_thompson learns of each arm alone"),
        ({"candidates": {"features": ["video"]}}, "candidates.features: are ['video'], those of arms[0] are ['price']"),
        ({"candidates": {"features": ["price", "price"]}}, "are not names that differ"),
        ({"candidates": {"features": []}}, "has 0 entries, expected 1 to 64"),
        (
            {"reward": plain_policy()["reward"] | {"combine": "weighted"}},
            'candidates: reward.combine = "weighted" counts kinds by arm',
        ),
        (
            {"guardrails": {"caps": [{"arm": "a", "share": 0.5, "window": "80s"}]}},
            "candidates: [[guardrails.caps]] are shares",
        ),
    ],
)
def test_what_does_not_go_with_candidates_is_refused(others, fault):
    with pytest.raises(ConfigError) as caught:
        define(policy(**others))
    assert fault in str(caught.value)


def test_other_features_of_candidates_begin_a_generation_anew():
    old = define(policy())
    new = define(policy(arms=[{"name": "a", "features": {"size": 0.5}}], candidates={"features": ["size"]}))
    with pytest.raises(ConfigError, match="another candidates; raise `generation` to 2"):
        check_change(old, new)
