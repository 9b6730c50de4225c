"""Which page of the site is made by what."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.harness.reference import commands, exported, http, policy_file, reasons, records

PAGES: Mapping[str, Callable[[], str]] = {
    "docs/policy-file.md": policy_file.page,
    "docs/commands.md": commands.page,
    "docs/records.md": records.page,
    "docs/http.md": http.page,
    "docs/exported.md": exported.page,
    "docs/reasons.md": reasons.page,
}
