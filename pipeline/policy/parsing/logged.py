"""`logged`: context fields that are logged with a decision though nothing is decided or learned by them."""

from __future__ import annotations

from pipeline.policy.parsing.section import NAME, NAME_RULE, Section
from pipeline.policy.render_value import shown

MAX_LOGGED = 100


def read_logged(root: Section) -> tuple[str, ...]:
    """Read the list, sorted; none without it."""
    expected = f"an array of names of context fields, each {NAME_RULE}"
    names = root.items("logged", 0, MAX_LOGGED, expected)
    for place, name in enumerate(names):
        if not isinstance(name, str) or not NAME.fullmatch(name):
            root.fault(f"logged[{place}]", f"{shown(name)} is not a field's name; write {NAME_RULE}")
    return tuple(sorted({str(name) for name in names}))
