"""Contexts from a file: JSON lines of decisions or of contexts alone, or a table with a column for each field. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import ConfigError
from pipeline.evaluate.json_lines import is_json_lines, read_json_lines
from pipeline.evaluate.spreadsheet import read_sheet
from pipeline.policy.feature_kinds import CategoricalFeature
from pipeline.policy.features import FeatureSchema


def read_contexts(raw: bytes, source: str, features: FeatureSchema) -> tuple[Sequence[Mapping[str, object]], list[str]]:
    """Return the contexts, and in words what was guessed of a table.

    Raises:
        ConfigError: neither JSON lines nor such a table, with the line or the column at fault.
    """
    if is_json_lines(raw):
        return _from_lines(raw, source), []
    names = [feature.name for feature in features.features]
    sheet = read_sheet(raw, source, [name.casefold() for name in names])
    columns: dict[str, Sequence[object]] = {}
    for feature in features.features:
        column = feature.name.casefold()
        is_word = isinstance(feature, CategoricalFeature)
        columns[feature.name] = sheet.words(column) if is_word else sheet.numbers(column).tolist()
    sheet.check()
    return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)], sheet.doubts_told()


def _from_lines(raw: bytes, source: str) -> list[Mapping[str, Any]]:
    contexts: list[Mapping[str, Any]] = []
    for number, found in read_json_lines(raw, source):
        context = found.get("context", found)
        if not isinstance(context, dict):
            raise ConfigError(source, [f"line {number} is no decision and no context, expected a JSON object"])
        contexts.append(context)
    return contexts
