"""Who may ask, and how often: checked before a body is read."""

from __future__ import annotations

import time

from pipeline.serve.http.rate_limit import RateLimit
from pipeline.serve.http.refused import CONNECTION, RefusedError, Scope
from pipeline.serve.keys import ApiKey, Right, find_key
from pipeline.serve.settings import ServeSettings

BEARER = "bearer "


class Access:
    """A node's keys and rate limit."""

    def __init__(self, settings: ServeSettings) -> None:
        self._keys = settings.keys
        self._limit = RateLimit(settings.rate_per_s, settings.burst) if settings.rate_per_s else None

    def admit(self, scope: Scope, right: Right) -> str:
        """Return who asks, for `charge`: a key's name, or an address where there are no keys.

        Raises:
            RefusedError: 401, 403, 429.
        """
        if not self._keys:
            client = scope.get("client")
            caller = f"address {client[0] if client else ''}"
        else:
            caller = f"key {self._key(scope, right).name}"
        self.charge(caller, 1)
        connection = scope.get(CONNECTION)
        if connection is not None and connection.owner != caller:
            connection.belong(caller)
        return caller

    def has(self, scope: Scope, right: Right) -> bool:
        """Return whether a caller may; without keys everybody may."""
        if not self._keys:
            return True
        key = find_key(self._keys, _presented(scope))
        return key is not None and right in key.rights

    def charge(self, caller: str, cost: int) -> None:
        """Count `cost` more requests of a caller.

        Raises:
            RefusedError: 429.
        """
        if self._limit is None or cost <= 0:
            return
        wait_s = self._limit.wait_s(caller, time.monotonic(), cost)
        if wait_s > 0.0:
            seconds = max(1, -int(-wait_s // 1))
            raise RefusedError(
                429, "too-many-requests", f"ask again in {seconds} s, or less often", {"retry-after": str(seconds)}
            )

    def _key(self, scope: Scope, right: Right) -> ApiKey:
        key = find_key(self._keys, _presented(scope))
        if key is None:
            raise RefusedError(
                401,
                "unauthorized",
                "no key, or an unknown one: send `Authorization: Bearer KEY`",
                {"www-authenticate": "Bearer"},
            )
        if right not in key.rights:
            raise RefusedError(403, "forbidden", f"key {key.name} lacks the right {right}: has {sorted(key.rights)}")
        return key


def _presented(scope: Scope) -> str:
    # The names of ASGI's headers are in lower case.
    value = next((value for name, value in scope["headers"] if name == b"authorization"), b"").decode("latin-1")
    return value[len(BEARER) :].strip() if value[: len(BEARER)].lower() == BEARER else ""
