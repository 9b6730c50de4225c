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
"""Sets of headers whose verdict is remembered: callers send the same ones again and again."""


class _Refusal(NamedTuple):
    """What a refused request is told."""

    status: int
    word: str
    detail: str


class WebPages:
    """Whom a server answers where a browser needs nothing of its user: a node without keys, or a console."""

    def __init__(self, host: str, server_names: Sequence[str], origins: Sequence[str]) -> None:
        """Take the address that is listened on: on loopback, only names of this machine are its own."""
        self._origins = frozenset(origins)
        self._names = frozenset(name.lower() for name in server_names)
        self._is_local = is_loopback(host)
        self._checks_names = self._is_local or bool(self._names)
        self._refusal_of = lru_cache(MOST_REMEMBERED)(self._find_refusal)

    def check(self, scope: Scope) -> None:
        """Let through what no foreign page can have sent.

        Raises:
            RefusedError: 403, 415.
        """
        self._check(scope, is_post=scope["method"] == "POST")

    def check_source(self, scope: Scope) -> None:
        """Let through what is asked by a name of this server's, and by no page of another origin.

        Raises:
            RefusedError: 403.
        """
        self._check(scope, is_post=False)

    def _check(self, scope: Scope, *, is_post: bool) -> None:
        host = origin = content_type = b""
        for name, value in scope["headers"]:  # of several of one name, the last
            if name == b"host":
                host = value
            elif name == b"content-type":
                content_type = value
            elif name == b"origin":
                origin = value
        refusal = self._refusal_of(host, origin, content_type if is_post else None, scope["scheme"])
        if refusal is not None:
            raise RefusedError(*refusal)

    def _find_refusal(
        self, host_sent: bytes, origin_sent: bytes, content_type_sent: bytes | None, scheme: str
    ) -> _Refusal | None:
        """Return why a request with these headers is refused; None: it is not."""
        host, origin = host_sent.decode("latin-1"), origin_sent.decode("latin-1")
        if host and self._checks_names and not self._is_own(host):
            return _Refusal(
                403,
                "foreign-host",
                f"Host is {host[:100]!r}, no name of this node, and it asks for no key, so a page "
                "whose name was made to resolve here could read everything: ask by localhost or 127.0.0.1, or start "
                "the node with --server-name of this name, or with --api-keys",
            )
        if origin and not self._is_allowed(origin, scheme, host):
            return _Refusal(
                403,
                "foreign-origin",
                f"Origin is {origin[:100]!r}: pages of other origins may ask this node only if it is "
                "started with --origin of theirs",
            )
        content_type = None if content_type_sent is None else content_type_sent.decode("latin-1")
        if content_type is not None and content_type.partition(";")[0].strip().lower() != "application/json":
            return _Refusal(
                415,
                "not-json",
                f"Content-Type is {content_type[:100]!r}, expected application/json: any web page "
                "can send other types, and this node asks for no key (curl: -H 'content-type: application/json')",
            )
        return None

    def _is_own(self, host: str) -> bool:
        name = _name_of(host)
        return name in self._names or (self._is_local and is_loopback(name))

    def _is_allowed(self, origin: str, scheme: str, host: str) -> bool:
        if origin in self._origins or "*" in self._origins:
            return True
        # The node's own page, under a name that was found to be its own.
        return self._checks_names and origin.lower() == f"{scheme}://{host.lower()}"


def _name_of(host: str) -> str:
    """Return the name or address in a Host header.

    >>> _name_of("LocalHost.:8080"), _name_of("[::1]:8080"), _name_of("[::1]")
    ('localhost', '::1', '::1')
    """
    host = host.strip().lower()
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return name.rstrip(".")
