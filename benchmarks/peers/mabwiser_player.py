"""MABWiser (Strong, Kleynhans & Kadıoğlu 2021) as a player: one bandit a segment, or a linear one on the context."""

from __future__ import annotations

import numpy as np
from mabwiser.mab import MAB, LearningPolicy

from benchmarks.peers.memory import Memory
from pipeline.simulate.environment import Setting
from pipeline.simulate.player import Choices, Moments, News

WITHOUT_CONTEXT = {
    "eps 0.05": LearningPolicy.EpsilonGreedy(0.05),
    "eps 0.1": LearningPolicy.EpsilonGreedy(0.1),
    "ucb1 0.25": LearningPolicy.UCB1(0.25),
    "ucb1 0.5": LearningPolicy.UCB1(0.5),
    "ucb1 1": LearningPolicy.UCB1(1.0),
    "softmax 0.02": LearningPolicy.Softmax(0.02),
    "softmax 0.1": LearningPolicy.Softmax(0.1),
    "thompson": LearningPolicy.ThompsonSampling(),
}
WITH_CONTEXT = {
    "linucb 0.1": LearningPolicy.LinUCB(alpha=0.1),
    "linucb 0.3": LearningPolicy.LinUCB(alpha=0.3),
    "linucb 0.5": LearningPolicy.LinUCB(alpha=0.5),
    "linucb 1": LearningPolicy.LinUCB(alpha=1.0),
    "lints 0.1": LearningPolicy.LinTS(alpha=0.1),
    "lints 0.3": LearningPolicy.LinTS(alpha=0.3),
    "lingreedy 0.05": LearningPolicy.LinGreedy(epsilon=0.05),
}


def configurations(setting: Setting) -> list[str]:
    """Return what it is tuned over in an environment."""
    if setting.features:
        return list(WITH_CONTEXT)
    is_unit = setting.low >= 0.0 and setting.high <= 1.0
    return [name for name in WITHOUT_CONTEXT if is_unit or name != "thompson"]


class MabwiserPlayer:
    """One configuration; learns what has settled, as it can't take anything back."""

    settle = "wait"

    def __init__(self, configuration: str, setting: Setting, seed: int) -> None:
        self.name = f"MABWiser {configuration}"
        self._memory = Memory(setting)
        self._is_linear = bool(setting.features)
        policy = (WITH_CONTEXT if self._is_linear else WITHOUT_CONTEXT)[configuration]
        self._arms = len(setting.arms)
        self._rng = np.random.default_rng((seed, 2))
        names = self._memory.segments if not self._is_linear else ("all",)
        self._bandits = {name: MAB(list(range(self._arms)), policy, seed=seed) for name in names}
        self._is_fitted = dict.fromkeys(names, False)

    def choose(self, moments: Moments) -> Choices:
        """See `Player`."""
        x = self._memory.encode(moments)
        arms = np.empty(len(moments.places), np.int64)
        if self._is_linear:
            arms[:] = self._choose(self._bandits["all"], "all", moments.eligible, x)
        else:
            segments = np.array([self._memory.segment[place] for place in moments.places.tolist()])
            for name in np.unique(segments).tolist():
                mine = segments == name
                arms[mine] = self._choose(self._bandits[name], name, moments.eligible, x[mine])
        for place, arm in zip(moments.places.tolist(), arms.tolist(), strict=True):
            self._memory.arm[place] = arm
        return Choices(arms, np.full(len(arms), np.nan))  # it gives no propensities

    def learn(self, news: News) -> None:
        """See `Player`."""
        places = news.places.tolist()
        for name, bandit in self._bandits.items():
            mine = [i for i, place in enumerate(places) if self._is_linear or self._memory.segment[place] == name]
            if not mine:
                continue
            arms = [self._memory.arm[places[i]] for i in mine]
            rewards = news.after[mine]
            contexts = (np.stack([self._memory.x[places[i]] for i in mine]),) if self._is_linear else ()
            (bandit.partial_fit if self._is_fitted[name] else bandit.fit)(arms, rewards, *contexts)
            self._is_fitted[name] = True
        self._memory.forget(places)

    def _choose(self, bandit: MAB, name: str, eligible: tuple[int, ...], x: np.ndarray) -> np.ndarray:
        if not self._is_fitted[name]:
            return self._rng.choice(eligible, len(x))
        if len(eligible) == self._arms:
            chosen = bandit.predict(x) if self._is_linear else [bandit.predict() for _ in range(len(x))]
            return np.atleast_1d(np.array(chosen))
        # It has no list of arms on offer: of its expectations, those are looked at.
        expected = bandit.predict_expectations(x)
        rows = expected if isinstance(expected, list) else [expected]
        return np.array([max(eligible, key=row.__getitem__) for row in rows])
