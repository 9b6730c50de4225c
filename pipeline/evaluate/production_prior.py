"""The beta prior of the Thompson sampling that Open Bandit's "women" campaign began with, one pair an item, 0 to 45.

Published by its authors beside the data, as parameters of the policy that made the `bts` logs (Saito, Aihara,
Matsutani & Narita, arXiv:2008.07146; Open Bandit Pipeline, `prior_bts.yaml`).
"""

from __future__ import annotations

# fmt: off
ALPHA = (
    12, 7, 984, 13, 15, 15, 11, 14, 9, 200, 72, 3, 14, 49, 1278, 3, 325, 14, 27, 14, 169, 48, 47, 18, 40, 12, 447, 46,
    5, 3, 5, 7, 35, 34, 99, 30, 880, 51, 182, 6, 45, 39, 10, 24, 72, 229,
)
BETA = (
    3612, 3173, 204484, 4517, 4765, 5331, 4131, 4728, 4028, 44280, 17918, 2309, 4339, 12922, 270771, 2480, 68475, 5129,
    7367, 5819, 38026, 13047, 11604, 5394, 10912, 4439, 94485, 10700, 2679, 2319, 2578, 3288, 9566, 9775, 20120, 7317,
    172026, 13673, 37329, 3365, 10911, 10734, 4278, 7574, 16826, 47462,
)
# fmt: on
