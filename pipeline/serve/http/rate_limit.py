"""How often a caller may ask: a token bucket for each. Pure; time is an argument."""

from __future__ import annotations

from collections import OrderedDict

# Beyond it the caller who was silent longest is forgotten, which fills its bucket.
MAX_CALLERS = 10_000
ROUNDING = 1e-9


class RateLimit:
    """`rate_per_s` requests a second for each caller, and `burst` at once."""

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Caller → tokens left, and when that was."""

    def wait_s(self, caller: str, now_s: float, cost: int = 1, paid: int = 0) -> float:
        """Take `cost` tokens and return 0, or take none and return how long until there are enough.

        A cost above the burst is let through by a full bucket, which then owes the rest. What was `paid` of it before
        is given back where it is refused, so that whoever comes again after this time is let through.
        """
        tokens, then_s = self._buckets.pop(caller, (self._burst, now_s))
        tokens = min(self._burst, tokens + (now_s - then_s) * self._rate_per_s)
        needed = min(float(cost), self._burst)
        missing = needed - paid - tokens
        if missing <= ROUNDING:
            tokens -= cost - paid
            missing = 0.0
        else:
            tokens += paid
            missing = needed - tokens
        self._buckets[caller] = (tokens, now_s)
        if len(self._buckets) > MAX_CALLERS:
            self._buckets.popitem(last=False)
        return missing / self._rate_per_s

    def give_back(self, caller: str, cost: int) -> None:
        """Take back that a request was counted."""
        tokens, then_s = self._buckets.get(caller, (self._burst - cost, 0.0))
        self._buckets[caller] = (tokens + cost, then_s)
