"""Contexts from a file: JSON lines of decisions or of contexts alone, or a table with a column for each field. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import ConfigError
from pipeline.evaluate.json_lines import is_json_lines, read_json_lines
from pipeline.evaluate.spreadsheet import Sheet, read_sheet
from pipeline.policy.features import FeatureSchema
from pipeline.policy.kinds import BooleanFeature, CategoricalFeature, Feature, HashedFeature, Wrapping, kind_of

_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def read_contexts(raw: bytes, source: str, features: FeatureSchema) -> tuple[Sequence[Mapping[str, object]], list[str]]:
    """Return the contexts, and in words what was guessed of a table.

    A table may lack the columns of features that a request may lack; a cell of theirs that is empty is such a lack.

    Raises:
        ConfigError: neither JSON lines nor such a table, with the line or the column at fault.
    """
    if is_json_lines(raw):
        return _from_lines(raw, source), []
    may_lack = {one.name.casefold() for one in features.features if isinstance(one, Wrapping)}
    columns = {one.name.casefold(): one for one in features.features}
    sheet = read_sheet(raw, source, [column for column in columns if column not in may_lack], sorted(may_lack))
    contexts: list[dict[str, object]] = [{} for _ in sheet.rows]
    for column, feature in columns.items():
        if column not in sheet.columns:
            continue
        places, there = sheet.filled(column) if column in may_lack else (range(len(contexts)), sheet)
        for place, value in zip(places, _column(there, column, kind_of(feature)), strict=True):
            contexts[place][feature.name] = value
    sheet.check()
    return contexts, sheet.doubts_told()


def _column(sheet: Sheet, column: str, feature: Feature) -> Sequence[object]:
    if isinstance(feature, CategoricalFeature | HashedFeature):
        return sheet.words(column)
    if isinstance(feature, BooleanFeature):
        return [_TRUTHS.get(word.casefold(), word) for word in sheet.words(column)]
    numbers: list[float] = sheet.numbers(column).tolist()
    return numbers


def _from_lines(raw: bytes, source: str) -> list[Mapping[str, Any]]:
    contexts: list[Mapping[str, Any]] = []
    for number, found in read_json_lines(raw, source):
        context = found.get("context", found)
        if not isinstance(context, dict):
            raise ConfigError(source, [f"line {number} is no decision and no context, expected a JSON object"])
        contexts.append(context)
    return contexts
