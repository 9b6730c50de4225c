"""The console's process: what is followed and the pages, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import uvicorn

from pipeline.console.app import build_app
from pipeline.console.desk import Desk
from pipeline.console.settings import ConsoleSettings
from pipeline.serve.http.renewal import Renewed, keep_renewed
from pipeline.serve.http.server import STOP_SIGNALS, listen, without_signals
from pipeline.serve.keys import parse_keys
from pipeline.stream.supervise import end

log = logging.getLogger(__name__)

FINISH_WITHIN_S = 2
MOST_AT_ONCE = 200
"""Connections and requests; who comes then is answered 503."""


async def run_console(settings: ConsoleSettings, on_listening: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ConfigError: the address can't be listened on.
    """
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    try:
        async with listening(settings, stop) as url:
            on_listening(url)
            await stop.wait()
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)


@asynccontextmanager
async def listening(settings: ConsoleSettings, stop: asyncio.Event) -> AsyncIterator[str]:
    """Serve the pages inside this block; give their address. What fails behind them sets `stop`, and is raised."""
    desk = Desk(settings)
    config = uvicorn.Config(
        build_app(desk),
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=FINISH_WITHIN_S,
        limit_concurrency=MOST_AT_ONCE,
        ssl_certfile=None if settings.tls_certificate is None else str(settings.tls_certificate),
        ssl_keyfile=None if settings.tls_key is None else str(settings.tls_key),
    )
    listener = listen(settings.host, settings.port)
    server = without_signals(config)
    desk.jobs.start()
    running = (desk.followed.run(), desk.nodes.run(), desk.flow.run(), keep_renewed(_renewed(settings, desk)))
    tasks = [asyncio.create_task(each) for each in running]
    for task in tasks:  # pages of what nobody looks at any more would be believed
        task.add_done_callback(lambda _: stop.set())
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    try:
        yield f"{'http' if settings.tls_certificate is None else 'https'}://{host}:{listener.getsockname()[1]}"
    finally:
        desk.jobs.stop()
        server.should_exit = True
        await serving
        await end(tasks)
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended


def _renewed(settings: ConsoleSettings, desk: Desk) -> list[Renewed]:
    """Return the file of keys, which is read again when it changes."""
    path = settings.keys_file
    if path is None:
        return []
    return [Renewed((path,), lambda: desk.access.renew_keys(parse_keys(path.read_text("utf-8"), str(path))))]
