"""docs/exported.md: the columns of what `pipeline export` writes."""

from __future__ import annotations

from pipeline.export.columns import LEDGER, PARTS, VERSION

HEAD = f"""# Exported columns

What `pipeline export` writes, column by column; this page is made of the declaration that it writes by, and every file
has the same words in its schema. Version {VERSION}: columns are added at the end, and never change what they mean.
[Data out](export.md) shows how they are read. Beside these the path has `policy` and `day`, which readers of hive
layouts give as columns.

| column | type | what it says |
|---|---|---|
"""


def page() -> str:
    """Return the whole page."""
    return HEAD + "".join(f"| `{one.name}` | {one.kind} | {one.text} |\n" for one in (*PARTS, *LEDGER))
