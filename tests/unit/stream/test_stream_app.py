"""How often LEARN hands over statistics."""

from __future__ import annotations

from pipeline.stream.app import LEARN_PACE_S, learn_pace_s
from tests.samples import define, plain_policy


def test_learn_keeps_up_with_the_policy_that_publishes_most_often():
    patient = define(plain_policy(name="patient", publish={"interval": "1h"}))
    eager = define(plain_policy(name="eager", publish={"interval": "100ms"}))
    assert learn_pace_s([patient, eager]) == 0.025


def test_learn_is_never_slower_than_its_own_pace():
    assert learn_pace_s([]) == LEARN_PACE_S
    assert learn_pace_s([define(plain_policy(publish={"interval": "1h"}))]) == LEARN_PACE_S
