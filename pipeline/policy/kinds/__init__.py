"""The kinds of feature, one a file: what one context field becomes on the grid.

Every kind encodes one value (`encode`, which says why a value is refused) and a whole column
(`encode_column`, which writes into zeroed entries and only says which rows are sound). Both use the same
float64 operations, each correctly rounded, so they agree to the bit. A grid entry x_int stands for
x_int * 2^-12; all kinds stay within ±1, so |x_int| <= 4096, but for standardised ones, which the grid bounds.

What is declared may bend and not break: a number beyond its bounds is clipped, a word that is not listed counts as
`other` or is hashed, what is missing is an entry of its own (ops/decisions/0077-contexts-that-bend.md).
"""

from pipeline.policy.kinds.boolean import BooleanFeature
from pipeline.policy.kinds.categorical import CategoricalFeature
from pipeline.policy.kinds.clock import ClockFeature
from pipeline.policy.kinds.cyclic import CyclicFeature
from pipeline.policy.kinds.feature import Feature
from pipeline.policy.kinds.hashed import HashedFeature
from pipeline.policy.kinds.logarithmic import LogarithmicFeature
from pipeline.policy.kinds.numeric import NumericFeature
from pipeline.policy.kinds.optional import OptionalFeature
from pipeline.policy.kinds.quantile import QuantileFeature
from pipeline.policy.kinds.standardised import StandardisedFeature
from pipeline.policy.kinds.values import FEATURE_REASONS, GRID_ONE
from pipeline.policy.kinds.wrapping import Wrapping, kind_of

__all__ = [
    "FEATURE_REASONS",
    "GRID_ONE",
    "BooleanFeature",
    "CategoricalFeature",
    "ClockFeature",
    "CyclicFeature",
    "Feature",
    "HashedFeature",
    "LogarithmicFeature",
    "NumericFeature",
    "OptionalFeature",
    "QuantileFeature",
    "StandardisedFeature",
    "Wrapping",
    "kind_of",
]
