"""docs/reasons.md: why a record or a request is refused, as the code declares it."""

from __future__ import annotations

from pipeline.reasons import REASONS

HEAD = """# Why something is refused

Each reason, what it comes of and what mends it; this page is made of the code's own declaration, which has
every one. A record that is refused is a [dead letter](../ops/runbooks/dead-letters.md), whole, with its fault
in words (`pipeline dead-letters show`); what is mended elsewhere is sent again by `pipeline dead-letters replay`. A
request is answered with the reason (`{"error": REASON, "detail": WORDS}`). `pipeline event validate` says the same
beforehand. A decision whose context gives no vector is not refused: it is in the ledger with the reason
(`undecodable`), reported, and not learned from.

| reason | cause | cure |
|---|---|---|
"""


def page() -> str:
    """Return the whole page."""
    return HEAD + "".join(f"| `{name}` | {one.cause} | {one.cure} |\n" for name, one in sorted(REASONS.items()))
