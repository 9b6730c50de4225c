"""One player in one environment: choose on what is known, see what comes of it, in time."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.models.model import Floats
from pipeline.simulate.environment import Changing, Delaying, Environment, Expecting, Telling, Timed
from pipeline.simulate.player import Indices, Mask, Moments, News, Player

SECOND_MS = 1_000


@dataclass(frozen=True, eq=False)
class Run:
    """What became of N decisions."""

    arms: Indices
    """(N,)."""
    propensities: Floats
    """(N,)."""
    rewards: Floats
    """(N,) what each earned, whenever it came; NaN where nobody knows."""
    regrets: Floats
    """(N,) expected reward of the best arm less that of the one chosen; NaN where nobody knows."""
    is_best: Mask
    """(N,) whether an arm as good as the best was chosen."""
    kinds: Mapping[str, Floats] = field(default_factory=dict)
    """(N,) what came of each kind, whenever that was, where the environment tells."""

    @property
    def total_regret(self) -> float:
        """Cumulative regret at the end; NaN where nobody knows."""
        return float(self.regrets.sum())

    @property
    def mean_reward(self) -> float:
        """Reward a decision, of those where it is known."""
        known = self.rewards[~np.isnan(self.rewards)]
        return float(known.mean()) if len(known) else float("nan")


class _Story:
    """What has happened so far, and what is on its way."""

    def __init__(self, environment: Environment, player: Player, decisions: int) -> None:
        self._environment = environment
        self._waits = player.settle == "wait"
        self._window_ms = environment.setting.window_ms
        self._mean = environment.mean if isinstance(environment, Expecting) else None
        self._delay_ms = environment.delay_ms if isinstance(environment, Delaying) else None
        self._tell = environment.outcomes if isinstance(environment, Telling) else None
        self._coming: list[tuple[int, int]] = []
        """(when, place): a reward, or the end of a window."""
        self.arms = np.zeros(decisions, np.int64)
        self.propensities = np.zeros(decisions)
        self.rewards = np.full(decisions, np.nan)
        self.regrets = np.full(decisions, np.nan)
        self._credited = np.zeros(decisions)
        """What of a reward comes inside the window."""
        self._delays_ms = np.zeros(decisions, np.int64)
        """How late."""
        self._came: list[Mapping[str, float]] = [{}] * decisions if self._tell else []
        """What comes, by kind."""

    def show(self, moments: Moments) -> tuple[list[int], list[float]]:
        """Let the visitors react; return the decisions that count at once, and as what."""
        places, counted = [], []
        for place, at_ms in zip(moments.places.tolist(), moments.at_ms.tolist(), strict=True):
            arm = int(self.arms[place])
            self._note_regret(place, arm)
            reward = self._environment.reward(place, arm)
            if reward is None:
                continue
            self.rewards[place] = reward
            if self._tell is not None:
                self._came[place] = self._tell(place, arm)
            if self._delay_ms is None:
                self._credited[place] = reward
                places.append(place)
                counted.append(reward)
                continue
            delay_ms = self._delay_ms(place, arm) if reward else self._window_ms
            self._delays_ms[place] = delay_ms
            is_in_time = delay_ms <= self._window_ms
            self._credited[place] = reward if is_in_time else 0.0
            if self._waits:
                heapq.heappush(self._coming, (at_ms + self._window_ms, place))
            else:
                places.append(place)
                counted.append(0.0)
                if reward and is_in_time:
                    heapq.heappush(self._coming, (at_ms + delay_ms, place))
        return places, counted

    def due(self, now_ms: int) -> list[int]:
        """Return the decisions that something has come of by now."""
        places = []
        while self._coming and self._coming[0][0] <= now_ms:
            places.append(heapq.heappop(self._coming)[1])
        return places

    def late_news(self, places: list[int], now_ms: int) -> News:
        """Return what `due` decisions count for."""
        at = np.array(places, np.int64)
        first = np.full(len(at), self._waits)
        before, after = np.zeros(len(at)), self._credited[at]
        return News(at, first, before, after, now_ms, self._delays_ms[at], self.came(places))

    def early_news(self, places: list[int], rewards: list[float], now_ms: int) -> News:
        """Return what decisions count for at once."""
        at, first = np.array(places, np.int64), np.ones(len(places), np.bool_)
        outcomes = self.came(places) if self._delay_ms is None else self._tell and [{}] * len(places)
        return News(at, first, np.zeros(len(at)), np.array(rewards), now_ms, outcomes=outcomes)

    def came(self, places: list[int]) -> Sequence[Mapping[str, float]] | None:
        """Return what is credited of each kind, where the environment tells."""
        if self._tell is None:
            return None
        return [self._came[place] if self._delays_ms[place] <= self._window_ms else {} for place in places]

    def kinds(self) -> dict[str, Floats]:
        """Return what came of each kind, by decision."""
        names = [str(kind["kind"]) for kind in self._environment.setting.kinds] if self._tell else []
        return {name: np.array([came.get(name, 0.0) for came in self._came]) for name in names}

    def _note_regret(self, place: int, arm: int) -> None:
        best = self._environment.best(place)
        if best is None:
            return
        if self._mean is not None:
            self.regrets[place] = self._mean(place, best) - self._mean(place, arm)
            return
        rewards = [self._environment.reward(place, one) for one in (best, arm)]
        if rewards[0] is not None and rewards[1] is not None:
            self.regrets[place] = rewards[0] - rewards[1]


def run(
    environment: Environment,
    player: Player,
    decisions: int,
    *,
    refresh: int = 1,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Run:
    """Play N decisions in an environment that was reset; the player learns after every `refresh` of them.

    A reward is learned when it has come, and no batch is decided with what comes after its first decision.
    """
    story = _Story(environment, player, decisions)
    at_ms = environment.at_ms if isinstance(environment, Timed) else lambda t: t * SECOND_MS
    everything = tuple(range(len(environment.setting.arms)))
    start = 0
    while start < decisions:
        eligible = tuple(environment.eligible(start)) if isinstance(environment, Changing) else everything
        stop = min(start + refresh, decisions)
        if isinstance(environment, Changing):
            # A batch ends where arms come or go.
            stop = next((t for t in range(start + 1, stop) if tuple(environment.eligible(t)) != eligible), stop)
        places = np.arange(start, stop)
        times = np.array([at_ms(t) for t in range(start, stop)], np.int64)
        if due := story.due(int(times[0])):
            player.learn(story.late_news(due, int(times[0])))
        moments = Moments(places, times, [environment.context(t) for t in range(start, stop)], eligible)
        choices = player.choose(moments)
        story.arms[places], story.propensities[places] = choices
        counted, rewards = story.show(moments)
        if counted:
            player.learn(story.early_news(counted, rewards, int(times[-1])))
        start = stop
        on_progress(stop, decisions)
    return Run(story.arms, story.propensities, story.rewards, story.regrets, story.regrets <= 0.0, story.kinds())
