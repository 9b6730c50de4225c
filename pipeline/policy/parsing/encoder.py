"""`[encoder]` → `Encoder`: a network that `pipeline train` wrote, or `random = 24` units beside the features."""

from __future__ import annotations

import binascii
from base64 import b64decode

import numpy as np

from pipeline.policy.encoder import Encoder, Layer
from pipeline.policy.features import FeatureSchema
from pipeline.policy.parsing.section import Section
from pipeline.policy.random_units import order_of, random_units

MAX_LAYERS = 8
MAX_UNITS = 255
_RETRAIN = "write the file with `pipeline train` again"


def read_encoder(root: Section, schema: FeatureSchema) -> Encoder | None:
    """Read what encodes the features' vector; None where it is at fault, or nothing does."""
    inputs = schema.dimension - 1
    section = root.section("encoder")
    if section.has("random"):
        units = section.integer("random", 0, MAX_UNITS)
        section.finish()
        return random_units(order_of(schema.entries()), units) if units else None
    layers: list[Layer] = []
    for one in section.sections("layers", 1, MAX_LAYERS):
        layer = _read_layer(one, inputs)
        if layer is None:
            break  # what the next one takes in is not known
        layers.append(layer)
        inputs = layer.units
    section.finish()
    return Encoder(tuple(layers)) if layers else None


def _read_layer(section: Section, inputs: int) -> Layer | None:
    units = section.integer("units", 1, MAX_UNITS)
    text = section.raw.get("weights", "") if section.has("weights") else ""
    section.finish()
    try:
        raw = b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        section.fault("weights", f"is not Base64; {_RETRAIN}")
        return None
    expected = 2 * units * (1 + inputs)
    if len(raw) != expected:
        section.fault(
            "weights",
            f"holds {len(raw)} bytes, expected {expected}: {units} units of 1 + {inputs} inputs, as the features "
            f"or the layer before give; {_RETRAIN}",
        )
        return None
    return Layer(np.frombuffer(raw, "<i2").astype(np.int16).reshape(units, 1 + inputs))
