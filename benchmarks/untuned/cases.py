"""The environments, by family, and how long each is played.

Law 16 is why units are odd: rewards of 50, of 10,000 and below 0; features in thousandths and thousands, shifted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from benchmarks.untuned.amounts import Amounts
from benchmarks.untuned.corners import Corners, Step
from benchmarks.untuned.data import Known
from benchmarks.untuned.units import Measured
from pipeline.simulate.environment import Environment
from pipeline.simulate.environments.bernoulli import Bernoulli
from pipeline.simulate.environments.drift import Drift
from pipeline.simulate.environments.linear import Linear
from pipeline.simulate.environments.logistic import Logistic
from pipeline.simulate.environments.segments import Segments
from pipeline.simulate.environments.switching import Switching
from pipeline.simulate.environments.wheel import SCALE, Wheel

FIRST_SEED = 7_001
"""Those that are reported. Nothing is chosen on them: what is to be chosen is played from `TRIAL_SEED` on."""
TRIAL_SEED = 9_001

MIXED = ((1_000.0, 50.0), (0.003, 0.0), (1.0, -7.0))
"""Units of features: (times, plus)."""
MANY = ",".join(f"{rate:.4f}" for rate in np.linspace(0.02, 0.3, 1_000))


@dataclass(frozen=True, slots=True)
class Case:
    """One environment."""

    family: str
    decisions: int
    make: Callable[[], Environment]


CASES: Mapping[str, Case] = MappingProxyType(
    {
        "rates-2": Case("rates", 4_000, lambda: Bernoulli("0.5,0.45")),
        "rates-5": Case("rates", 8_000, lambda: Bernoulli("0.1,0.08,0.06,0.05,0.04")),
        "rates-10": Case("rates", 6_000, Bernoulli),
        "rates-1000": Case("rates", 4_000, lambda: Bernoulli(MANY)),
        "amounts-50": Case("amounts", 2_000, lambda: Measured(Amounts(5), 50.0)),
        "amounts-losses": Case("amounts", 2_000, lambda: Measured(Amounts(10, 0.3), 10_000.0, -10_000.0)),
        "linear-2": Case("linear", 2_000, lambda: Measured(Linear(2, 3), 50.0, 0.0, MIXED)),
        "linear-quiet": Case("linear", 2_000, lambda: Measured(Linear(10, 16, 0.02), 1.0, 0.0, MIXED)),
        "linear-loud": Case("linear", 2_000, lambda: Measured(Linear(5, 8, 1.0), 10_000.0, -500.0, MIXED)),
        "linear-100": Case("linear", 2_000, lambda: Linear(100, 4, 0.1)),
        "logistic": Case("linear", 2_000, Logistic),
        "corners": Case("nonlinear", 2_000, Corners),
        "corners-10": Case("nonlinear", 2_000, lambda: Corners(10)),
        "step": Case("nonlinear", 2_000, Step),
        "wheel-50": Case("nonlinear", 2_000, lambda: Measured(Wheel(), SCALE)),
        "iris": Case("data", 1_000, lambda: Known("iris", 1_000)),
        "wine": Case("data", 1_000, lambda: Known("wine", 1_000)),
        "cancer": Case("data", 1_000, lambda: Known("breast_cancer", 1_000)),
        "digits-62": Case("data", 1_500, lambda: Known("digits", 1_500)),
        "segments-agree": Case("segments", 4_000, lambda: Segments(6, 0.0)),
        "segments-differ": Case("segments", 4_000, lambda: Segments(6, 0.12)),
        "switching": Case("changing", 4_000, lambda: Switching(every=1_000)),
        "drift": Case("changing", 3_000, lambda: Drift(period=3_000)),
    }
)
