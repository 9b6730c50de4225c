"""Where a normal arm ends: beyond it is a tail that does not count."""

from __future__ import annotations

ABOVE = 6.5
"""Standard deviations: an arm's upper end, a tail of 4.0e-11."""
