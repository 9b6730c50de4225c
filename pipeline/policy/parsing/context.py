"""`[[context]]` → `FeatureSchema`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from math import inf, isfinite

from pipeline.errors import InvalidRecordError
from pipeline.models import AUTO
from pipeline.policy.features import FeatureSchema
from pipeline.policy.kinds import (
    BooleanFeature,
    CategoricalFeature,
    ClockFeature,
    CyclicFeature,
    Feature,
    HashedFeature,
    LogarithmicFeature,
    NumericFeature,
    OptionalFeature,
    QuantileFeature,
    StandardisedFeature,
)
from pipeline.policy.kinds.clock import SHOWN, zone_names
from pipeline.policy.parsing.encoder import read_encoder
from pipeline.policy.parsing.section import Section, as_number, is_text, note_repeats
from pipeline.policy.random_units import order_of, random_units
from pipeline.policy.render_value import shown

MAX_DIMENSION = 256
MAX_KNOTS = 128
UNITS = 24
"""Units that bend, where nobody says how many: they part four corners."""
FEW = 25
"""Entries, the intercept with them, that so few units can say something of; of more only a network can."""
KINDS = (
    "numeric",
    "logarithmic",
    "quantile",
    "standardised",
    "cyclic",
    "boolean",
    "categorical",
    "hashed",
)


def read_features(root: Section) -> FeatureSchema:
    """Read the features in order."""
    sections = root.sections("context", 0, MAX_DIMENSION)
    features = [_read_feature(section) for section in sections]
    note_repeats([(s, f.name) for s, f in zip(sections, features, strict=True) if f is not None], "name")
    schema = FeatureSchema(
        tuple(feature for feature in features if feature is not None),
        interactions=_read_interactions(root, [feature.name for feature in features if feature is not None]),
    )
    if schema.dimension > MAX_DIMENSION:
        root.fault(
            "context",
            f"gives {schema.dimension} entries with the intercept, expected at most {MAX_DIMENSION}; "
            "group rare categories or drop a feature",
        )
    if not root.has("encoder"):
        return schema if root.faults else _with_units(root, schema)
    if not schema.features:
        root.fault("encoder", "has no features to encode; add some under [[context]], or leave [encoder] out")
        return schema
    return FeatureSchema(schema.features, read_encoder(root, schema), schema.interactions)


def _with_units(root: Section, schema: FeatureSchema) -> FeatureSchema:
    """Set units that bend beside features that are not too many, where the file leaves all to `auto`."""
    algorithm = root.raw.get("algorithm")
    is_auto = isinstance(algorithm, Mapping) and algorithm.get("name") == AUTO
    if not (is_auto and schema.features and schema.dimension <= FEW):
        return schema
    return replace(schema, encoder=random_units(order_of(schema.entries()), UNITS))


def _read_feature(section: Section) -> Feature | None:
    feature: Feature
    name = section.name("name")
    match section.choice("kind", KINDS):
        case "numeric":
            feature = replace(_read_numeric(section, name), clips=_read_beyond(section))
        case "logarithmic":
            feature = _read_logarithmic(section, name)
        case "quantile":
            feature = QuantileFeature(name, _read_knots(section))
        case "boolean":
            feature = BooleanFeature(name)
        case "categorical":
            feature = CategoricalFeature(name, _read_words(section), section.flag("other", default=False))
        case "hashed":
            feature = HashedFeature(name, section.integer("slots", 2, MAX_DIMENSION - 1))
        case "cyclic":
            period = section.number("period", expected="a finite number above 0", accepts=lambda x: x > 0.0)
            feature = CyclicFeature(name, period)
        case "standardised":
            deviation = section.number("deviation", expected="a finite number above 0", accepts=lambda x: x > 0.0)
            feature = StandardisedFeature(name, section.number("mean"), deviation)
        case _:  # without a kind, no key can be called unknown
            return None
    feature = _read_absence(section, feature)
    section.finish()
    return feature


def _read_absence(section: Section, feature: Feature) -> Feature:
    """Read what becomes of a context without the feature."""
    is_optional = section.choice("missing", ("refuse", "indicator"), "refuse") == "indicator"
    if not section.has("clock"):
        return OptionalFeature(feature) if is_optional else feature
    shows = section.choice("clock", SHOWN)
    zone = section.choice("time_zone", zone_names(), expected="a time zone, like Europe/Berlin or UTC")
    if is_optional:
        section.fault("missing", "is not for what a clock shows, which is always there; leave it out")
    if section.faults:
        return feature
    try:
        for value in (0.0, SHOWN[shows].last):
            feature.encode(value)
    except InvalidRecordError as error:
        section.fault("clock", f"shows 0 to {SHOWN[shows].last:.4g}, and it refuses that: {error.detail}")
    return ClockFeature(feature, shows, zone)


def _read_interactions(root: Section, names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Read pairs of features; a fault for what is no pair of two of them, or comes again."""
    if not root.has("interactions"):
        return ()
    pairs: dict[frozenset[str], tuple[str, str]] = {}
    for place, pair in enumerate(root.items("interactions", 1, MAX_DIMENSION, 'pairs, like [["device", "hour"]]')):
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(name, str) for name in pair)):
            root.fault(f"interactions[{place}]", f"{shown(pair)} is no pair of names, like ['device', 'hour']")
        elif unknown := [name for name in pair if name not in names]:
            root.fault(f"interactions[{place}]", f"{shown(unknown[0])} is no feature, expected two of {shown(names)}")
        elif pair[0] == pair[1] or frozenset(pair) in pairs:
            root.fault(f"interactions[{place}]", f"{shown(pair)} is one feature twice, or a pair twice; list it once")
        else:
            pairs[frozenset(pair)] = (pair[0], pair[1])
    return tuple(pairs.values())


def _read_beyond(section: Section) -> bool:
    return section.choice("beyond", ("refuse", "clip"), "refuse") == "clip"


def _read_knots(section: Section) -> tuple[float, ...]:
    """Read knots; a fault where they do not rise, or lie so far apart that their difference is no number."""
    values = section.items("knots", 2, MAX_KNOTS, "an array of rising numbers, like [0, 10, 100]")
    knots = tuple(as_number(value) for value in values)
    steps = [high - low for low, high in pairwise(knots)]
    if not all(0.0 < step < inf for step in steps) or not all(map(isfinite, knots)):
        section.fault("knots", f"{shown(values)} does not rise from number to number; sort it, and list each once")
        return 0.0, 1.0
    return knots if len(knots) > 1 else (0.0, 1.0)


def _read_logarithmic(section: Section, name: str) -> LogarithmicFeature:
    bounds = _read_numeric(section, name)
    low, high = (bounds.low, bounds.high) if bounds.high - bounds.low > 0.0 else (0.0, 1.0)
    span = high - low if high - low < inf else 1.0
    unit = section.number(
        "unit",
        min(1.0, span),
        expected=f"a number above 0 and at most {span!r}, which is high - low",
        accepts=lambda unit: 0.0 < unit <= span < inf and span / unit < inf,
    )
    return LogarithmicFeature(name, low, high, unit if isfinite(unit) else span, _read_beyond(section))


def _read_numeric(section: Section, name: str) -> NumericFeature:
    low = section.number("low")
    high = section.number("high")
    if low >= high:
        section.fault("low", f"{shown(section.raw['low'])} is not below high {shown(section.raw['high'])}")
    elif high - low == inf:
        section.fault("low", f"{low!r} is too far from high {high!r}; high - low must be a finite number")
    return NumericFeature(name, low, high)


def _read_words(section: Section) -> tuple[str, ...]:
    """Read the categories; a repeated one is a fault."""
    values = section.items("values", 1, MAX_DIMENSION - 1, 'an array of words, like ["mobile", "desktop"]')
    first: dict[str, int] = {}
    for i, value in enumerate(values):
        if not isinstance(value, str) or not is_text(value):
            section.fault(f"values[{i}]", f"{shown(value)} is not text; write it in quotes")
        elif first.setdefault(value, i) != i:
            section.fault(f"values[{i}]", f"{shown(value)} is already values[{first[value]}]; list it once")
    return tuple(first)
