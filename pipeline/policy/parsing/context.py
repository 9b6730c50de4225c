"""`[[context]]` → `FeatureSchema`."""

from __future__ import annotations

from math import inf, isfinite

from pipeline.policy.feature_kinds import (
    CategoricalFeature,
    CyclicFeature,
    Feature,
    LogarithmicFeature,
    NumericFeature,
    StandardisedFeature,
)
from pipeline.policy.features import FeatureSchema
from pipeline.policy.parsing.encoder import read_encoder
from pipeline.policy.parsing.section import Section, is_text, note_repeats
from pipeline.policy.render_value import shown

MAX_DIMENSION = 256


def read_features(root: Section) -> FeatureSchema:
    """Read the features in order."""
    sections = root.sections("context", 0, MAX_DIMENSION)
    features = [_read_feature(section) for section in sections]
    note_repeats([(s, f.name) for s, f in zip(sections, features, strict=True) if f is not None], "name")
    schema = FeatureSchema(tuple(feature for feature in features if feature is not None))
    if schema.dimension > MAX_DIMENSION:
        root.fault(
            "context",
            f"gives {schema.dimension} entries with the intercept, expected at most {MAX_DIMENSION}; "
            "group rare categories or drop a feature",
        )
    if not root.has("encoder"):
        return schema
    if not schema.features:
        root.fault("encoder", "has no features to encode; add some under [[context]], or leave [encoder] out")
        return schema
    return FeatureSchema(schema.features, read_encoder(root, schema.dimension - 1))


def _read_feature(section: Section) -> Feature | None:
    feature: Feature
    name = section.name("name")
    match section.choice("kind", ("numeric", "logarithmic", "categorical", "cyclic", "standardised")):
        case "numeric":
            feature = _read_numeric(section, name)
        case "logarithmic":
            feature = _read_logarithmic(section, name)
        case "categorical":
            feature = CategoricalFeature(name, _read_words(section))
        case "cyclic":
            period = section.number("period", expected="a finite number above 0", accepts=lambda x: x > 0.0)
            feature = CyclicFeature(name, period)
        case "standardised":
            deviation = section.number("deviation", expected="a finite number above 0", accepts=lambda x: x > 0.0)
            feature = StandardisedFeature(name, section.number("mean"), deviation)
        case _:  # without a kind, no key can be called unknown
            return None
    section.finish()
    return feature


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
    return LogarithmicFeature(name, low, high, unit if isfinite(unit) else span)


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
