"""A file of decisions → a log: a table as a spreadsheet writes it, or JSON lines. Pure.

    arm           what was shown
    reward        what came of it
    propensity    how likely the arm was then; not there: all arms are taken to have been drawn with the shares seen
    subject       whom it was made for; not there: each decision stands for itself
    segment       which part of the traffic it was in
    time          when: ISO 8601 (UTC where no zone is given), or seconds or milliseconds since 1970

All other columns, or in JSON lines what `context` holds where it is there, are the context.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import NamedTuple

import numpy as np

from pipeline.errors import ConfigError
from pipeline.evaluate.json_lines import is_json_lines, read_json_lines
from pipeline.evaluate.log import DecisionLog, Indices
from pipeline.evaluate.spreadsheet import FAULTS_SHOWN, read_sheet
from pipeline.models.model import Floats
from pipeline.policy.render_value import shown

ROLES: Mapping[str, tuple[str, ...]] = {
    "arm": ("arm",),
    "reward": ("reward",),
    "propensity": ("propensity",),
    "subject": ("subject", "subject_hash"),
    "segment": ("segment",),
    "time": ("time", "decided_at_ms", "decided_at", "timestamp"),
}
"""The columns that are looked for, the first that is there."""
NEEDED = ("arm", "reward")
WORDS = ("arm", "subject", "segment")
"""What is a name even where it is written in digits."""
LEAST_PROPENSITY = 1e-6
"""As for a warm start: below, a decision would count for a million."""
MILLISECONDS_FROM = 100_000_000_000
"""The year 5138 in seconds, March 1973 in milliseconds."""
_ZONE = re.compile(r"(?:Z|([+-])(\d\d):?(\d\d))$")


class LogFile(NamedTuple):
    """What a file holds."""

    log: DecisionLog
    doubts: list[str]
    """What was guessed, in words."""
    has_propensities: bool
    has_times: bool


class _Columns(NamedTuple):
    """A file's columns by role, as they were written."""

    roles: Mapping[str, Sequence[object]]
    contexts: Sequence[Mapping[str, object]]
    rows: Sequence[int]
    """What a row is called."""
    word: str
    """`row` or `line`."""


def read_log_file(raw: bytes, source: str, named: Mapping[str, str] | None = None) -> LogFile:
    """Read a log.

    Args:
        raw: the file.
        source: names it in errors.
        named: columns by role, where they are called otherwise.

    Raises:
        ConfigError: with the row and the column of each of the first faults.
    """
    names = dict(named or {})
    if unknown := sorted(names.keys() - ROLES):
        raise ConfigError(
            source, [f"{role!r} is no role of a column, expected one of {', '.join(ROLES)}" for role in unknown]
        )
    is_json = is_json_lines(raw)
    columns, doubts = _from_lines(raw, source, names) if is_json else _from_sheet(raw, source, names)
    return _log(columns, source, doubts)


def _from_sheet(raw: bytes, source: str, names: Mapping[str, str]) -> tuple[_Columns, list[str]]:
    sheet = read_sheet(raw, source, [names.get(role, role).casefold() for role in NEEDED])
    found = _roles_among(sheet.columns, {role: name.casefold() for role, name in names.items()}, source)
    roles: dict[str, Sequence[object]] = {
        role: [cell or None for cell in sheet.texts(column)] if role in WORDS else sheet.values(column)
        for role, column in found.items()
    }
    others = [column for column in sheet.columns if column not in found.values() and column]
    contexts = (
        zip(*(sheet.values(column) for column in others), strict=True) if others else iter([()] * len(sheet.rows))
    )
    sheet.check()
    told = [dict(zip(others, row, strict=True)) for row in contexts]
    return _Columns(roles, told, [number for number, _ in sheet.rows], "row"), sheet.doubts_told()


def _from_lines(raw: bytes, source: str, names: Mapping[str, str]) -> tuple[_Columns, list[str]]:
    found = list(read_json_lines(raw, source))
    numbers, lines = [number for number, _ in found], [line for _, line in found]
    keys = list(dict.fromkeys(key for line in lines for key in line))
    of_role = _roles_among(keys, names, source)
    roles = {role: [line.get(key) for line in lines] for role, key in of_role.items()}
    taken = {*of_role.values()}
    contexts = [
        line["context"]
        if isinstance(line.get("context"), dict)
        else {key: value for key, value in line.items() if key not in taken}
        for line in lines
    ]
    return _Columns(roles, contexts, numbers, "line"), []


def _roles_among(columns: Sequence[str], names: Mapping[str, str], source: str) -> dict[str, str]:
    found, faults = {}, []
    for role, usual in ROLES.items():
        wanted = (names[role],) if role in names else usual
        column = next((one for one in wanted if one in columns), None)
        if column is not None:
            found[role] = column
        elif role in NEEDED or role in names:
            seen = shown(", ".join(columns))
            faults.append(f"column {wanted[0]} is missing: seen {seen}. Another name: --column {role}=NAME")
    if faults:
        raise ConfigError(source, faults)
    return found


def _log(columns: _Columns, source: str, doubts: list[str]) -> LogFile:
    if not columns.rows:
        raise ConfigError(source, ["holds no decision"])
    faults: list[str] = []
    roles = columns.roles
    arm_names = _texts(columns, "arm", faults)
    reward = _numbers(columns, "reward", faults)
    propensity = _propensities(columns, arm_names, faults, doubts)
    times = _times(columns, faults, doubts) if "time" in roles else np.zeros(len(columns.rows), np.int64)
    if faults:
        more = len(faults) - FAULTS_SHOWN
        raise ConfigError(source, [*faults[:FAULTS_SHOWN], *([f"and {more:,} more"] if more > 0 else [])])
    segments = ["" if value is None else str(value) for value in roles.get("segment", [""] * len(arm_names))]
    arms, arm = np.unique(np.array(arm_names, object).astype(str), return_inverse=True)
    names, segment = np.unique(np.array(segments, object).astype(str), return_inverse=True)
    possible = np.zeros((len(names), len(arms)), np.bool_)
    possible[segment, arm] = True
    log = DecisionLog(
        arms=tuple(arms.tolist()),
        segments=tuple(names.tolist()),
        arm=arm.astype(np.int64),
        segment=segment.astype(np.int64),
        reward=reward,
        propensity=propensity,
        contexts=columns.contexts,
        decided_at_ms=times,
        offer=segment.astype(np.int64),
        offered=possible.copy(),
        possible=possible,
        bounds=(float(reward.min()), float(reward.max())),
        weight_bound_known=False,
        least_propensity=propensity,
        actions=[f"{columns.word} {number}" for number in columns.rows],
        subjects=[None if value is None else str(value) for value in roles.get("subject", ())],
    )
    return LogFile(
        log.take(np.argsort(times, kind="stable")), doubts, "propensity" in columns.roles, "time" in columns.roles
    )


def _texts(columns: _Columns, role: str, faults: list[str]) -> list[str]:
    values = columns.roles[role]
    for number, value in zip(columns.rows, values, strict=True):
        if value is None or value == "":
            faults.append(f"{columns.word} {number}, {role}: is empty")
    return [str(value) for value in values]


def _numbers(
    columns: _Columns,
    role: str,
    faults: list[str],
    expected: str = "a number",
    least: float = -np.inf,
    most: float = np.inf,
) -> Floats:
    found = np.full(len(columns.rows), np.nan)
    for place, (number, value) in enumerate(zip(columns.rows, columns.roles[role], strict=True)):
        if isinstance(value, int | float) and isfinite(value) and least <= value <= most:
            found[place] = value
        else:
            faults.append(f"{columns.word} {number}, {role}: {shown(value)}, expected {expected}")
    return found


def _propensities(columns: _Columns, arms: Sequence[str], faults: list[str], doubts: list[str]) -> Floats:
    if "propensity" in columns.roles:
        wanted = f"a chance from {LEAST_PROPENSITY:g} to 1"
        return _numbers(columns, "propensity", faults, wanted, LEAST_PROPENSITY, 1.0)
    names, place, counts = np.unique(np.array(arms, object).astype(str), return_inverse=True, return_counts=True)
    shares = counts / len(arms)
    told = ", ".join(f"{name} {share:.3g}" for name, share in list(zip(names, shares, strict=True))[:10])
    doubts.append(
        f"no column propensity: every arm is taken to have been drawn with the same chance for everybody and at all "
        f"times, as in a fair test, which is its share ({told})"
    )
    assumed: Floats = shares[place].astype(np.float64)
    return assumed


def _times(columns: _Columns, faults: list[str], doubts: list[str]) -> Indices:
    found = np.zeros(len(columns.rows), np.int64)
    in_seconds = 0
    for place, (number, value) in enumerate(zip(columns.rows, columns.roles["time"], strict=True)):
        if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value):
            is_seconds = abs(value) < MILLISECONDS_FROM
            in_seconds += is_seconds
            found[place] = round(value * 1_000) if is_seconds else round(value)
            continue
        try:
            found[place] = _iso_ms(str(value).strip())
        except ValueError:
            faults.append(
                f"{columns.word} {number}, time: {shown(value)}, expected a time such as 2025-01-31T12:00:00Z, or "
                "seconds or milliseconds since 1970"
            )
    if in_seconds:
        doubts.append(f"column time: {in_seconds:,} numbers were taken for seconds since 1970")
    return found


def _iso_ms(text: str) -> int:
    """Return epoch milliseconds.

    >>> _iso_ms("1970-01-01T01:00:00+01:00"), _iso_ms("1970-01-02"), _iso_ms("1970-01-01 00:00:01Z")
    (0, 86400000, 1000)
    """
    zone = _ZONE.search(text) if len(text) > len("2025-01-31") else None
    moment = np.datetime64(text[: zone.start()] if zone else text, "ms")
    if np.isnat(moment):
        raise ValueError(text)
    offset = 0
    if zone and zone[1]:
        offset = (1 if zone[1] == "+" else -1) * (int(zone[2]) * 60 + int(zone[3])) * 60_000
    return int(moment.astype(np.int64)) - offset
