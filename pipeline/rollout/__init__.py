"""A policy that follows another one, shown to more subjects as the numbers allow.

figures.py     the decisions of both policies in a step → named figures               PURE
apprentice.py  what an apprentice would have shown and earned → named figures           PURE
ramp.py        share, figures, conditions → what to do next                           PURE
"""
