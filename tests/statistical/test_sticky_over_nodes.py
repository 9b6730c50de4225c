"""One answer per person at scale: 100,000 subjects, five nodes and one started anew, each a process of its own."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
from scipy.stats import chisquare

from pipeline.learn.memory import RowKey
from pipeline.models.sums.statistics import Statistics, contributions
from pipeline.policy.parsing.parse import parse_policy
from pipeline.publish.partials import Mark
from pipeline.publish.snapshot import build_snapshot
from pipeline.serve import Decided, load_snapshot
from pipeline.serve.decision.rollout import Known, Request, answer_many
from pipeline.serve.subject import hash_subject

SUBJECTS = 100_000
AT_ONCE = 500
NODES = 5
ARMS = ("best", "fresh", "news", "promo")
POLICY = {
    "name": "homepage",
    "arms": [{"name": arm} for arm in ARMS],
    "algorithm": {"name": "beta_thompson"},
    "reward": {"low": 0.0, "high": 1.0, "outcomes": [{"kind": "click", "worth": 1.0, "window": "5s"}]},
    "exploration": {"floor": 0.05},
    "assignment": {"sticky": "subject", "epoch": "7d"},
}
WEEK_MS = 7 * 86_400_000


def content_of(week: int) -> bytes:
    """A snapshot of a week: arms that were shown a few times, so that each has a chance."""
    definition = parse_policy(POLICY, "test")
    rows = []
    for arm, (clicks, shows) in zip(ARMS, ((6, 20), (1, 4), (5, 20), (2, 20)), strict=True):
        rewards = np.repeat([2**15, 0], [clicks, shows - clicks])
        sums = contributions(np.zeros((shows, 0), np.int16), rewards)
        rows.append((RowKey("homepage", 1, "default", arm, 0), Statistics(0, sums)))
    return build_snapshot(definition, rows, {0: Mark(64, week * WEEK_MS + 5)}, week, "")


def ask(content: bytes, seed: int, count: int) -> bytes:
    """Let a node that has just started answer every subject, in an order of its own; return each one's arm."""
    snapshot, rng = load_snapshot(content), np.random.default_rng(seed)
    known, places = Known({"homepage": snapshot}), {arm: place for place, arm in enumerate(ARMS)}
    arms = np.full(count, 255, np.uint8)
    for some in np.array_split(rng.permutation(count), -(-count // AT_ONCE)):
        requests = [
            Request("homepage", {}, None, f"{seed}/{i}", 1_000 * seed, hash_subject(f"person {i}", "0123456789abcdef"))
            for i in some.tolist()
        ]
        for i, answered in zip(some.tolist(), answer_many(known, requests, rng), strict=True):
            assert isinstance(answered, Decided)
            arms[i] = places[answered.arm]
    return arms.tobytes()


def test_no_subject_has_two_arms_within_an_epoch_and_shares_of_arms_are_their_probabilities() -> None:
    content, after = content_of(2_810), content_of(2_811)
    # Each a process that was started anew, with hashes of its own: nothing is shared but the snapshot.
    with ProcessPoolExecutor(2, mp_context=get_context("spawn"), max_tasks_per_child=1) as processes:
        nodes = [processes.submit(ask, content, node, SUBJECTS) for node in range(NODES)]
        restarted = processes.submit(ask, content, NODES, SUBJECTS // 5)
        next_week = processes.submit(ask, after, 0, SUBJECTS)
        first, *others = (node.result() for node in nodes)
    assert all(other == first for other in others)
    assert restarted.result() == first[: SUBJECTS // 5]

    snapshot = load_snapshot(content)
    shares = snapshot.propensities("default", ARMS, np.zeros(0, np.int16))
    assert shares.min() > 0.05
    for arms in (first, next_week.result()):
        counts = Counter(arms)
        assert counts.total() == SUBJECTS
        # A right program fails this for one salt in a thousand; the salt is fixed.
        assert chisquare([counts[place] for place in range(len(ARMS))], SUBJECTS * shares).pvalue > 0.001
    # The next epoch draws anew, independently: the same arm by a chance of Σp², with an error of at most .5 / √100000.
    same = np.mean(np.frombuffer(first, np.uint8) == np.frombuffer(next_week.result(), np.uint8))
    assert abs(same - (shares**2).sum()) < 4 * 0.5 / SUBJECTS**0.5
