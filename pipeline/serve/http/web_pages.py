"""What any web page can make a browser send, refused by a node that asks for no key. Pure.

A browser on a machine or in a network that trusts it lets every page that it shows send requests there: plain forms and
texts without asking anybody, and, once the page's own name resolves to the node's address (DNS rebinding), any request,
whose answer the page then reads. What no page can do is to leave out or choose `Host` and `Origin`, or to send JSON to
another origin without asking first. A key would hold all of this off, as a page has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from pipeline.serve.addresses import is_loopback
from pipeline.serve.http.refused import RefusedError, Scope

MOST_REMEMBERED = 256
"""Host headers of which it is remembered whether they name this server: callers send the same one again and again."""


class WebPages:
    """Whom a server answers where a browser needs nothing of its user: a node without keys, or a console."""

    def __init__(self, host: str, server_names: Sequence[str], origins: Sequence[str]) -> None:
        """Take the address that is listened on: on loopback, only names of this machine are its own."""
        self._origins = frozenset(origins)
        self._names = frozenset(name.lower() for name in server_names)
        self._is_local = is_loopback(host)
        self._checks_names = self._is_local or bool(self._names)
        self._is_own = lru_cache(MOST_REMEMBERED)(self._names_us)

    def check(self, scope: Scope) -> None:
        """Let through what no foreign page can have sent.

        Raises:
            RefusedError: 403, 415.
        """
        told = _told_by(scope)
        self._check_source(scope, told)
        content_type = told.content_type
        if scope["method"] == "POST" and content_type.partition(";")[0].strip().lower() != "application/json":
            raise RefusedError(
                415,
                "not-json",
                f"Content-Type is {content_type[:100]!r}, expected application/json: any web page "
                "can send other types, and this node asks for no key (curl: -H 'content-type: application/json')",
            )

    def check_source(self, scope: Scope) -> None:
        """Let through what is asked by a name of this server's, and by no page of another origin.

        Raises:
            RefusedError: 403.
        """
        self._check_source(scope, _told_by(scope))

    def _check_source(self, scope: Scope, told: _Told) -> None:
        host, origin = told.host, told.origin
        if host and self._checks_names and not self._is_own(host):
            raise RefusedError(
                403,
                "foreign-host",
                f"Host is {host[:100]!r}, no name of this node, and it asks for no key, so a page "
                "whose name was made to resolve here could read everything: ask by localhost or 127.0.0.1, or start "
                "the node with --server-name of this name, or with --api-keys",
            )
        if origin and not self._is_allowed(origin, scope, host):
            raise RefusedError(
                403,
                "foreign-origin",
                f"Origin is {origin[:100]!r}: pages of other origins may ask this node only if it is "
                "started with --origin of theirs",
            )

    def _names_us(self, host: str) -> bool:
        name = _name_of(host)
        return name in self._names or (self._is_local and is_loopback(name))

    def _is_allowed(self, origin: str, scope: Scope, host: str) -> bool:
        if origin in self._origins or "*" in self._origins:
            return True
        # The node's own page, under a name that was found to be its own.
        return self._checks_names and origin.lower() == f"{scope['scheme']}://{host.lower()}"


class _Told(NamedTuple):
    """What a browser says of a request, and no page can leave out or choose; empty where a header is not there."""

    host: str
    origin: str
    content_type: str


def _told_by(scope: Scope) -> _Told:
    """Return the last value of each header."""
    host = origin = content_type = b""
    for name, value in scope["headers"]:
        if name == b"host":
            host = value
        elif name == b"origin":
            origin = value
        elif name == b"content-type":
            content_type = value
    return _Told(host.decode("latin-1"), origin.decode("latin-1"), content_type.decode("latin-1"))


def _name_of(host: str) -> str:
    """Return the name or address in a Host header.

    >>> _name_of("LocalHost.:8080"), _name_of("[::1]:8080"), _name_of("[::1]")
    ('localhost', '::1', '::1')
    """
    host = host.strip().lower()
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return name.rstrip(".")
