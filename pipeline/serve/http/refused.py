"""A request that is not served, and why. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Scope = Mapping[str, Any]
"""A request as ASGI describes it; read only."""
CONNECTION = "pipeline.connection"
"""Where a request's scope has the connection that it came on."""


class RefusedError(Exception):
    """A request that is answered with an error; what the answer says, and nothing of the key."""

    def __init__(self, status: int, word: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(word)
        self.status = status
        self.word = word
        self.detail = detail
        self.headers = dict(headers or {})
