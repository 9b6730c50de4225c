"""Who may ask, and how often: checked before a body is read."""

from __future__ import annotations

import time
from collections.abc import Mapping

from starlette.requests import Request

from pipeline.serve.keys import ApiKey, Right, find_key
from pipeline.serve.limits import RateLimit
from pipeline.serve.settings import ServeSettings

BEARER = "bearer "


class RefusedError(Exception):
    """A request that is answered with an error; what the answer says, and nothing of the key."""

    def __init__(self, status: int, word: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(word)
        self.status = status
        self.word = word
        self.detail = detail
        self.headers = dict(headers or {})


class Access:
    """A node's keys and rate limit."""

    def __init__(self, settings: ServeSettings) -> None:
        self._keys = settings.keys
        self._limit = RateLimit(settings.rate_per_s, settings.burst) if settings.rate_per_s else None

    def admit(self, request: Request, right: Right) -> str:
        """Return who asks, for `charge`: a key's name, or an address where there are no keys.

        Raises:
            RefusedError: 401, 403, 429.
        """
        if not self._keys:
            caller = f"address {request.client.host if request.client else ''}"
        else:
            caller = f"key {self._key(request, right).name}"
        self.charge(caller, 1)
        return caller

    def has(self, request: Request, right: Right) -> bool:
        """Return whether a caller may; without keys everybody may."""
        if not self._keys:
            return True
        key = find_key(self._keys, _presented(request))
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

    def _key(self, request: Request, right: Right) -> ApiKey:
        key = find_key(self._keys, _presented(request))
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


def _presented(request: Request) -> str:
    value = request.headers.get("authorization", "")
    return value[len(BEARER) :].strip() if value[: len(BEARER)].lower() == BEARER else ""
