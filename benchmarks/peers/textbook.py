"""The textbook's rules in plain numpy, each with the number that it must be told: what a careful engineer would tune.

LinUCB (Li et al. 2010, algorithm 1) on the features, on their pairs, or on random Fourier features of them (Rahimi &
Recht 2007); linear Thompson sampling (Agrawal & Goyal 2013); without a context UCB1 (Auer et al. 2002), KL-UCB
(Garivier & Cappé 2011), Thompson sampling, ε-greedy, and discounted Thompson (Raj & Kalyani 2017), for each
segment or for all. Rewards are brought to [0, 1] by their bounds. Shares no code with the platform's models.
"""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np

from benchmarks.peers.memory import Memory
from pipeline.simulate.environment import Setting
from pipeline.simulate.player import Choices, Moments, News, Settle

ALPHAS = (0.02, 0.05, 0.1, 0.3, 1.0)
FOURIER = 100
"""Random features."""


def configurations(setting: Setting) -> list[str]:
    """Return what is tuned over in an environment."""
    if setting.features:
        dimension = len(setting.features)
        kinds = ["linucb", *(["pairs", "fourier"] if dimension <= 16 else [])]
        if len(setting.arms) > 50:
            kinds = ["linucb"]
        return [f"{kind} {alpha}" for kind in kinds for alpha in ALPHAS] + [f"lints {a}" for a in (0.02, 0.1, 0.3)]
    pools = ("", " pooled") if setting.segments else ("",)
    names = (
        *(f"ucb1 {c}" for c in (0.1, 0.2, 0.5)),
        *(f"klucb {c}" for c in (0.3, 1.0)),
        *(f"beta {s}" for s in (1.0, 2.0, 4.0)),
        *(f"gauss {s}" for s in (0.1, 0.3)),
        *(f"greedy {c}" for c in (0.02, 0.05)),
        *(f"fading {h}" for h in (100, 300, 1_000)),
    )
    return [f"{name}{pool}" for name in names for pool in pools]


class TextbookPlayer:
    """One configuration; learns what has settled."""

    settle: Settle = "wait"

    def __init__(self, configuration: str, setting: Setting, seed: int) -> None:
        self.name = f"textbook {configuration}"
        kind, number, *pooled = configuration.split()
        self._kind, self._number, self._is_pooled = kind, float(number), bool(pooled)
        self._memory = Memory(setting)
        self._arms = len(setting.arms)
        self._span = setting.high - setting.low
        self._rng = np.random.default_rng((seed, 4))
        self._has_context = bool(setting.features)
        if self._has_context:
            d = len(self._features(np.zeros((1, len(setting.features) + 1)))[0])
            self._A = np.repeat(np.eye(d)[None], self._arms, axis=0)
            self._b = np.zeros((self._arms, d))
            self._inverse = self._A.copy()
        else:
            self._counts: defaultdict[str, np.ndarray] = defaultdict(lambda: np.zeros((3, self._arms)))

    def choose(self, moments: Moments) -> Choices:
        """See `Player`."""
        x = self._memory.encode(moments)
        eligible = np.array(moments.eligible)
        arms = self._by_context(x) if self._has_context else self._by_counts(moments.places.tolist(), eligible)
        for place, arm in zip(moments.places.tolist(), arms.tolist(), strict=True):
            self._memory.arm[place] = arm
        return Choices(arms, np.full(len(arms), np.nan))

    def learn(self, news: News) -> None:
        """See `Player`."""
        places = news.places.tolist()
        rewards = (news.after - self._memory.low) / self._span
        changed = set()
        if not self._has_context and self._kind == "fading":
            for pool in self._counts:
                self._counts[pool] *= 0.5 ** (len(places) / self._number)
        for place, reward in zip(places, rewards.tolist(), strict=True):
            arm = self._memory.arm[place]
            if not self._has_context:
                self._counts[self._pool(place)][:, arm] += 1.0, reward, reward * reward
                continue
            x = self._features(self._memory.x[place][None])[0]
            self._A[arm] += np.outer(x, x)
            self._b[arm] += reward * x
            changed.add(arm)
        for arm in changed:
            self._inverse[arm] = np.linalg.inv(self._A[arm])
        self._memory.forget(places)

    def _pool(self, place: int) -> str:
        return "" if self._is_pooled else self._memory.segment[place]

    def _features(self, x: np.ndarray) -> np.ndarray:
        if self._kind == "pairs":
            i, j = np.triu_indices(x.shape[1])
            products: np.ndarray = x[:, i] * x[:, j]
            return products
        if self._kind == "fourier":
            rng = np.random.default_rng(12)
            d = x.shape[1] - 1
            W, phase = rng.standard_normal((d, FOURIER)) * (3.0 / math.sqrt(d)), rng.uniform(0.0, 2 * math.pi, FOURIER)
            return np.column_stack((x, np.cos(x[:, 1:] @ W + phase) * math.sqrt(2.0 / FOURIER)))
        return x

    def _by_context(self, x: np.ndarray) -> np.ndarray:
        z = self._features(x)
        theta = np.einsum("kij,kj->ki", self._inverse, self._b)
        mean = z @ theta.T
        if self._kind == "lints":
            roots = np.linalg.cholesky(self._inverse)
            drawn = self._rng.standard_normal((len(z), self._arms, z.shape[1]))
            mean = mean + self._number * np.einsum("md,kde,mke->mk", z, roots, drawn)
        else:
            width = np.sqrt(np.maximum(np.einsum("md,kde,me->mk", z, self._inverse, z, optimize=True), 0.0))
            mean = mean + self._number * width
        return np.argmax(mean + 1e-9 * self._rng.random(mean.shape), axis=1)

    def _by_counts(self, places: list[int], eligible: np.ndarray) -> np.ndarray:
        arms = np.empty(len(places), np.int64)
        virtual: dict[str, np.ndarray] = {}
        for row, place in enumerate(places):
            pool = self._pool(place)
            counts = virtual.setdefault(pool, self._counts[pool].copy())
            index = self._index(counts)[eligible]
            arms[row] = eligible[np.argmax(index + 1e-9 * self._rng.random(len(index)))]
            if self._kind in {
                "ucb1",
                "klucb",
            }:  # what it shows counts at once, at the mean
                n, total, _ = counts[:, arms[row]]
                counts[:, arms[row]] += 1.0, total / n if n else 0.5, 0.0
        return arms

    def _index(self, counts: np.ndarray) -> np.ndarray:
        n, total, _ = counts
        untried, mean = n < 0.5, total / np.maximum(n, 1e-9)
        log_t = math.log(max(n.sum(), 2.0))
        if self._kind == "ucb1":
            return np.where(untried, np.inf, mean + self._number * np.sqrt(2.0 * log_t / np.maximum(n, 1e-9)))
        if self._kind == "klucb":
            return np.where(untried, np.inf, _kl_bound(mean, self._number * log_t / np.maximum(n, 1e-9)))
        if self._kind == "greedy":
            explores = self._rng.random() < self._number
            return self._rng.random(self._arms) if explores else np.where(untried, np.inf, mean)
        if self._kind == "gauss":
            return np.asarray(self._rng.normal(np.where(untried, 0.5, mean), self._number / np.sqrt(n + 0.1)))
        sharpness = self._number if self._kind == "beta" else 2.0
        won, lost = np.maximum(total, 0.0), np.maximum(n - total, 0.0)
        return np.asarray(self._rng.beta(sharpness * (won + 1.0), sharpness * (lost + 1.0)))


def _kl_bound(mean: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Return the largest q with kl(mean, q) <= level, by halving."""
    p = np.clip(mean, 1e-9, 1.0 - 1e-9)
    low, high = p.copy(), np.ones_like(p)
    for _ in range(24):
        q = np.minimum(0.5 * (low + high), 1.0 - 1e-12)
        kl = p * np.log(p / q) + (1.0 - p) * np.log((1.0 - p) / (1.0 - q))
        is_in = kl <= level
        low, high = np.where(is_in, q, low), np.where(is_in, high, q)
    return low
