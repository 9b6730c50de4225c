"""`[analysis]`: who is served and not learned from."""

from __future__ import annotations

from pipeline.policy.analysis import AnalysisGroup
from pipeline.policy.parsing.guardrails import read_salt, read_share
from pipeline.policy.parsing.section import Section


def read_analysis(root: Section) -> AnalysisGroup | None:
    """Read the share of the analysis group."""
    if not root.has("analysis"):
        return None
    section = root.section("analysis")
    group = AnalysisGroup(read_share(section, "share", may_be_one=False), read_salt(section))
    section.finish()
    return group
