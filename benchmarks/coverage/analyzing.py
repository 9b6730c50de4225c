"""`pipeline analyze` where nothing depends on whom an arm is shown to: how often it says that something does.

Two arms, of which b earns as much more of everybody; what a visitor earns goes by the device and by age, whatever is
shown. So no field is one by which effects differ, and context gains nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from benchmarks.coverage.entries import ARMS, SEGMENT, policy
from benchmarks.coverage.figures import WITHHELD, Said
from benchmarks.coverage.sample import Floats, Integers
from pipeline.analyze.analyze import Settings, analyze
from pipeline.errors import ConfigError
from pipeline.evaluate.ledger import ActionKey, Entry, Gathering
from pipeline.events import Decision

SIGNIFICANT = 0.05
ALARMS, WORTH = "analyze: no field alarms", "analyze: context is not said to be worth it"


class Kind(NamedTuple):
    """Who comes, and what arm b is drawn with."""

    people: int
    visits: int = 1
    rate: float = 0.2
    b: float = 0.5


def analysis(rng: np.random.Generator, *, kind: Kind) -> dict[str, Said]:
    """Say whether no field raised an alarm, and whether context was not said to be worth it."""
    of = np.repeat(np.arange(kind.people), kind.visits)
    phone, age = rng.random(kind.people) < 0.6, rng.uniform(18.0, 80.0, kind.people)
    # A rate that goes by device and age; of people who come back, by the person as well.
    likes = rng.choice([0.1, 1.9], kind.people) if kind.visits > 1 else np.ones(kind.people)
    rate = kind.rate * likes * (0.7 + 0.4 * phone + 0.3 * (age - 18.0) / 62.0)
    arm = (rng.random(len(of)) < kind.b).astype(np.int64)
    won = rng.random(len(of)) < rate[of] + 0.1 * kind.rate * arm
    log, _ = _gathered(of, arm, won.astype(np.float64), phone[of], age[of], kind.b).log()
    try:
        found = analyze(log, Settings(), rng)
    except ConfigError:  # the arm that is hardly ever shown was shown too seldom for the tool to speak of it
        return {ALARMS: WITHHELD, WORTH: WITHHELD}
    alarms = [effect.adjusted for effect in found.effects]
    return {
        ALARMS: Said(min(alarms, default=1.0) >= SIGNIFICANT),
        WORTH: Said(found.personalise != "yes"),
    }


def _gathered(of: Integers, arm: Integers, reward: Floats, phone: np.ndarray, age: Floats, b: float) -> Gathering:
    definition = policy(2, 1.0, 0.0)
    gathering = Gathering(definition)
    columns = zip(*(one.tolist() for one in (of, arm, reward, phone, age)), strict=True)
    for place, (person, shown, earned, is_phone, years) in enumerate(columns):
        chances = (1.0 - b, b)
        decision = Decision(
            action_id=str(place),
            policy=definition.name,
            generation=1,
            segment=SEGMENT,
            arm=ARMS[shown],
            propensity=chances[shown],
            eligible=ARMS[:2],
            probabilities=chances,
            context={"device": "phone" if is_phone else "desk", "age": years},
            context_vector=b"",
            schema_hash="",
            decided_at_ms=place * 60_000,
            snapshot_version=1,
            snapshot_id="",
            subject_hash=f"s{person}",
            reason="policy",
        )
        gathering.entries[ActionKey(str(place), decision.decided_at_ms)] = Entry(2, True, earned, SEGMENT, decision)  # noqa: FBT003
    return gathering
