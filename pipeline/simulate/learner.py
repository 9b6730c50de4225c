"""The platform as a player: the loop's own pure core, with nothing between its stages.

Contexts are encoded by the feature schema, rewards put on the grid, changes folded into exact statistics per
(segment, arm, time bucket), and a posterior derived of each segment that has learned since. What an arm is drawn from
is asked of the node's own decision code, over a snapshot of all that is known: guardrails, holdout and switches act as
they do there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.learn.memory import RowKey
from pipeline.models import model_for
from pipeline.models.chances.floor import draw
from pipeline.models.model import Floats, LearnsAcrossSegments, Posterior, Sums, posteriors
from pipeline.models.sums.contexts import COLUMNS as CONTEXT_COLUMNS
from pipeline.models.sums.delays import COLUMNS, column_for
from pipeline.models.sums.groups import GROUPS, group_for, group_name
from pipeline.models.sums.importance import ONE, columns_for, entries_of_many
from pipeline.models.sums.statistics import Statistics, fold
from pipeline.models.sums.tally import change
from pipeline.policy.contexts import name_contexts
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.parsing.reward_grid import MOST
from pipeline.policy.reward import Credit
from pipeline.policy.tallies import DELAY_ROW, IMPORTANCE_ROW, Shown, tallies_of
from pipeline.publish.exposures import count_exposures
from pipeline.publish.merging import weigh_buckets
from pipeline.serve.decision.decide import NoAnswer, consider
from pipeline.serve.decision.plan import Asked, Plan
from pipeline.serve.following.snapshot import LoadedSnapshot, SegmentPosterior
from pipeline.serve.guardrails.chain import Exposures
from pipeline.simulate.environment import Setting
from pipeline.simulate.player import Choices, Indices, Moments, News, Settle
from pipeline.simulate.setting import check_suits

IMPORTANCE_COLUMNS = columns_for(1)


class Learner:
    """One policy, learning."""

    def __init__(self, name: str, definition: PolicyDefinition, setting: Setting, rng: np.random.Generator) -> None:
        """Begin with nothing known. Raises ConfigError where the policy does not suit the setting."""
        check_suits(definition, setting)
        self._is_told = bool(setting.kinds)
        definition = definition if self._is_told else definition.for_rewards()
        self._name = name
        self._definition = definition
        self._rng = rng
        self._arms = setting.arms
        self._model = model_for(definition.algorithm.name, definition.algorithm.parameters)
        self._grid = definition.grid
        self._is_joint = isinstance(self._model, LearnsAcrossSegments)
        self._sorted_arms = tuple(sorted(setting.arms))
        self._places = {arm: place for place, arm in enumerate(setting.arms)}
        self._segment_names = definition.segments.names
        self._segments = {name: code for code, name in enumerate(self._segment_names)}
        self._rows: dict[int, NDArray[np.int64]] = {}
        self._weighed: Mapping[tuple[str, str], Sums] | None = None
        self._posteriors: dict[int, Posterior] = {}
        self._snapshot: LoadedSnapshot | None = None
        self._live: LoadedSnapshot | None = None
        self._versions = 0
        self._learned_ms = 0
        self._is_corrected = definition.attribution.settle == "delay_corrected"
        self._delays: dict[int, NDArray[np.int64]] = {}
        self._tallied: dict[tuple[int, int, str], NDArray[np.int64]] = {}
        self._now_ms = 0
        self._arm, self._segment, self._bucket = (np.zeros(0, np.int64) for _ in range(3))
        self._vectors = np.zeros((0, definition.dimension), np.int16)
        self._propensity = np.zeros(0)
        self._is_analysis = np.zeros(0, np.bool_)
        self._parted: dict[int, NDArray[np.int64]] = {}
        self._importance: dict[int, NDArray[np.int64]] = {}
        self._changed = self._earned = 0.0
        self.fallbacks: Counter[str] = Counter()
        """How often the model was not asked, by why."""

    @property
    def name(self) -> str:
        """See `Player`."""
        return self._name

    @property
    def settle(self) -> Settle:
        """See `Player`."""
        return "wait" if self._definition.attribution.settle == "wait" else "optimistic"

    def check_grid(self) -> None:
        """Refuse rewards that the policy's grid has changed by more than a hundredth, all in all."""
        if self._changed > MOST * self._earned:
            low, high = self._definition.reward.low, self._definition.reward.high
            words = (
                f"its grid changed rewards by {self._changed / self._earned:.0%}: low {low!r} and high {high!r} "
                f"give steps of {2.0**-self._grid.reward_exponent:.6g}. Bring the bounds nearer to what is earned"
            )
            raise ConfigError(f"policy {self._definition.name}", [words])

    @property
    def left_out(self) -> tuple[str, ...]:
        """Say in words what of the policy an environment can't be asked about."""
        rails, rollout, sticky = self._definition.guardrails, self._definition.rollout, self._definition.assignment
        return (
            *(["its frequency cap: nobody comes twice in an environment"] if rails.frequency else []),
            *(["its stale_after: snapshots are never old here"] if rails.stale_after_ms else []),
            *(["that a person keeps an answer: nobody comes twice in an environment"] if sticky else []),
            *([f"its rollout to {rollout.share:.4g} of {rollout.of}: it decides for everybody"] if rollout else []),
        )

    @property
    def definition(self) -> PolicyDefinition:
        """What it is."""
        return self._definition

    def choose(self, moments: Moments) -> Choices:
        """See `Player`; O(m) draws, and a posterior for each segment that has learned."""
        if self._is_corrected:
            self._grow_older(int(moments.at_ms[0]))
        plans = self._plans(moments)
        arms = np.empty(len(plans), np.int64)
        propensities = np.empty(len(plans))
        for row, (plan, u) in enumerate(zip(plans, self._rng.random(len(plans)).tolist(), strict=True)):
            vector = plan.vector
            drawn = draw(vector, u)
            arms[row], propensities[row] = self._places[plan.arms[drawn]], vector[drawn]
        segments = np.array([self._segments[plan.segment] for plan in plans], np.int64)
        vectors = np.frombuffer(b"".join(plan.context_vector for plan in plans), "<i2")
        choices = Choices(arms, propensities)
        self._remember(moments, choices, segments, vectors.reshape(len(plans), self._definition.dimension))
        self._is_analysis[moments.places] = [plan.is_analysis for plan in plans]
        return choices

    def recall(self, moments: Moments, choices: Choices) -> None:
        """Take in decisions that another learner has made, so that it can learn from them as from its own."""
        self._remember(moments, choices, self._segment_codes(moments), self._encode(moments))

    def learn(self, news: News) -> None:
        """See `Player`; exact."""
        news = self._without_analysis(news)
        if not len(news.places):
            return
        self._learned_ms = max(self._learned_ms, news.now_ms)
        if self._is_told and news.outcomes is not None:
            news = self._by_own_worths(news, news.outcomes)
        before, after = (np.rint(np.ldexp(r, self._grid.reward_exponent)) for r in (news.before, news.after))
        self._changed += float(np.abs(np.ldexp(after, -self._grid.reward_exponent) - news.after).sum())
        self._earned += float(np.abs(news.after).sum())
        groups = self._segment[news.places] * len(self._arms) + self._arm[news.places]
        buckets = self._bucket[news.places]
        count = len(self._segments) * len(self._arms)
        for bucket in np.unique(buckets).tolist():
            mine = buckets == bucket
            places = news.places[mine]
            dr = after[mine] - before[mine]
            drr = after[mine] ** 2 - before[mine] ** 2
            sums = fold(groups[mine], count, news.is_first[mine], dr, drr, self._vectors[places])
            known = self._rows.get(bucket)
            self._rows[bucket] = sums if known is None else known + sums
        if self._is_told and news.outcomes is not None:
            self._count_tallies(news, news.outcomes, groups, buckets)
        else:
            self._count_rewards(news, groups, buckets)
        if self._definition.counts_groups:
            self._count_groups(news, groups, buckets, after - before, after**2 - before**2)
        self._forget(np.unique(self._segment[news.places]))

    def statistics(self) -> Mapping[tuple[str, str, int], Statistics]:
        """Return the statistics by (segment, arm, bucket), as far as there are any."""
        names = [(segment, arm) for segment in self._segments for arm in self._arms]
        return {
            (*names[group], bucket): Statistics(self._definition.dimension, sums[group])
            for bucket, sums in self._rows.items()
            for group in np.flatnonzero(sums[:, 0]).tolist()
        }

    def _without_analysis(self, news: News) -> News:
        """Leave out what came of decisions of the analysis group, as LEARN does."""
        learned = ~self._is_analysis[news.places]
        if learned.all():
            return news
        kept = np.flatnonzero(learned)
        return News(
            news.places[kept],
            news.is_first[kept],
            news.before[kept],
            news.after[kept],
            news.now_ms,
            None if news.delays_ms is None else news.delays_ms[kept],
            None if news.outcomes is None else [news.outcomes[place] for place in kept.tolist()],
        )

    def _by_own_worths(self, news: News, outcomes: Sequence[Mapping[str, float]]) -> News:
        """Let what has come be worth what the policy says; of kinds that are counted apart nobody says it yet."""
        combine, exponent = self._definition.reward.combine, self._grid.reward_exponent
        after = np.ldexp(np.array([float(combine(_credits(came, 0))) for came in outcomes]), -exponent)
        nothing = float(np.ldexp(self._definition.reward.of_nothing, -exponent))
        return news._replace(before=np.where(news.is_first, 0.0, nothing), after=after)

    def _count_tallies(
        self, news: News, outcomes: Sequence[Mapping[str, float]], groups: Indices, buckets: Indices
    ) -> None:
        """Count what there is beside sums, as JOIN and LEARN do; a decision that counted already had earned nothing."""
        if not self._definition.has_tallies:
            return
        places = zip(buckets.tolist(), groups.tolist(), strict=True)
        late = [0] * len(outcomes) if news.delays_ms is None else news.delays_ms.tolist()
        for row, (bucket, group) in enumerate(places):
            place = int(news.places[row])
            shown = Shown(0, self._vectors[place].tobytes(), float(self._propensity[place]), str(place))
            after = tallies_of(self._definition, _credits(outcomes[row], late[row]), shown, is_settled=False)
            before = [] if news.is_first[row] else tallies_of(self._definition, [], shown, is_settled=False)
            for tally in change(before, after):
                if tally.width:
                    counts = self._tallied.setdefault((bucket, group, tally.row), np.zeros(tally.width, np.int64))
                    counts[tally.column] += tally.amount

    def _count_rewards(self, news: News, groups: Indices, buckets: Indices) -> None:
        """Count the same where rewards are told alone, all at once."""
        if self._is_corrected:
            self._count_delays(news, groups, buckets)
        if self._definition.counts_propensities:
            self._count_importance(news, groups, buckets)
        if self._definition.context_bits is None:
            return
        before, after = (np.rint(np.ldexp(r, self._grid.reward_exponent)) for r in (news.before, news.after))
        names = name_contexts(self._vectors[news.places], self._definition.context_bits)
        places = zip(buckets.tolist(), groups.tolist(), names, strict=True)
        earned = (after - before).astype(np.int64).tolist()
        for place, is_first, more in zip(places, news.is_first.tolist(), earned, strict=True):
            counts = self._tallied.setdefault(place, np.zeros(CONTEXT_COLUMNS, np.int64))
            counts += (is_first, more)

    def _count_delays(self, news: News, groups: Indices, buckets: Indices) -> None:
        """Count how late came what has come now, as the ledger's tallies do."""
        shape = len(self._segments) * len(self._arms), COLUMNS
        window_ms = self._definition.window_ms
        came = np.flatnonzero((news.after != 0.0) & ((news.before == 0.0) | news.is_first))
        for at in came.tolist():
            delay_ms = 0 if news.delays_ms is None else int(news.delays_ms[at])
            counts = self._delays.setdefault(int(buckets[at]), np.zeros(shape, np.int64))
            counts[groups[at], column_for(delay_ms, window_ms)] += 1

    def _count_importance(self, news: News, groups: Indices, buckets: Indices) -> None:
        """Count by 1 / propensity, as the ledger's tallies do."""
        shape = len(self._segments) * len(self._arms), IMPORTANCE_COLUMNS
        before, after = (np.rint(np.ldexp(r, self._grid.reward_exponent)) for r in (news.before, news.after))
        propensities = self._propensity[news.places]
        drawn = entries_of_many(propensities, np.full(len(before), ONE)) * news.is_first
        earned = entries_of_many(propensities, after) - entries_of_many(propensities, before)
        for bucket in np.unique(buckets).tolist():
            counts = self._importance.setdefault(bucket, np.zeros(shape, np.int64))
            mine = buckets == bucket
            np.add.at(counts, groups[mine], np.column_stack((drawn, earned))[mine])

    def _count_groups(self, news: News, groups: Indices, buckets: Indices, dr: Floats, drr: Floats) -> None:
        """Count in groups at random, as the ledger's tallies do; an action is named by its number."""
        parted = groups * GROUPS + np.array([group_for(str(place)) for place in news.places.tolist()])
        count = len(self._segments) * len(self._arms) * GROUPS
        for bucket in np.unique(buckets).tolist():
            mine = buckets == bucket
            vectors = self._vectors[news.places[mine]]
            sums = fold(parted[mine], count, news.is_first[mine], dr[mine], drr[mine], vectors)
            known = self._parted.get(bucket)
            self._parted[bucket] = sums if known is None else known + sums

    def _grow_older(self, now_ms: int) -> None:
        """Let go of what was derived at another time."""
        if now_ms != self._now_ms:
            self._now_ms = now_ms
            self._weighed = self._snapshot = None
            self._posteriors.clear()

    def _encode(self, moments: Moments) -> NDArray[np.int16]:
        if not self._definition.dimension:
            return np.zeros((len(moments.places), 0), np.int16)
        vectors, errors = self._definition.features.encode_at(moments.contexts, moments.at_ms.tolist())
        fault = next((error for error in errors if error is not None), None)
        if fault is not None:
            raise ConfigError(f"policy {self._definition.name}", [f"can't encode the environment's context: {fault}"])
        return vectors

    def _segment_codes(self, moments: Moments) -> Indices:
        if len(self._segments) == 1:
            return np.zeros(len(moments.places), np.int64)
        filled = map(self._definition.features.filled, moments.contexts, moments.at_ms.tolist())
        return np.array([self._segments[self._definition.segments.segment_for(context)] for context in filled])

    def _plans(self, moments: Moments) -> list[Plan]:
        """Ask a node for each moment what it would draw from."""
        offered = None if len(moments.eligible) == len(self._arms) else [self._arms[arm] for arm in moments.eligible]
        asked = [
            Asked(self._definition.name, context, offered, str(place), at_ms)
            for place, at_ms, context in zip(
                moments.places.tolist(), moments.at_ms.tolist(), moments.contexts, strict=True
            )
        ]
        plans = []
        for one, made in zip(asked, consider(self._published(), asked), strict=True):
            if isinstance(made, NoAnswer):
                raise ConfigError(
                    f"policy {self._definition.name}",
                    [f"shows nothing at decision {one.action_id}, context {dict(one.context)!r}: {made.detail}"],
                )
            if made.fallback == "unencodable-context":
                raise ConfigError(
                    f"policy {self._definition.name}", [f"can't encode the environment's context: {made.detail}"]
                )
            if made.fallback is not None:
                self.fallbacks[made.fallback] += 1
            plans.append(made)
        return plans

    def _published(self) -> LoadedSnapshot:
        """Return what is known as a node would have it: where people keep answers, what was known as an epoch began."""
        assignment, live = self._definition.assignment, self._live
        if assignment is not None and live is not None and not assignment.is_over(live.event_time_ms, self._learned_ms):
            return live
        if self._snapshot is None:
            definition = self._definition
            counts = self._counts() if definition.floors.go_by_counts else {}
            index = {arm: place for place, arm in enumerate(self._sorted_arms)}
            segments = {
                name: SegmentPosterior(self._sorted_arms, self._posterior(code), index, counts.get(name, {}))
                for name, code in self._segments.items()
            }
            self._versions += 1
            self._snapshot = LoadedSnapshot(
                definition.name, self._versions, "", "", self._learned_ms, {}, definition, self._model, segments,
                self._exposures(),
            )  # fmt: skip
        self._live = self._snapshot
        return self._snapshot

    def _counts(self) -> Mapping[str, Mapping[str, int]]:
        """Return how many decisions of each arm have counted, by segment."""
        shape = len(self._segments), len(self._arms)
        n = sum((sums[:, 0] for sums in self._rows.values()), np.zeros(shape[0] * shape[1], np.int64)).reshape(shape)
        return {
            name: dict(zip(self._arms, row, strict=True)) for name, row in zip(self._segments, n.tolist(), strict=True)
        }

    def _exposures(self) -> list[Exposures]:
        """Return how often each arm was shown, in the windows that guardrails go by."""
        if not self._definition.guardrails.windows_ms:
            return []
        told = count_exposures(self._definition, self.rows(), self._learned_ms)
        return [
            Exposures(one["window_ms"], one["until_ms"], dict(zip(self._sorted_arms, one["counts"], strict=True)))
            for one in told
        ]

    def _posterior(self, segment: int) -> Posterior:
        if segment not in self._posteriors:
            weighed = self._weighed = self._weighed or self._weigh()
            codes = list(self._segments.values()) if self._is_joint else [segment]
            names = [self._segment_names[code] for code in codes]
            sums = [[weighed[name, arm] for arm in self._sorted_arms] for name in names]
            self._posteriors |= zip(codes, posteriors(self._model, sums, self._grid), strict=True)
        return self._posteriors[segment]

    def _weigh(self) -> Mapping[tuple[str, str], Sums]:
        return weigh_buckets(self._definition, self.rows(), self._now_ms)

    def rows(self) -> list[tuple[RowKey, Statistics]]:
        """Return the statistics by row, and what is counted beside them."""
        name, generation = self._definition.name, self._definition.generation
        rows = [(RowKey(name, generation, *key), statistics) for key, statistics in self.statistics().items()]
        names = [(segment, arm) for segment in self._segments for arm in self._arms]
        tally = DELAY_ROW + self._definition.reward.outcomes[0].kind
        for bucket, counts in self._delays.items():
            for group in np.flatnonzero(counts.any(axis=1)).tolist():
                key = RowKey(name, generation, *names[group], bucket, tally)
                rows.append((key, Statistics(-COLUMNS, counts[group])))
        for bucket, sums in self._parted.items():
            for place in np.flatnonzero(sums[:, 0]).tolist():
                group, part = divmod(place, GROUPS)
                key = RowKey(name, generation, *names[group], bucket, group_name(part))
                rows.append((key, Statistics(self._definition.dimension, sums[place])))
        for bucket, counts in self._importance.items():
            for group in np.flatnonzero(counts[:, 0]).tolist():
                key = RowKey(name, generation, *names[group], bucket, IMPORTANCE_ROW)
                rows.append((key, Statistics(-IMPORTANCE_COLUMNS, counts[group])))
        for (bucket, group, row), counts in self._tallied.items():
            key = RowKey(name, generation, *names[group], bucket, row)
            rows.append((key, Statistics(-len(counts), counts)))
        return rows

    def _forget(self, segments: Indices) -> None:
        """Let go of what was derived for segments that have learned; for all, where that says something of them."""
        self._weighed = self._snapshot = None
        if self._is_joint or not self._definition.forgetting.is_none:
            self._posteriors.clear()
            return
        learned = set(segments.tolist())
        for segment in learned:
            self._posteriors.pop(segment, None)

    def _remember(self, moments: Moments, choices: Choices, segments: Indices, vectors: NDArray[np.int16]) -> None:
        last = int(moments.places[-1]) + 1
        if last > len(self._arm):
            size = max(2 * len(self._arm), last, 1_024)
            self._arm, self._segment, self._bucket = (
                np.resize(kept, size) if len(kept) else np.zeros(size, np.int64)
                for kept in (self._arm, self._segment, self._bucket)
            )
            more = size - len(self._propensity)
            self._propensity = np.append(self._propensity, np.zeros(more))
            self._is_analysis = np.append(self._is_analysis, np.zeros(more, np.bool_))
            grown = np.zeros((size, vectors.shape[1]), np.int16)
            grown[: len(self._vectors)] = self._vectors
            self._vectors = grown
        self._arm[moments.places], self._propensity[moments.places] = choices
        self._segment[moments.places] = segments
        self._bucket[moments.places] = moments.at_ms // self._definition.bucket_ms
        self._vectors[moments.places] = vectors


def _credits(came: Mapping[str, float], late_ms: int) -> list[Credit]:
    """Return what has come of a decision of time 0."""
    return [Credit(kind, kind, value, late_ms) for kind, value in sorted(came.items())]
