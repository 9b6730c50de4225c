"""`[candidates]` → what a request's own arms are told by."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.models import ALGORITHMS
from pipeline.policy.definition import Algorithm, Arm, Candidates
from pipeline.policy.guardrails import Guardrails
from pipeline.policy.parsing.arms import MAX_FEATURES
from pipeline.policy.parsing.section import NAME, NAME_RULE, Section
from pipeline.policy.render_value import shown
from pipeline.policy.reward import RewardRules


def read_candidates(
    root: Section, arms: Sequence[Arm], algorithm: Algorithm, guardrails: Guardrails, reward: RewardRules
) -> Candidates | None:
    """Read the features of candidates, which are those of the declared arms, and check that the rest suits them."""
    if not root.has("candidates"):
        return None
    section = root.section("candidates")
    given = section.items("features", 1, MAX_FEATURES, "a list of names")
    section.finish()
    features = tuple(sorted({name for name in given if isinstance(name, str) and NAME.fullmatch(name)}))
    if len(features) < len(given):
        section.fault("features", f"{shown(given)} are not names that differ; write each as {NAME_RULE}")
        return None
    declared = tuple(name for name, _ in arms[0].features) if arms else features
    if declared != features:
        section.fault(
            "features", f"are {list(features)}, those of arms[0] are {list(declared)}; tell all arms by the same ones"
        )
    info = ALGORITHMS.get(algorithm.name)
    if info is not None and not (info.learns_across_arms and not info.counts_contexts):
        able = ", ".join(name for name, one in ALGORITHMS.items() if one.learns_across_arms and not one.counts_contexts)
        why = "counts the contexts of each arm" if info.learns_across_arms else "learns of each arm alone"
        section.fault("", f"{algorithm.name} {why}; choose one of {able}")
    if guardrails.caps:
        section.fault("", "[[guardrails.caps]] are shares of what declared arms are shown; leave one of the two out")
    if reward.is_weighted:
        section.fault("", 'reward.combine = "weighted" counts kinds by arm; choose another way to combine')
    return Candidates(features)
