"""What the whole loop must come to, said again from the documents alone, as slowly and plainly as it can be said.

Imports nothing of the package: a mistake would have to be made twice. It knows no time and no order: an outcome
counts if it occurred inside its kind's window, a repeated id counts once, and everything has settled.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from hashlib import blake2b
from typing import Any, NamedTuple

Fields = Mapping[str, Any]
Key = tuple[str, str, int] | tuple[str, str, int, str]
Sums = dict[Key, list[int]]
LOGISTIC = {"logistic_thompson", "logistic_ucb", "logistic_hybrid_thompson", "logistic_hybrid_ucb"}
UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class NaiveFold(NamedTuple):
    """The sums of one policy generation, and their hash."""

    sums: Sums
    """(segment, arm, bucket) → [n, Σr, Σr², b…, upper triangle of A row by row], grid units; where delays are corrected
    for, also (segment, arm, bucket, "delay:" + kind) → of how many decisions the first such outcome came so late, and
    (segment, arm, bucket, "settled") → [how many have settled], which is all of them; where kinds are counted apart, r
    is 0 and (segment, arm, bucket, "objectives") → [Σc of each kind, Σcc' of each pair, Σcx of each kind]; where
    decisions are counted by context, (segment, arm, bucket, "context:" + entries) → [n, Σr]; where by propensity p,
    none below 2^-15, (segment, arm, bucket, "importance") → [Σ 2^15/p, Σ r/p], or Σ c/p of each kind;
    where by group, (segment, arm, bucket, "group:" + number) → the same sums of the decisions in the group."""
    sha256: str
    """`posterior_sha256` as `pipeline/publish/snapshot.py` documents it."""


def naive_fold(policy: Fields, decisions: Iterable[Fields], outcomes: Iterable[Fields]) -> NaiveFold:
    """Fold JSON decisions and outcomes, in any order, repeats included.

    `policy` is the plain value of its TOML file, with every algorithm parameter written out.
    """
    exponent = reward_exponent(policy)
    sums = sum_up(naive_ledger(policy, decisions, outcomes).values())
    if policy.get("attribution", {}).get("settle") == "delay_corrected":
        sums |= {(*key, "settled"): [row[0]] for key, row in list(sums.items()) if len(key) == 3}
    return NaiveFold(sums, sha256_of(policy, exponent, sums))


class NaiveEntry(NamedTuple):
    """What one action has earned when all is settled."""

    key: tuple[str, str, int]
    """(segment, arm, bucket)."""
    reward: int
    """Grid units."""
    vector: tuple[int, ...]
    outcomes: frozenset[str]
    """Ids of what is credited."""
    delays: tuple[tuple[str, int], ...] = ()
    """(kind, column of its first outcome's delay)."""
    amounts: tuple[int, ...] = ()
    """Where kinds are counted apart: how much of each came, kinds sorted; empty where nothing came."""
    context: str = ""
    """Names the row of its context, where decisions are counted by context."""
    importance: tuple[int, ...] = ()
    """Where decisions count by propensity: 2^15/p, and r/p or c/p of each kind, to the nearest whole number."""
    group: str = ""
    """Names the row of its group, where decisions are parted at random."""
    is_analysis: bool = False
    """Shown, told, and never learned from."""
    is_undecodable: bool = False
    """The same, of a decision whose context gave no vector."""


def naive_ledger(policy: Fields, decisions: Iterable[Fields], outcomes: Iterable[Fields]) -> dict[str, NaiveEntry]:
    """Return the last ledger entry of each action of the policy's generation."""
    shown = first_by_id(decisions, "action_id")
    credited: dict[str, list[Fields]] = {action_id: [] for action_id in shown}
    for outcome in first_by_id(outcomes, "outcome_id").values():
        decision = shown.get(outcome["action_id"])
        if decision is not None and is_credited(policy, decision, outcome):
            credited[outcome["action_id"]].append(outcome)
    exponent = reward_exponent(policy)
    bucket_ms = milliseconds(policy["statistics"]["bucket"])
    return {
        action_id: NaiveEntry(
            (decision["segment"], decision["arm"], decision["decided_at_ms"] // bucket_ms),
            grid_reward(policy, credited[action_id], exponent),
            tuple(decision.get("context_vector", [])),
            frozenset(map(kept_name, credited[action_id])),
            first_delays(policy, decision, credited[action_id]),
            amounts_of(policy, credited[action_id]),
            context_row(policy, decision.get("context_vector", [])),
            importance_of(policy, decision["propensity"], credited[action_id]),
            group_of(policy, action_id),
            decision.get("is_analysis", False),
        )
        for action_id, decision in shown.items()
        if (decision["policy"], decision.get("generation", 1)) == (policy["name"], policy.get("generation", 1))
    }


def kept_name(outcome: Fields) -> str:
    """Say by what an outcome is known: a UUID by itself, anything else by its hash, with the action's id before it."""
    name: str = outcome["outcome_id"]
    if re.fullmatch("[0-9a-f]{32}", name) or re.fullmatch("[0-9a-f]{8}-.{4}-.{4}-.{4}-[0-9a-f]{12}", name):
        return name
    return blake2b(f"{outcome['action_id']}\0{name}".encode(), digest_size=16, person=b"outcome.1").hexdigest()


def first_delays(policy: Fields, decision: Fields, outcomes: list[Fields]) -> tuple[tuple[str, int], ...]:
    """Say in which column the first outcome of each kind counts: the columns end at 1, 1.5, 2, 3, 4, 6, 8, … s."""
    if policy.get("attribution", {}).get("settle") != "delay_corrected":
        return ()
    found = []
    for kind in {outcome["kind"] for outcome in outcomes}:
        rule = rule_of(policy, kind)
        assert rule is not None
        late_ms = min(o["occurred_at_ms"] for o in outcomes if o["kind"] == kind) - decision["decided_at_ms"]
        # At the very end of its window an outcome is in the last column that the window reaches into.
        late_ms = min(late_ms, milliseconds(rule["window"]) - 1)
        column, octave_ms = 0, 1_000
        while late_ms >= octave_ms:
            column += 1 + (late_ms >= octave_ms * 3 // 2)
            octave_ms *= 2
        found.append((kind, min(column, 43)))
    return tuple(sorted(found))


def importance_of(policy: Fields, propensity: float, outcomes: list[Fields]) -> tuple[int, ...]:
    """Weigh a decision by 1 / propensity: float64 quotients, a half to even."""
    if not counts_propensities(policy):
        return ()
    amounts = [grid_reward(policy, outcomes, reward_exponent(policy))]
    if policy["reward"]["combine"] == "weighted":
        amounts = list(amounts_of(policy, outcomes)) or [0] * len(kinds_of(policy))
    return tuple(round(amount / max(propensity, 1 / 2**15)) for amount in [2**15, *amounts])


def group_of(policy: Fields, action_id: str) -> str:
    """Name the group: one byte of a hash of the action, modulo 16."""
    if policy["algorithm"]["name"] != "linear_ensemble":
        return ""
    return f"group:{hashlib.blake2b(action_id.encode(), digest_size=1).digest()[0] % 16}"


def counts_propensities(policy: Fields) -> bool:
    """Whether the algorithm wants that."""
    return policy["algorithm"]["name"] in {"exp3", "tsallis_inf"}


def context_row(policy: Fields, vector: list[int]) -> str:
    """Name the context: its entries in steps of 2^-bits, a half to even."""
    bits = context_bits(policy)
    if bits is None:
        return ""
    return "context:" + ",".join(str(round(Fraction(entry, 2 ** (12 - bits)))) for entry in vector)


def context_bits(policy: Fields) -> int | None:
    """Return the most bits with which features make no more contexts than there may be; None where none are counted."""
    if policy["algorithm"]["name"] not in LOGISTIC:
        return None
    most = policy["statistics"].get("contexts", 65_536)

    def possible(bits: int) -> int:
        found = 1
        if "encoder" in policy:
            for _ in range(policy["encoder"]["layers"][-1]["units"]):
                found *= 1 + round(Fraction(32_767, 2 ** (12 - bits)))
            return found
        for feature in policy["context"]:
            assert feature["kind"] == "numeric"
            found *= 1 + 2 * 2**bits
        return found

    return max(bits for bits in range(13) if possible(bits) <= most)


def amounts_of(policy: Fields, outcomes: list[Fields]) -> tuple[int, ...]:
    """Say how much of each kind came: 0 or 1, or the sum of its values within their bounds, in steps towards 0."""
    if policy["reward"]["combine"] != "weighted":
        return ()
    found = []
    for rule in kinds_of(policy):
        low, high, exponent = amount_grid(rule)
        values = [Fraction(o["value"]) if rule.get("times_value") else 1 for o in outcomes if o["kind"] == rule["kind"]]
        # The exact sum as the nearest float64, then the bounds.
        bounded = min(max(Fraction(float(sum(values))), low), high)
        found.append(int(bounded * Fraction(2) ** exponent))
    return tuple(found) if any(found) else ()


def kinds_of(policy: Fields) -> list[Fields]:
    """Return the rules of the outcome kinds, sorted."""
    return sorted(policy["reward"]["outcomes"], key=lambda rule: rule["kind"])


def amount_grid(rule: Fields) -> tuple[Fraction, Fraction, int]:
    """Return the bounds of how much of a kind can come, and the largest e with that times 2**e within 2**15."""
    if not rule.get("times_value"):
        return Fraction(0), Fraction(1), 0
    low, high = min(Fraction(rule["value_low"]), Fraction(0)), max(Fraction(rule["value_high"]), Fraction(0))
    exponent = 64
    while max(-low, high) * Fraction(2) ** exponent > 2**15:
        exponent -= 1
    return low, high, exponent


def worth_on_grid(policy: Fields, rule: Fields) -> Fraction:
    """Round a worth towards 0, to steps of 2^-30 of the reward's."""
    unit = Fraction(2) ** (reward_exponent(policy) + 30)
    return int(Fraction(rule["worth"]) * unit) / unit


def weighted_reward(policy: Fields, amounts: tuple[int, ...]) -> Fraction:
    """Return what the kinds are worth together, in units of reward, exactly."""
    worths = [
        worth_on_grid(policy, rule) * c / Fraction(2) ** amount_grid(rule)[2]
        for rule, c in zip(kinds_of(policy), amounts, strict=False)
    ]
    return sum(worths, Fraction(0))


def objectives(amounts: tuple[int, ...], x: list[int]) -> list[int]:
    """Return what one decision adds beside the sums."""
    pairs = [amounts[i] * amounts[j] for i in range(len(amounts)) for j in range(i, len(amounts))]
    return [*amounts, *pairs, *(c * entry for c in amounts for entry in x)]


def sum_up(entries: Iterable[NaiveEntry]) -> Sums:
    """Add up what the entries contribute."""
    sums: Sums = {}
    for entry in entries:
        if entry.is_analysis or entry.is_undecodable:
            continue
        add(sums, entry.key, contribution(entry.reward, list(entry.vector)))
        for kind, column in entry.delays:
            add(sums, (*entry.key, f"delay:{kind}"), [int(index == column) for index in range(44)])
        if entry.context:
            add(sums, (*entry.key, entry.context), [1, entry.reward])
        if entry.group:
            add(sums, (*entry.key, entry.group), contribution(entry.reward, list(entry.vector)))
        if entry.importance:
            add(sums, (*entry.key, "importance"), list(entry.importance))
        if entry.amounts:
            add(sums, (*entry.key, "objectives"), objectives(entry.amounts, list(entry.vector)))
    return sums


def add(sums: Sums, key: Key, change: list[int]) -> None:
    """Add to a row."""
    known = sums.get(key, [0] * len(change))
    sums[key] = [a + b for a, b in zip(known, change, strict=True)]


def first_by_id(records: Iterable[Fields], name: str) -> dict[str, Fields]:
    """Keep the first record of each id."""
    kept: dict[str, Fields] = {}
    for record in records:
        kept.setdefault(record[name], record)
    return kept


def is_credited(policy: Fields, decision: Fields, outcome: Fields) -> bool:
    """Whether the kind is known, the value accepted, and it occurred in [decided, decided + window]."""
    rule = rule_of(policy, outcome["kind"])
    if rule is None:
        return False
    value = outcome.get("value", 1.0)
    if rule.get("times_value") and not rule["value_low"] <= value <= rule["value_high"]:
        return False
    return 0 <= outcome["occurred_at_ms"] - decision["decided_at_ms"] <= milliseconds(rule["window"])


def rule_of(policy: Fields, kind: str) -> Fields | None:
    """Return what the policy says of an outcome kind."""
    return next((rule for rule in policy["reward"]["outcomes"] if rule["kind"] == kind), None)


def milliseconds(duration: str) -> int:
    """Read a duration such as "30s"."""
    digits = duration.rstrip("dhms")
    return int(digits) * UNITS_MS[duration[len(digits) :]]


def reward_exponent(policy: Fields) -> int:
    """Return the largest e with max(|low|, |high|) * 2**e <= 2**15."""
    largest = max(abs(Fraction(policy["reward"]["low"])), abs(Fraction(policy["reward"]["high"])))
    exponent = 64
    while largest * Fraction(2) ** exponent > 2**15:
        exponent -= 1
    return exponent


def grid_reward(policy: Fields, outcomes: list[Fields], exponent: int) -> int:
    """Combine, clamp to the bounds, and round once to steps of 2**-exponent, a half to even."""
    rules = policy["reward"]
    worths = [worth(policy, outcome) for outcome in sorted(outcomes, key=lambda o: (o["occurred_at_ms"], kept_name(o)))]
    combined = 0.0
    if worths and rules["combine"] != "weighted":
        combined = {
            "first": lambda: worths[0],
            "last": lambda: worths[-1],
            "max": lambda: max(worths),
            # The exact sum as the nearest float64, then the cap.
            "sum": lambda: min(float(sum(map(Fraction, worths))), rules.get("cap", float("inf"))),
        }[rules["combine"]]()
    bounded = min(max(Fraction(combined), Fraction(rules["low"])), Fraction(rules["high"]))
    return round(bounded * Fraction(2) ** exponent)


def worth(policy: Fields, outcome: Fields) -> float:
    """Return one outcome's reward, a float64."""
    rule = rule_of(policy, outcome["kind"])
    assert rule is not None
    return float(rule["worth"]) * float(outcome.get("value", 1.0)) if rule.get("times_value") else float(rule["worth"])


def contribution(reward: int, x: list[int]) -> list[int]:
    """Return what one decision adds."""
    triangle = [x[i] * x[j] for i in range(len(x)) for j in range(i, len(x))]
    return [1, reward, reward * reward, *(reward * entry for entry in x), *triangle]


def sha256_of(policy: Fields, exponent: int, sums: Mapping[Any, list[int]]) -> str:
    """Hash canonical JSON: keys sorted, no spaces, floats as Python writes them."""
    tallies = {key: row for key, row in sums.items() if len(key) == 4}
    sums = {key: row for key, row in sums.items() if len(key) == 3}
    algorithm = dict(policy["algorithm"])
    name = algorithm.pop("name")
    arms = [arm_part(policy, arm) for arm in sorted(policy["arms"], key=lambda arm: arm["name"])]
    arms = [arm for arm in arms if arm[1] or arm[2]]
    forgetting = policy.get("forgetting", {})
    durations = [milliseconds(forgetting[key]) if key in forgetting else None for key in ("half_life", "window")]
    content = {
        "algorithm": [name, [[key, float(algorithm[key])] for key in sorted(algorithm)]],
        **({"arms": arms} if arms else {}),
        **({"forgetting": [*durations, milliseconds(policy["statistics"]["bucket"])]} if forgetting else {}),
        "reward_exponent": exponent,
    }
    if name in {"auto_linear", "auto_rates"}:
        content["bounds"] = [float(policy["reward"]["low"]), float(policy["reward"]["high"])]
    if policy.get("attribution", {}).get("settle") == "delay_corrected":
        content["delays"] = delays_part(policy)
    if policy["reward"].get("combine") == "weighted":
        content["kinds"] = [
            [rule["kind"], float(worth_on_grid(policy, rule)), amount_grid(rule)[2]] for rule in kinds_of(policy)
        ]
    if (bits := context_bits(policy)) is not None:
        content["contexts"] = bits
    told_apart = {"delays", "kinds", "contexts"} & content.keys() or counts_propensities(policy) or group_of(policy, "")
    content["spans"] = spans_of(sums, tallies if told_apart else {})
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def spans_of(sums: Mapping[Any, list[int]], tallies: Mapping[Any, list[int]]) -> list[list[Any]]:
    """Hash what is counted together: old buckets by 2, 4, 8 …, when 16 times as many lie behind them and the newest."""
    newest = max((key[2] for key in sums), default=0)
    spans: dict[int, Sums] = {}
    for key, row in {**sums, **tallies}.items():
        first = last = middle = key[2]
        for count in (2**power for power in range(1, 50)):
            start = key[2] - key[2] % count
            if start + count - 1 + 16 * count <= newest:
                first, last, middle = start, start + count - 1, start + count // 2
        assert first <= key[2] <= last
        add(spans.setdefault(middle, {}), (key[0], key[1], 0, "" if len(key) == 3 else key[3]), row)
    found = []
    for middle in sorted(spans):
        rows = [[key[0], key[1], key[3], row] for key, row in sorted(spans[middle].items()) if any(row)]
        text = json.dumps(rows, separators=(",", ":"), ensure_ascii=False)
        found += [[middle, hashlib.sha256(text.encode()).hexdigest()]] if rows else []
    return found


def delays_part(policy: Fields) -> list[Any]:
    """Return what the correction goes by; no event time, since everything has settled."""
    bucket_ms = milliseconds(policy["statistics"]["bucket"])
    rules = sorted(policy["reward"]["outcomes"], key=lambda rule: rule["kind"])
    kinds = []
    for rule in rules:
        size = (abs(rule["value_low"]) + abs(rule["value_high"])) / 2 if rule.get("times_value") else 1.0
        kinds.append([rule["kind"], abs(float(rule["worth"])) * size, milliseconds(rule["window"])])
    return [0, bucket_ms, kinds]


def arm_part(policy: Fields, arm: Fields) -> list[Any]:
    """Return what is known of an arm beforehand: its prior, with the widest variance of its mean, and its features."""
    prior = arm.get("prior")
    if prior is not None:
        mean, low, high = (float(value) for value in (prior["mean"], policy["reward"]["low"], policy["reward"]["high"]))
        prior = [mean, float(prior["weight"]), (mean - low) * (high - mean)]
    features = arm.get("features", {})
    return [arm["name"], prior, [[name, float(features[name])] for name in sorted(features)]]
