"""The HTTP server around a node: uvicorn, whose signal handling is replaced with an order that loses nothing.

On SIGTERM or SIGINT:  1. no new connection is accepted, answers on their way are finished
                       2. what waits for the broker is delivered
                       3. the process ends
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp
from threadpoolctl import threadpool_limits

from pipeline.errors import ConfigError
from pipeline.models.chances.trapezoid import kernel
from pipeline.serve.claims import parse_secrets
from pipeline.serve.http.access import Access
from pipeline.serve.http.edge import Edge
from pipeline.serve.http.handshakes import accept
from pipeline.serve.http.metrics import NodeMetrics
from pipeline.serve.http.protocol import DirectProtocol
from pipeline.serve.http.renewal import Renewed, keep_renewed
from pipeline.serve.http.routes import build_metrics_routes, build_routes
from pipeline.serve.http.tls import Tls
from pipeline.serve.keys import parse_keys
from pipeline.serve.node import ServingNode
from pipeline.serve.settings import ServeSettings, claim_faults
from pipeline.serve.subject import parse_salts

log = logging.getLogger(__name__)

FINISH_WITHIN_S = 5
KERNEL_BYTES = 128 << 10
"""What the system holds of a connection in each direction (Linux takes twice as much, with its own part)."""
OTHER_FILES = 512
"""Beside connections: those that are let in while another one leaves, Kafka's, the spill's."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@asynccontextmanager
async def listening(node: ServingNode, host: str, port: int) -> AsyncIterator[str]:
    """Serve a started node over HTTP inside this block; give the base URL. Port 0 takes a free one.

    Raises:
        ConfigError: the address can't be listened on.
    """
    settings = node.settings
    edge = Edge(settings.limits)
    metrics = NodeMetrics(node, edge)
    async with AsyncExitStack() as stack:
        if settings.metrics_port is not None:
            metrics_edge = Edge(settings.limits)
            url = await stack.enter_async_context(
                _serving(
                    build_metrics_routes(metrics, settings), metrics_edge, settings.metrics_host, settings.metrics_port
                )
            )
            log.info("metrics url=%s/metrics", url)
        access = Access(settings)
        tls = None if settings.tls_certificate is None else Tls(settings)
        renewing = asyncio.create_task(keep_renewed(_renewed(settings, access, tls, node)))
        stack.push_async_callback(_ended, renewing)
        app = build_routes(node, metrics, access)
        yield await stack.enter_async_context(_serving(app, edge, host, port, tls))


@asynccontextmanager
async def _serving(app: ASGIApp, edge: Edge, host: str, port: int, tls: Tls | None = None) -> AsyncIterator[str]:
    protocol = partial(DirectProtocol, edge=edge)
    config = uvicorn.Config(
        app,
        http=cast("Any", protocol),
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=FINISH_WITHIN_S,
        # None of our answers depends on what a proxy says of itself.
        proxy_headers=False,
    )
    config.load()
    listener = listen(host, port)
    shown_host = f"[{host}]" if ":" in host else host
    server = without_signals(config)
    serving = asyncio.create_task(server.serve(sockets=[listener] if tls is None else []))
    tasks = [asyncio.create_task(edge.watch())]
    if tls is not None:
        made = partial(protocol, config, server.server_state, {})
        tasks.append(asyncio.create_task(accept(listener, edge, tls, made)))
    try:
        yield f"{'http' if tls is None else 'https'}://{shown_host}:{listener.getsockname()[1]}"
    finally:
        watching, *accepting = tasks
        for each in accepting:
            await _ended(each)
            listener.close()
        server.should_exit = True
        await serving
        await _ended(watching)


def _renewed(settings: ServeSettings, access: Access, tls: Tls | None, node: ServingNode) -> list[Renewed]:
    """Return the files that may change while the node runs, each with what takes them."""
    keys_file, secret_file, salt_file = settings.keys_file, settings.claim_secret_file, settings.subject_salt_file
    secrets = list(settings.claim_secrets)

    def take_keys() -> None:
        if keys_file is not None:
            keys = parse_keys(keys_file.read_text("utf-8"), str(keys_file))
            if faults := claim_faults(keys, secrets):
                raise ConfigError(str(keys_file), faults)
            access.renew_keys(keys)

    def take_secrets() -> None:
        if secret_file is not None:
            secrets[:] = parse_secrets(secret_file.read_text("utf-8"), str(secret_file))
            access.renew_secrets(secrets)

    found = [] if salt_file is None else [Renewed((salt_file,), partial(_take_salt, salt_file, node))]
    if keys_file is not None:
        found.append(Renewed((keys_file,), take_keys))
    if secret_file is not None:
        found.append(Renewed((secret_file,), take_secrets))
    if tls is not None:
        paths = (settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
        found.append(Renewed([path for path in paths if path is not None], tls.renew))
    return found


def _take_salt(path: Path, node: ServingNode) -> None:
    node.renew_salt(parse_salts(path.read_text("utf-8"), str(path))[0])


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def run_node(settings: ServeSettings, *, on_listening: Callable[[str], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ConfigError: the address is taken, or decisions and outcomes can't be joined.
    """
    allow_files(settings.limits.connections)
    kernel()  # whatever has to be compiled is so before anybody waits for an answer
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    try:
        # A second thread of BLAS would spin for its part of a product, on a core that is another process's.
        with threadpool_limits(1, user_api="blas"):
            await _serve(settings, stop, on_listening)
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)


async def _serve(settings: ServeSettings, stop: asyncio.Event, on_listening: Callable[[str], None] | None) -> None:
    async with ServingNode(settings) as node, listening(node, settings.host, settings.port) as url:
        log.info("serving url=%s broker=%s", url, settings.broker)
        collect_garbage_rarely()
        if on_listening is not None:
            on_listening(url)
        await _until(stop, node)
    log.info("stopped delivered=%s undelivered=%s", node.delivery.delivered, node.delivery.undelivered)


def allow_files(connections: int) -> None:
    """Have the system let this process open a file for each connection.

    Raises:
        ConfigError: it does not.
    """
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415  there is none for that platform

    needed = connections + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise ConfigError(
            "serving node settings",
            [f"connections: {connections} need {needed} open files, the system allows {hard}: set `ulimit -Hn` higher"],
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the fastest event loop of this platform; None: asyncio's own."""
    if sys.platform == "win32":
        return None
    import uvloop  # noqa: PLC0415  there is none for that platform

    return uvloop.new_event_loop


def collect_garbage_rarely() -> None:
    """Leave out of a collection what was made at the start, and collect after many allocations only.

    A request leaves no cycles, but makes some hundred objects: by default a collection, over all decisions that are
    remembered, comes with every few requests. A thread that loads a snapshot gives way to requests after 1 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    sys.setswitchinterval(0.001)


async def _until(stop: asyncio.Event, node: ServingNode) -> None:
    """Wait for the signal, or for the node to fail."""
    tasks = {asyncio.create_task(stop.wait()), asyncio.create_task(node.run())}
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    for task in done:
        task.result()


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Raises ConfigError: the address can't be listened on."""
    # The protocol is named because asyncio sets TCP_NODELAY on such sockets only; without it a kept connection
    # waits 40 ms for each answer, whose head and body are written apart (Nagle, delayed acknowledgement).
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # What is accepted has the same: the system would hold megabytes of answers for each reader that does not read.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BYTES)
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise ConfigError(
            "serving node settings", [f"host, port: {host}:{port} can't be listened on ({error}); choose another port"]
        ) from error
    return listener


def without_signals(config: uvicorn.Config) -> uvicorn.Server:
    """Return a server that leaves signals to whoever runs the loop."""
    return _Server(config)


class _Server(uvicorn.Server):
    """A server that leaves signals to whoever runs the loop: uvicorn would take them from the whole process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
