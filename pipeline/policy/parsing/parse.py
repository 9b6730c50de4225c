"""TOML or JSON → `PolicyDefinition`, checked as a whole: every fault at once, each with its place."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from typing import cast, get_args

from pipeline.errors import ConfigError
from pipeline.policy.definition import Attribution, PolicyDefinition, Settle
from pipeline.policy.durations import duration_text
from pipeline.policy.parsing.algorithm import read_algorithm
from pipeline.policy.parsing.analysis import read_analysis
from pipeline.policy.parsing.arms import read_arms
from pipeline.policy.parsing.assignment import read_assignment
from pipeline.policy.parsing.candidates import read_candidates
from pipeline.policy.parsing.context import read_features
from pipeline.policy.parsing.exploration import read_exploration
from pipeline.policy.parsing.forgetting import read_forgetting
from pipeline.policy.parsing.guardrails import Counting, read_guardrails
from pipeline.policy.parsing.logged import read_logged
from pipeline.policy.parsing.monitors import read_monitors
from pipeline.policy.parsing.operations import read_rollout, read_switches
from pipeline.policy.parsing.reward import read_reward
from pipeline.policy.parsing.reward_grid import grid_faults
from pipeline.policy.parsing.section import Section
from pipeline.policy.parsing.segments import read_segments
from pipeline.policy.parsing.statistics import read_statistics

LEAST_BUCKETS = 4
"""To a window, where decisions count by their age."""
MAX_GENERATION = 2**31 - 1  # an Avro int


def load_policy(text: str, source: str) -> PolicyDefinition:
    """Read a policy from TOML; `source` names it in errors.

    Raises:
        ConfigError: not TOML, any fault of `parse_policy`, or a reward that its grid is too coarse for.
    """
    try:
        raw = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(source, [f"is not TOML: {error}"]) from error
    definition = parse_policy(raw, source)
    if faults := grid_faults(definition.reward):
        raise ConfigError(source, faults)
    return definition


def load_canonical_json(text: str | bytes, source: str) -> PolicyDefinition:
    """Read a policy from JSON, as records carry it.

    Raises:
        ConfigError: not a JSON object, or any fault of `parse_policy`.
    """
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(source, [f"is not JSON: {error}"]) from error
    return parse_policy(raw, source)


def parse_policy(raw: object, source: str) -> PolicyDefinition:
    """Check a policy given as the plain values of its TOML or JSON.

    Raises:
        ConfigError: with every fault as `place: value seen, what is accepted, what to do`.
    """
    if not isinstance(raw, Mapping):
        raise ConfigError(source, [f"is a JSON {type(raw).__name__}, expected an object"])
    root = Section(raw, "", [])
    name = root.name("name")
    generation = root.integer("generation", 1, MAX_GENERATION, default=1)
    segments = read_segments(root)
    features = read_features(root)
    reward = read_reward(root, features.dimension)
    arms = read_arms(root, reward)
    algorithm = read_algorithm(root, features, reward, arms)
    attribution = _read_attribution(root)
    floor, floors = read_exploration(root, arms, segments)
    publish_interval_ms = _read_duration_ms(root, "publish", "interval", ("10ms", "1d"), default="1s")
    counting = read_statistics(root, algorithm.name, features)
    bucket_ms = counting.bucket_ms
    _check_delays(root, attribution, bucket_ms, reward.window_ms)
    forgetting = read_forgetting(root, bucket_ms)
    guardrails = read_guardrails(root, arms, Counting(bucket_ms, attribution.settle, reward.window_ms))
    candidates = read_candidates(root, arms, algorithm, guardrails, reward)
    analysis = read_analysis(root)
    assignment = read_assignment(root, features, segments, guardrails, candidates, publish_interval_ms)
    rollout = read_rollout(root, name)
    switches = read_switches(root, arms)
    monitors = read_monitors(root)
    logged = read_logged(root)
    root.finish()
    if root.faults:
        raise ConfigError(source, root.faults)
    return PolicyDefinition(
        name=name,
        generation=generation,
        arms=arms,
        segments=segments,
        features=features,
        algorithm=algorithm,
        reward=reward,
        attribution=attribution,
        floor=floor,
        publish_interval_ms=publish_interval_ms,
        bucket_ms=bucket_ms,
        forgetting=forgetting,
        floors=floors,
        guardrails=guardrails,
        analysis=analysis,
        assignment=assignment,
        rollout=rollout,
        switches=switches,
        most_contexts=counting.most_contexts,
        candidates=candidates,
        counts_propensities=counting.is_by_propensity,
        counts_groups=counting.is_by_group,
        monitors=monitors,
        logged=logged,
    )


def _read_attribution(root: Section) -> Attribution:
    section = root.section("attribution")
    settle = cast("Settle", section.choice("settle", get_args(Settle), "wait"))
    grace_ms = section.duration_ms("grace", "0s", "30d", "10m")
    section.finish()
    return Attribution(settle, grace_ms)


def _check_delays(root: Section, attribution: Attribution, bucket_ms: int, window_ms: int) -> None:
    """Ages are told apart by bucket: with few of them in a window, nearly all decisions would count alike."""
    longest_ms = window_ms // LEAST_BUCKETS
    if attribution.settle == "delay_corrected" and 0 < longest_ms < bucket_ms:
        root.section("statistics").fault(
            "bucket",
            f'"{duration_text(bucket_ms)}" tells too few ages apart for settle = "delay_corrected" in a window of '
            f'"{duration_text(window_ms)}"; write "{duration_text(longest_ms)}" or less, or settle otherwise',
        )


def _read_duration_ms(root: Section, table: str, key: str, bounds: tuple[str, str], default: str) -> int:
    section = root.section(table)
    duration_ms = section.duration_ms(key, *bounds, default)
    section.finish()
    return duration_ms
