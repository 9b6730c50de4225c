"""A listener of a worker's own, in threads: the metrics of its registry, and pages that say how it is as JSON."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple
from wsgiref.simple_server import WSGIRequestHandler, make_server

import orjson
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from pipeline.errors import ConfigError

STILL_WITHIN_S = 10.0
"""Whoever connects and says nothing for so long is let go."""


class Page(NamedTuple):
    """An answer."""

    status: int
    body: Mapping[str, object]


Pages = Mapping[str, Callable[[], Page]]
"""By path; called in a thread of the listener's."""


class Listener:
    """Listens on a port until it is stopped."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._server: Any = None

    def start(self, registry: CollectorRegistry, pages: Pages) -> int:
        """Listen; return the port. Raises ConfigError where that is taken."""
        metrics = make_wsgi_app(registry)

        def served(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            path = environ["PATH_INFO"]
            if path in {"/metrics", "/"}:
                return metrics(environ, start_response)  # type: ignore[no-any-return]
            page = pages[path]() if path in pages else Page(404, {"error": "not-found", "pages": sorted(pages)})
            reason = "OK" if page.status < 400 else "No"
            # A list of its own: the server adds to it what belongs to this answer.
            start_response(f"{page.status} {reason}", [("Content-Type", "application/json")])
            return [orjson.dumps(page.body)]

        try:
            self._server = make_server(self._host, self._port, served, _server_of(self._host), handler_class=_Silent)
        except OSError as error:
            seen = f"{self._host}:{self._port}"
            raise ConfigError("metrics", [f"{seen} can't be listened on ({error}); choose another"]) from error
        threading.Thread(target=self._server.serve_forever, daemon=True, name="metrics").start()
        return int(self._server.server_port)

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            # Not in the loop: an answer on its way waits for the loop.
            await asyncio.to_thread(self._server.shutdown)
            self._server.server_close()
            self._server = None


class _Silent(WSGIRequestHandler):
    timeout = STILL_WITHIN_S

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  as it is called there
        """Log nothing: every scrape would be a line."""


def _server_of(host: str) -> type[ThreadingWSGIServer]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return type("Server", (ThreadingWSGIServer,), {"address_family": family})
