"""A policy whose encoder is trained on the way, as `pipeline train`, `replay` and `promote` would have it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.features import FeatureSchema
from pipeline.simulate.environment import Setting
from pipeline.simulate.learner import Learner
from pipeline.simulate.player import Choices, Moments, News, Settle
from pipeline.train.network import Examples, train_encoder

TRAINED_AT = (200, 400, 800)
"""Decisions after which it is trained from all there are: each time twice as many."""


class Retrained:
    """Rewards are known at once; each new encoder's statistics are those of all decisions."""

    settle: Settle = "optimistic"

    def __init__(self, name: str, definition: PolicyDefinition, setting: Setting, seed: int) -> None:
        self.name = name
        self._definition, self._setting, self._seed = definition, setting, seed
        self._rng = np.random.default_rng((seed, 1))
        self._learner = Learner(name, definition, setting, self._rng)
        self._made: list[tuple[Moments, Choices]] = []
        self._rewards: list[float] = []
        self._due = list(TRAINED_AT)

    def choose(self, moments: Moments) -> Choices:
        """See `Player`."""
        choices = self._learner.choose(moments)
        self._made.append((moments, choices))
        return choices

    def learn(self, news: News) -> None:
        """See `Player`; of decisions in their order, each once."""
        self._learner.learn(news)
        self._rewards += news.after.tolist()
        if self._due and len(self._rewards) >= self._due[0]:
            self._due.pop(0)
            self._encode_anew(news.now_ms)

    def _encode_anew(self, now_ms: int) -> None:
        features = FeatureSchema(self._definition.features.features)
        contexts = [context for moments, _ in self._made for context in moments.contexts]
        arms = np.concatenate([choices.arms for _, choices in self._made])
        examples = Examples(features.encode_many(contexts)[0], arms, np.array(self._rewards))
        encoder = train_encoder(examples, len(self._setting.arms), self._seed)
        definition = replace(
            self._definition,
            generation=self._definition.generation + 1,
            features=FeatureSchema(features.features, encoder),
        )
        self._definition = definition
        self._learner = Learner(self.name, definition, self._setting, self._rng)
        for moments, chosen in self._made:
            self._learner.recall(moments, chosen)
        places = np.concatenate([moments.places for moments, _ in self._made])
        first, before = np.ones(len(places), np.bool_), np.zeros(len(places))
        self._learner.learn(News(places, first, before, np.array(self._rewards), now_ms))
