"""A policy that follows another one, shown to more subjects as the numbers allow.

condition.py   `lift.low > 0 and subjects.new >= 1000`: read, and asked of figures    PURE
figures.py     the decisions of both policies in a step → named figures               PURE
ramp.py        share, figures, conditions → what to do next                           PURE
"""
