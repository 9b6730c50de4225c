"""A value seen, as a message shows it: short, and never an error of its own."""

from __future__ import annotations

import json

LONGEST = 80


def shown(value: object) -> str:
    r"""Write `value` on one line, much as JSON would, in at most 80 characters.

    >>> shown("a\n"), shown(True), shown(None), shown(7)
    ('"a\\n"', 'true', 'null', '7')
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    try:
        # What is cut off is not worth escaping, and a lone surrogate could not be printed.
        text = json.dumps(value[:LONGEST], ensure_ascii=False) if isinstance(value, str) else repr(value)
    except (ValueError, RecursionError):  # an integer of more than 4,300 digits; a very deep list
        return f"{type(value).__name__} too large to show"
    printable = text.encode(errors="backslashreplace").decode()
    return printable if len(printable) <= LONGEST else printable[: LONGEST - 3] + "..."
