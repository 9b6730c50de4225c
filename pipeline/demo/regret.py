"""What choices cost: cumulative regret of the policy, of chance, and of a test with a winner. Pure.

Regret of one decision = expected reward of the segment's best arm - expected reward of the arm shown, by the
true means; so it has no noise of the rewards, and curves over the same visitors are paired.
"""

from __future__ import annotations

import numpy as np

from pipeline.demo.visitors import Floats, Indices

TEST_SHARE = 0.2
"""The part of a segment's visitors that an A/B test is run on."""


def cumulative_regret(choices: Indices, segments: Indices, means: Floats) -> Floats:
    """Return (N,): regret summed up to each visitor.

    Args:
        choices: (N,) the arm that each visitor was shown.
        segments: (N,) each visitor's segment.
        means: (segment, arm) expected rewards.
    """
    gaps = means.max(axis=1, keepdims=True) - means
    total: Floats = np.cumsum(gaps[segments, choices])
    return total


def uniform_choices(segments: Indices, arm_count: int, rng: np.random.Generator) -> Indices:
    """Return (N,): every arm with the same chance, for ever."""
    return rng.integers(arm_count, size=len(segments))


def ab_test_choices(segments: Indices, rewards: Floats, rng: np.random.Generator) -> Indices:
    """Return (N,): in each segment the first fifth at random, the arm with the best mean for all who follow.

    It is given the test's rewards at once, with no delay, which is more than a real test has.

    Args:
        segments: (N,) each visitor's segment, in order of arrival.
        rewards: (N, K) what each visitor is worth under each arm.
        rng: what draws the test's arms.
    """
    choices = uniform_choices(segments, rewards.shape[1], rng)
    for segment in np.unique(segments):
        members = np.flatnonzero(segments == segment)
        tested, rest = np.split(members, [round(TEST_SHARE * len(members))])
        choices[rest] = _winner(choices[tested], rewards[tested, choices[tested]], rewards.shape[1])
    return choices


def last_third_shares(choices: Indices, segments: Indices, segment_count: int, arm_count: int) -> Floats:
    """Return (segment, arm): how often each arm was shown to the last third of a segment's visitors."""
    shares = np.zeros((segment_count, arm_count))
    for segment in range(segment_count):
        shown = choices[segments == segment]
        last = shown[len(shown) - len(shown) // 3 :]
        shares[segment] = np.bincount(last, minlength=arm_count) / max(len(last), 1)
    return shares


def _winner(arms: Indices, rewards: Floats, arm_count: int) -> int:
    totals = np.bincount(arms, rewards, minlength=arm_count)
    counts = np.bincount(arms, minlength=arm_count)
    return int(np.argmax(totals / np.maximum(counts, 1)))
