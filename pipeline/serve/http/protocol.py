"""The node's HTTP protocol: a shorter way for requests to decide: no task, no messages, one write.

A request whose whole body has come is put to the node at once, and its answer is written by whoever answers: less than
half of what ASGI's messages cost. Everything that is out of the ordinary takes ASGI's way, through the same
`DecideFront`: other paths, bodies that are long or asked for (`Expect: 100-continue`), clients that read too slowly.

What of uvicorn is overridden here is its own order of a request: `_start_asgi_task` when the head has come (or the turn
of a pipelined request), then `on_body` and `on_message_complete`; `on_response_complete` when it was answered.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle
from uvicorn.server import ServerState

from pipeline.serve.http.edge import Edge
from pipeline.serve.http.fast_path import DecideFront, Told, asked_policy
from pipeline.serve.http.limited_protocol import LimitedProtocol
from pipeline.serve.messages.decided import Decided, NoAnswer

LONGEST_BYTES = 16 << 10
"""Of a body that is held until it is whole: so long it is not known who asks."""


class DirectProtocol(LimitedProtocol):
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
        super().__init__(config, server_state, app_state, _loop, edge=edge)
        # Nothing may stand before it: whatever does would be passed by.
        self._front = config.app if isinstance(config.app, DecideFront) and config.app is config.loaded_app else None
        self._held: RequestResponseCycle | None = None
        """The request that is to be answered directly, while its body comes."""
        self._policy = ""
        """The policy that it asks."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        is_direct = (
            self._front is not None
            and self._front.answers_at_once
            and app is self._front
            and not cycle.waiting_for_100_continue
            and not self.flow.write_paused
        )
        policy = asked_policy(cycle.scope) if is_direct else ""
        if not policy:
            super()._start_asgi_task(cycle, app)
            return
        self._held = self._answered = cycle
        self._policy = policy
        if not cycle.more_body:  # it waited behind others
            self._decide(cycle)

    def on_body(self, body: bytes) -> None:
        """Hold a part of a body; a long one goes on in ASGI's way."""
        super().on_body(body)
        held = self._held
        if held is not None and held is self.cycle and len(held.body) > LONGEST_BYTES:
            self._held = None
            super()._start_asgi_task(held, self.app)

    def on_message_complete(self) -> None:
        """Decide, if that is what is asked."""
        super().on_message_complete()
        if self._held is not None and self._held is self.cycle:
            self._decide(self.cycle)

    def _drop(self, cycle: RequestResponseCycle) -> None:
        if self._held is cycle:
            self._held = None

    def _decide(self, cycle: RequestResponseCycle) -> None:
        self._held = None
        if self._front is not None:
            self._front.ask(cycle.scope, self._policy, bytes(cycle.body), _Reply(self, cycle, self._front))

    def answer(self, cycle: RequestResponseCycle, status: int, content: bytes, headers: dict[str, str]) -> None:
        """Write a whole response, if there is still somebody to read it."""
        if cycle.disconnected:
            return
        parts = [STATUS_LINE[status], self._edge.head(self.server_state.default_headers)]
        for told, value_told in headers.items():
            parts.append(f"{told}: {value_told}\r\n".encode("latin-1"))
        ending = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        parts += (b"content-type: application/json\r\ncontent-length: %d\r\n" % len(content), ending, content)
        cycle.response_started = cycle.response_complete = True
        self.transport.write(b"".join(parts))
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()


class _Reply:
    """Takes the answer to one request, in place of a future."""

    __slots__ = ("_cycle", "_front", "_protocol", "_started_s", "told")

    def __init__(self, protocol: DirectProtocol, cycle: RequestResponseCycle, front: DecideFront) -> None:
        self._protocol = protocol
        self._cycle = cycle
        self._front = front
        self._started_s = perf_counter()
        self.told: Told | None = None
        """How, where that is out of the ordinary."""

    def done(self) -> bool:
        return self._cycle.disconnected

    def set_result(self, result: Decided | NoAnswer, /) -> None:
        try:
            status, content = self._front.written(result, self.told)
        except Exception as error:  # noqa: BLE001  others wait for their answers behind it
            self.set_exception(error)
            return
        self._write(status, content, {})

    def set_exception(self, exception: Exception, /) -> None:
        self._write(*self._front.refused(exception))

    def _write(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self._protocol.answer(self._cycle, status, content, headers)
        self._front.observe(status, perf_counter() - self._started_s)
