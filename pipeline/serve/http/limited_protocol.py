"""uvicorn's HTTP protocol, bounded: what a connection sends, how long it takes, and what it leaves unread.

    a head     is counted while it comes, in slices no longer than a head may be     431, 414, 408
    a body     by what it says that it is, and by the bytes on the wire, framing     413, 408
               and trailers among them
    requests   that are sent ahead wait in a queue of 32                             429
    answers    that are not read hold up the next request, and are cut off in time

A refusal is a document like every other error. It takes its turn behind the answers that are due, and the connection
ends after it: what still comes is thrown away unparsed, for two seconds, so that the document is not lost to a reset.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, NamedTuple

import httptools
import msgspec
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from pipeline.serve.http.edge import Edge, Watched
from pipeline.serve.http.refused import CONNECTION
from pipeline.serve.http.tls import names_of
from pipeline.serve.messages.answers import ErrorAnswer

LINGER_S = 2.0
MOST_HEADERS = 100
MOST_AHEAD = 32
"""Requests sent before the first of them was answered."""
FRAMING_BYTES = 64 << 10
"""What a body of the largest size may take on the wire beside itself."""

_encode = msgspec.json.Encoder().encode


class Refused(NamedTuple):
    """Why nothing more is read of a connection."""

    status: int
    word: str
    detail: str
    retry_after_s: int | None = None

    def document(self, default_headers: list[tuple[bytes, bytes]]) -> bytes:
        """Return the whole response."""
        content = _encode(ErrorAnswer(self.word, self.detail))
        head = [STATUS_LINE[self.status]]
        for name, value in default_headers:
            head += (name, b": ", value, b"\r\n")
        if self.retry_after_s is not None:
            head.append(b"retry-after: %d\r\n" % self.retry_after_s)
        head.append(b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(content))
        return b"".join((*head, content))


class LimitedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        edge: Edge,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.address = ""
        self.owner = ""
        """Who it has turned out to be of."""
        self.certificate_names: tuple[str, ...] = ()
        """Of the caller's TLS certificate, which an authority of ours has signed."""
        self.handshake: Watched | None = None
        """What had its place before it."""
        self._edge = edge
        self._limits = edge.limits
        self._since_s = edge.now_s
        """When what it is in now began."""
        self._slow_since_s = 0.0
        self._is_over = False
        """Whether nothing more is read of it."""
        self._refusal: Refused | None = None
        """What it is told in the end, when its turn comes."""
        self._in_head = False
        self._head_bytes = 0
        self._wire_bytes = 0
        """Of a body, as they came."""
        self._messages = 0
        self._answered: RequestResponseCycle | None = None
        """The request whose turn it is: not the last one, where others were sent ahead."""

    # What the edge asks and tells

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for an answer on it."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def unread_bytes(self) -> int:
        """What waits for its reader."""
        return self.transport.get_write_buffer_size()

    def belong(self, owner: str) -> None:
        """Note whose it is: of the first who showed a key on it."""
        self.owner = owner
        self._edge.places.own(self, owner)

    def make_room(self) -> None:
        """End, because somebody else needs the place."""
        if self._is_over or not (self.is_idle or self.cycle.more_body):
            self.cut_off()
            return
        self._end(Refused(503, "no-place", "the node holds as many connections as it may: come again", 1))
        self.transport.close()

    def cut_off(self) -> None:
        """End at once, whatever is on its way."""
        self._is_over = True
        self._abandon()
        self.transport.abort()

    def check(self, now_s: float) -> None:
        """End what takes too long."""
        limits, waited_s = self._limits, now_s - self._since_s
        if self._slow_since_s and now_s - self._slow_since_s > limits.write_within_s:
            self._edge.note("reader-too-slow", self.address)
            self.cut_off()
        elif self._is_over:
            if self._refusal is None and waited_s > LINGER_S:
                self.cut_off()
        elif self.pipeline or self.flow is None or self.flow.read_paused:
            return  # it waits for us
        elif self._in_head or self.cycle is None:
            if waited_s > limits.head_within_s:
                self.refuse(Refused(408, "request-too-slow", f"its head took more than {limits.head_within_s:g} s"))
        elif self.cycle.more_body:
            if waited_s > limits.body_within_s:
                self.refuse(Refused(408, "request-too-slow", f"its body took more than {limits.body_within_s:g} s"))
        elif self.cycle.response_complete and waited_s > limits.idle_within_s:
            self.transport.close()

    # What a transport tells

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place."""
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self.certificate_names = names_of(transport.get_extra_info("peercert"))
        self._since_s = self._edge.now_s
        if self.handshake is not None:
            self._edge.leave(self.handshake)
            self.handshake = None
        self._edge.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self._edge.leave(self)
        self._abandon()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, in slices that no head can be longer than."""
        most = self._limits.head_bytes
        if len(data) <= most:
            self._feed(data)
            return
        view = memoryview(data)
        for start in range(0, len(data), most):
            if self._is_over:
                return
            self._feed(bytes(view[start : start + most]))

    def pause_writing(self) -> None:
        """Note that answers wait for their reader."""
        super().pause_writing()
        self._slow_since_s = self._edge.now_s
        self._edge.falls_behind(self)

    def resume_writing(self) -> None:
        """Note that they don't any more."""
        super().resume_writing()
        self._slow_since_s = 0.0
        self._edge.catches_up(self)

    # What the parser tells

    def on_message_begin(self) -> None:
        """Begin to count a head."""
        super().on_message_begin()
        self.scope[CONNECTION] = self  # type: ignore[literal-required]
        self._in_head = True
        self._messages += 1
        self._head_bytes = self._wire_bytes = 0
        self._since_s = self._edge.now_s

    def on_headers_complete(self) -> None:
        """Hold a head to its bounds before anything is made of it."""
        if len(self.url) > self._limits.url_bytes or len(self.headers) > MOST_HEADERS:
            raise _BeyondError(self._beyond_head())
        if len(self.pipeline) >= MOST_AHEAD:
            raise _BeyondError(
                Refused(429, "too-many-ahead", f"more than {MOST_AHEAD} requests were sent ahead of their answers", 1)
            )
        is_upgrade = self.parser.should_upgrade()
        self._hold_to_http(is_upgrade=is_upgrade)
        self._in_head = False
        self._since_s = self._edge.now_s
        super().on_headers_complete()
        # What comes now are trailers: nobody vouches for them, so no request has them among its headers.
        self.headers = []
        if is_upgrade:
            self.cycle.keep_alive = False  # the parser takes what follows for another protocol's

    def on_response_complete(self) -> None:
        """Go on with what was sent ahead, or say why not."""
        # In place of uvicorn's own, which starts a timer after each answer: `check` looks at all connections instead.
        self.server_state.total_requests += 1
        self._since_s = self._edge.now_s
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._refusal is not None:
            self._tell()

    def shutdown(self) -> None:
        """Stop: at once where nothing is due."""
        if self._is_over:
            self.transport.close()
        else:
            super().shutdown()

    def refuse(self, refused: Refused) -> None:
        """Read nothing more; say why when the answers that are due were given, and end."""
        self._edge.note(refused.word, self.address)
        self._end(refused)
        if not self.transport.is_closing() and self._refusal is None:
            self._linger()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answered = cycle
        if self.owner:
            self._start(cycle, app)
        else:
            self._edge.soon(partial(self._start, cycle, app))

    def _start(self, cycle: RequestResponseCycle, app: Any) -> None:
        if cycle.disconnected:
            return
        # A task of a slow reader waits for it alone, and holds nobody up.
        if len(self.tasks) - len(self._edge.slow) >= self._limits.requests_in_flight:
            self._edge.note("too-many-in-flight", self.address)
            app = _busy
        super()._start_asgi_task(cycle, app)

    def _feed(self, data: bytes) -> None:
        if self._is_over:
            return
        before, was_between = self._messages, not self._in_head and (self.cycle is None or not self.cycle.more_body)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # nothing is offered to upgrade to: it is answered as if nobody had asked
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, _BeyondError):
                self.refuse(error.__context__.refused)
            else:
                self.refuse(Refused(400, "not-http", "the request is not HTTP/1.1, or its target is no URL"))
            return
        if self._in_head:
            begun = self._messages - before
            # Where others came before it in this slice it is not known where it began: it is given the benefit.
            if begun == 0 or (begun == 1 and was_between):
                self._head_bytes += len(data)
            if self._head_bytes >= self._limits.head_bytes or len(self.url) > self._limits.url_bytes:
                self.refuse(self._beyond_head())
        elif self.cycle is not None and self.cycle.more_body:
            self._count_body(len(data))

    def _count_body(self, wire_bytes: int) -> None:
        is_announced = not self._wire_bytes and _announced_bytes(self.cycle.scope) > self._limits.body_bytes
        self._wire_bytes += wire_bytes
        is_long = self._wire_bytes > self._limits.body_bytes + FRAMING_BYTES
        if is_announced or is_long or len(self.headers) > MOST_HEADERS:
            self.refuse(
                Refused(413, "body-too-large", f"expected at most {self._limits.body_bytes} bytes, and few trailers")
            )

    def _is_chunked(self, coding: bytes) -> bool:
        """Return whether a body comes in chunks to every reader: HTTP/1.0 knows none, and other codings hide theirs."""
        return coding.strip().lower() == b"chunked" and self.parser.get_http_version() != "1.0"

    def _hold_to_http(self, *, is_upgrade: bool) -> None:
        """Refuse what two readers could understand in two ways (RFC 9112, 3.2)."""
        hosts = 0
        for name, value in self.headers:
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding" and not self._is_chunked(value):
                raise _BeyondError(
                    Refused(400, "not-http", f"Transfer-Encoding is {_shown(value)}, expected chunked, of HTTP/1.1")
                )
        if hosts > 1 or (not hosts and self.parser.get_http_version() != "1.0"):
            raise _BeyondError(Refused(400, "not-http", f"the request has {hosts} Host headers, expected one"))
        if is_upgrade and any(name in {b"content-length", b"transfer-encoding"} for name, _ in self.headers):
            raise _BeyondError(
                Refused(
                    400, "upgrade-refused", "nothing is offered to upgrade to, and the body would be lost: leave it out"
                )
            )

    def _beyond_head(self) -> Refused:
        limits = self._limits
        if len(self.url) > limits.url_bytes:
            return Refused(414, "url-too-long", f"the path and query have more than {limits.url_bytes} bytes")
        return Refused(
            431,
            "head-too-large",
            f"the request line and headers have more than {limits.head_bytes} bytes, or {MOST_HEADERS} headers",
        )

    def _end(self, refused: Refused) -> None:
        """Stop reading; write the refusal, or have it written when its turn comes."""
        self._is_over = True
        self._since_s = self._edge.now_s
        cycle = self.cycle
        self.headers, self.url = [], b""
        if cycle is None or cycle.response_complete:
            is_told = cycle is not None and not self._in_head and cycle.more_body  # answered before its body was whole
            if not is_told:
                self.transport.write(refused.document(self.server_state.default_headers))
            return
        if self._in_head or not cycle.more_body:
            self._refusal = refused  # it comes after answers that are due
            return
        waiting = next((entry for entry in self.pipeline if entry[0] is cycle), None)
        if waiting is not None:
            self.pipeline.remove(waiting)
            self._refusal = refused
        elif cycle.response_started:
            self.cut_off()
        else:
            cycle.disconnected = True  # who reads its body is told so
            cycle.message_event.set()
            self._drop(cycle)
            self.transport.write(refused.document(self.server_state.default_headers))

    def _abandon(self) -> None:
        """Have whoever is about to write or read go away."""
        self.pipeline.clear()
        for cycle in (self._answered, self.cycle):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()

    def _drop(self, cycle: RequestResponseCycle) -> None:
        """Forget a request that was refused while its body came."""

    def _tell(self) -> None:
        refused, self._refusal = self._refusal, None
        if refused is not None:
            self.transport.write(refused.document(self.server_state.default_headers))
            self._linger()

    def _linger(self) -> None:
        """Tell the other side that nothing more comes, and throw away what it still sends."""
        self._since_s = self._edge.now_s
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.flow.resume_reading()
        else:
            self.transport.close()


def _shown(value: bytes) -> str:
    return repr(value[:100].decode("latin-1"))


def _announced_bytes(scope: Any) -> int:
    """Return how long a body says that it is; the parser has held that to be a number."""
    return next((int(value) for name, value in scope["headers"] if name == b"content-length"), 0)


class _BeyondError(Exception):
    """Leaves the parser in the midst of a request."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.word)
        self.refused = refused


_BUSY = _encode(ErrorAnswer("too-many-in-flight", "the node reads and answers as many requests as it may: come again"))


async def _busy(_: Any, __: Any, send: Any) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(_BUSY)),
        (b"retry-after", b"1"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": _BUSY})
