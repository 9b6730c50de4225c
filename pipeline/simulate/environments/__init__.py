"""Environments that come along, one a file; each class can be named `module:Class` as well."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

ENVIRONMENTS: Mapping[str, str] = MappingProxyType(
    {
        name: f"pipeline.simulate.environments.{module}"
        for name, module in {
            "bernoulli": "bernoulli:Bernoulli",
            "segments": "segments:Segments",
            "linear": "linear:Linear",
            "logistic": "logistic:Logistic",
            "wheel": "wheel:Wheel",
            "switching": "switching:Switching",
            "drift": "drift:Drift",
            "catalogue": "catalogue:Catalogue",
            "shop": "shop:Shop",
            "delayed": "delayed:Delayed",
            "display_advertising": "delayed:DisplayAdvertising",
            "only_delays": "delayed:OnlyDelays",
            "classification": "classification:Blobs",
            "table": "classification:Table",
            "digits": "classification:Digits",
            "open-bandit": "replay:OpenBandit",
        }.items()
    }
)
"""Name → module:Class."""
