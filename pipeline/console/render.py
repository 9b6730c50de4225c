"""Templates, and how numbers, times and ids are written in them. Everything is escaped, whatever it is.

Of ids only a beginning is shown; of a text that others wrote, so much as fits.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

NONE = "–"


def environment() -> Environment:
    """Return what renders the pages."""
    made = Environment(
        loader=PackageLoader("pipeline.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {
        "count": count,
        "share": share,
        "figure": figure,
        "signed": signed,
        "age": age,
        "moment": moment,
        "part": part,
        "address": lambda text: quote(str(text), safe=""),
        "x": x_of,
    }
    return made


def count(value: float | None) -> str:
    """Write a number of things.

    >>> count(1234567), count(None)
    ('1,234,567', '–')
    """
    return NONE if value is None else f"{value:,.0f}"


def share(value: float | None) -> str:
    """Write a part of one; what is above 0 is never shown as 0.

    >>> share(0.98765), share(0.00004), share(1.0), share(0.0)
    ('98.8 %', '<0.1 %', '100 %', '0 %')
    """
    if value is None:
        return NONE
    if value in {0.0, 1.0}:
        return f"{100 * value:.0f} %"
    if 0.0 < value < 0.0005:
        return "<0.1 %"
    return f"{100 * value:.1f} %" if value < 0.9995 else ">99.9 %"


def figure(value: float | None) -> str:
    """Write a measured number with four digits.

    >>> figure(0.123456), figure(12.0), figure(None)
    ('0.1235', '12', '–')
    """
    return NONE if value is None else f"{value:.4g}"


def signed(value: float | None) -> str:
    """Write a difference.

    >>> signed(0.0123456), signed(-2)
    ('+0.01235', '−2')
    """
    return NONE if value is None else f"{value:+.4g}".replace("-", "−")


def age(seconds: float | None) -> str:
    """Write how long ago something was.

    >>> age(0.4), age(75), age(7300), age(200_000)
    ('0.4 s', '1 min', '2 h', '2 d')
    """
    if seconds is None:
        return NONE
    for unit, word in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {word}"
    return f"{seconds:.1f} s"


def moment(at_ms: int | None) -> str:
    """Write a point in time, UTC.

    >>> moment(0)
    '1970-01-01 00:00:00'
    """
    if at_ms is None:
        return NONE
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def part(text: Any, characters: int = 12) -> str:
    """Write so much of a long text or id as tells it from others.

    >>> part("0123456789abcdef"), part("short")
    ('0123456789ab…', 'short')
    """
    words = str(text)
    return words if len(words) <= characters else f"{words[:characters]}…"


def x_of(value: float, scale: tuple[float, float], width: float = 100.0) -> str:
    """Return where on a scale of `width` a value lies.

    >>> x_of(0.5, (0.0, 1.0)), x_of(3.0, (3.0, 3.0))
    ('50.00', '50.00')
    """
    low, high = scale
    return f"{width * (value - low) / (high - low):.2f}" if high > low else f"{width / 2:.2f}"
