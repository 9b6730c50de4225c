"""Rows of the Open Bandit dataset → a policy, and the records of its log in the order of event time. Pure.

Saito, Aihara, Matsutani, Narita, "Open Bandit Dataset and Pipeline: Towards Realistic and Reproducible
Off-Policy Evaluation", arXiv:2008.07146. A row is an impression: an item (the arm) shown at one of three
positions (the segment), with the propensity it was drawn with, and whether it was clicked.
"""

from __future__ import annotations

import csv
import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import orjson

from pipeline.demo.recount import ArmKey, Total
from pipeline.errors import ConfigError
from pipeline.join.progress import DECISIONS, OUTCOMES
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.parsing.parse import parse_policy

POLICY = "open-bandit"
CLICK_AFTER_MS = 1_000
"""The dataset does not tell when a click came: a second after the impression stands in for it."""
_COLUMNS = ("timestamp", "item_id", "position", "click", "propensity_score")
LEAST_PROPENSITY = 1e-6
"""Below it one impression would stand for more than a million."""
_FEATURE_PREFIX = "user_feature_"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Impression(NamedTuple):
    """One row."""

    row: int
    """Its place in the file, from 0."""
    at_ms: int
    item: str
    position: int
    is_clicked: bool
    propensity: float
    features: Mapping[str, str]

    @property
    def action_id(self) -> str:
        """Names the decision."""
        return f"ob-{self.row}"


class LogRecord(NamedTuple):
    """A record to produce; its key is the action_id."""

    at_ms: int
    topic: str
    action_id: str
    value: bytes


def read_impressions(lines: Iterable[str], source: str) -> list[Impression]:
    """Read a campaign's CSV; `source` names it in errors.

    Raises:
        ConfigError: a column is missing, or a row can't be read.
    """
    reader = csv.DictReader(_legible(lines, source))
    missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise ConfigError(source, [f"column {column} is missing" for column in missing])
    impressions = []
    row = -1
    try:
        for row, cells in enumerate(reader):
            impressions.append(_impression(row, cells))
    except csv.Error as error:
        raise ConfigError(source, [f"row {row + 3}: {error}"]) from error
    except (TypeError, ValueError) as error:
        raise ConfigError(source, [f"row {row + 2}: {error}"]) from error
    if not impressions:
        raise ConfigError(source, ["holds no rows"])
    return impressions


def _legible(lines: Iterable[str], source: str) -> Iterator[str]:
    """Yield lines; what was no UTF-8 stands in them as lone surrogates, and is a fault."""
    for number, line in enumerate(lines, 1):
        if not line.isascii() and any("\udc80" <= letter <= "\udcff" for letter in line):
            raise ConfigError(source, [f"line {number}: is no UTF-8; export the table as UTF-8"])
        yield line


def policy_for(impressions: Sequence[Impression]) -> PolicyDefinition:
    """Return the policy of a log: every item an arm, every position a segment, a click worth 1.

    A decision is held for outcomes 30 days, longer than the log is long: however far one topic is read ahead
    of the other when days are played in seconds, no click comes too late.
    """
    items = sorted({impression.item for impression in impressions}, key=int)
    positions = sorted({impression.position for impression in impressions})
    rules = [{"name": str(position), "when": {"position": {"equals": position}}} for position in positions]
    click = {"kind": "click", "worth": 1.0, "window": "1h"}
    return parse_policy(
        {
            "name": POLICY,
            "arms": [{"name": item} for item in items],
            "segments": {"default": "other", "rules": rules},
            "algorithm": {"name": "beta_thompson"},
            "reward": {"low": 0.0, "high": 1.0, "combine": "max", "outcomes": [click]},
            "attribution": {"settle": "wait", "grace": "30d"},
            "exploration": {"floor": 0.0},
            "publish": {"interval": "200ms"},
            "statistics": {"bucket": "1d"},
        },
        "the policy of the log",
    )


def log_records(impressions: Iterable[Impression]) -> Iterator[LogRecord]:
    """Yield a decision an impression and an outcome a click, in the order of event time."""
    ordered = sorted(impressions, key=lambda impression: impression.at_ms)
    clicked = (impression for impression in ordered if impression.is_clicked)
    return heapq.merge(map(_decision, ordered), map(_outcome, clicked), key=lambda record: record.at_ms)


def expected_totals(impressions: Iterable[Impression], reward_exponent: int) -> dict[ArmKey, Total]:
    """Count the rows and clicks of every (position, item): what the loop must come to."""
    totals: dict[ArmKey, Total] = {}
    for impression in impressions:
        key = (str(impression.position), impression.item)
        count, reward_sum = totals.get(key, (0, 0))
        totals[key] = Total(count + 1, reward_sum + (impression.is_clicked << reward_exponent))
    return totals


def _impression(row: int, cells: Mapping[str, str]) -> Impression:
    return Impression(
        row=row,
        at_ms=_epoch_ms(cells["timestamp"]),
        item=str(int(cells["item_id"])),
        position=int(cells["position"]),
        is_clicked=bool(int(cells["click"])),
        propensity=_propensity(cells["propensity_score"]),
        features={name: value for name, value in cells.items() if name.startswith(_FEATURE_PREFIX)},
    )


def _propensity(text: str) -> float:
    propensity = float(text)
    if not LEAST_PROPENSITY <= propensity <= 1.0:
        raise ValueError(f"propensity_score is {text!r}, expected a chance from {LEAST_PROPENSITY:g} to 1")
    return propensity


def _epoch_ms(text: str) -> int:
    """Read a timestamp with its zone; what is below a millisecond is cut off.

    >>> _epoch_ms("2019-11-24 00:03:24.688993+00:00")
    1574553804688
    """
    since = datetime.fromisoformat(text) - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000 + since.microseconds // 1_000


def _decision(impression: Impression) -> LogRecord:
    fields = {
        "action_id": impression.action_id,
        "policy": POLICY,
        "segment": str(impression.position),
        "arm": impression.item,
        "propensity": impression.propensity,
        "context": {"position": impression.position, **impression.features},
        "decided_at_ms": impression.at_ms,
    }
    return LogRecord(impression.at_ms, DECISIONS, impression.action_id, orjson.dumps(fields))


def _outcome(impression: Impression) -> LogRecord:
    at_ms = impression.at_ms + CLICK_AFTER_MS
    fields = {
        "outcome_id": f"{impression.action_id}-click",
        "action_id": impression.action_id,
        "kind": "click",
        "occurred_at_ms": at_ms,
    }
    return LogRecord(at_ms, OUTCOMES, impression.action_id, orjson.dumps(fields))
