"""The table of grants in docs/brokers.md is the declaration that `pipeline doctor` goes by."""

from __future__ import annotations

import pytest

from pipeline.doctor.requirements import grants_of
from tests.harness.grants import ROLES, documented


@pytest.mark.parametrize("role", ROLES)
def test_the_page_and_the_doctor_name_the_same_topics(role):
    granted = documented(role)
    for operation, topics in (("Read", granted.read), ("Write", granted.write)):
        declared = {
            each.name for each in grants_of(role, "pipeline") if each.kind == "topic" and operation in each.operations
        }
        assert set(topics) == declared
