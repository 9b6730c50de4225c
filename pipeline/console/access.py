"""Who asks, what they may see and do, and that it was a page of ours which made their browser ask.

A browser sends its cookie with whatever any page makes it send. So what changes something needs three things that no
foreign page has: a Host and an Origin of this console (`serve/http/web_pages.py`), a cookie that is sent to no request
from elsewhere (SameSite=Strict), and the token that only our own forms hold.

The key itself is asked for once, and is in no cookie, page or log: a session is a random name that is known here alone.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections import OrderedDict
from typing import NamedTuple

from pipeline.console.settings import ConsoleSettings
from pipeline.serve.http.refused import RefusedError, Scope
from pipeline.serve.http.web_pages import WebPages
from pipeline.serve.keys import ApiKey, KeyRing

COOKIE = "pipeline-console"
LASTS_S = 8 * 3_600
"""A session; a working day."""
MAX_SESSIONS = 256
"""Whoever came in first goes out first."""


class Viewer(NamedTuple):
    """Who asks."""

    name: str
    """Of their key; empty where none is asked for."""
    key: ApiKey | None
    """None: no key is asked for."""
    token: str
    """What their forms have to send back."""

    def sees(self, policy: str | None) -> bool:
        """Return whether they may look at a policy, or, of None, at what is of no policy or of all."""
        return self.key is None or (
            "read" in self.key.rights and (not self.key.policies or policy in self.key.policies)
        )

    def operates(self, policy: str | None) -> bool:
        """Return whether they may act on it. Nobody does without a key; one that may only be scraped may not look."""
        return self.key is not None and self.sees(policy) and "operate" in self.key.rights


class _Session(NamedTuple):
    key_sha256: str
    token: str
    ends_at_s: float


class Access:
    """The console's keys and sessions."""

    def __init__(self, settings: ConsoleSettings) -> None:
        self.needs_key = bool(settings.keys)
        self._ring = KeyRing(settings.keys)
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        origins = [f"https://{name}" for name in settings.server_names]
        self._pages = WebPages(settings.host, settings.server_names, origins)

    def check_source(self, scope: Scope) -> None:
        """Let through what no page of a stranger can have sent.

        Raises:
            RefusedError: 403.
        """
        try:
            self._pages.check_source(scope)
        except RefusedError as error:
            what = "Host" if error.word == "foreign-host" else "Origin"
            raise RefusedError(
                error.status,
                error.word,
                f"{what} is no name of this console: ask by localhost or 127.0.0.1, or by a name that it was given by "
                "--server-name",
            ) from error

    def renew_keys(self, keys: tuple[ApiKey, ...]) -> None:
        """Take other keys from now on: a session lasts no longer than its key stands in the file."""
        self._ring = KeyRing(keys)

    def come_in(self, presented: str) -> str:
        """Begin a session; return what the cookie holds.

        Raises:
            RefusedError: it is no key that may look here.
        """
        key = self._valid(self._ring.of_secret(presented.strip()))
        if key is None:
            raise RefusedError(401, "unauthorized", "that is no key of this console, or no longer one")
        if "read" not in key.rights:
            raise RefusedError(403, "forbidden", f"key {key.name} lacks the right read: has {sorted(key.rights)}")
        while len(self._sessions) >= MAX_SESSIONS:
            self._sessions.popitem(last=False)
        name = secrets.token_urlsafe(32)
        self._sessions[name] = _Session(key.sha256, secrets.token_urlsafe(32), time.monotonic() + LASTS_S)
        return name

    def leave(self, cookie: str) -> None:
        """End a session."""
        self._sessions.pop(cookie, None)

    def viewer(self, cookie: str) -> Viewer | None:
        """Return who asks; None: they have to come in first."""
        if not self.needs_key:
            return Viewer("", None, "")
        session = self._sessions.get(cookie)
        if session is None or time.monotonic() > session.ends_at_s:
            return None
        key = self._valid(next((one for one in self._ring.keys if one.sha256 == session.key_sha256), None))
        return None if key is None else Viewer(key.name, key, session.token)

    def check_act(self, viewer: Viewer, policy: str | None, token: str) -> None:
        """Let through what an operator sent from a form of ours.

        Raises:
            RefusedError: 403.
        """
        if not viewer.operates(policy):
            raise RefusedError(403, "forbidden", why_not(viewer))
        if not hmac.compare_digest(viewer.token.encode(), token.encode()):
            raise RefusedError(403, "foreign-form", "the form is of another session: load the page again, and repeat")

    def _valid(self, key: ApiKey | None) -> ApiKey | None:
        now_ms = time.time_ns() // 1_000_000
        return None if key is None or (key.expires_at_ms is not None and now_ms >= key.expires_at_ms) else key


def why_not(viewer: Viewer) -> str:
    """Say why somebody may not act."""
    if viewer.key is None:
        return (
            "This console has no keys, so it only shows: start it with --api-keys FILE, one of them to read and operate"
        )
    return f"Key {viewer.name} may look: acting takes the right operate too, of this policy"
