"""`pipeline console`."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import click

from pipeline.cli import options
from pipeline.cli.logs import log_to_stderr
from pipeline.serve.keys import parse_keys
from pipeline.settings import LogFormat
from pipeline.stream.security import Address

a_file = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@options.broker_address
@options.app_id
@click.option(
    "--host",
    envvar="PIPELINE_CONSOLE_HOST",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; others than loopback want keys and a --server-name. [PIPELINE_CONSOLE_HOST]",
)
@click.option(
    "--port",
    envvar="PIPELINE_CONSOLE_PORT",
    type=click.IntRange(0, 65_535),
    default=8090,
    show_default=True,
    help="Port to listen on. [PIPELINE_CONSOLE_PORT]",
)
@click.option(
    "--api-keys",
    envvar="PIPELINE_CONSOLE_API_KEYS",
    type=a_file,
    help="File of the keys' hashes and rights, read again when it changes: read looks, read and operate act. Without "
    "it everybody on this machine may look, and nobody act. [PIPELINE_CONSOLE_API_KEYS]",
)
@click.option(
    "--server-name",
    "server_names",
    envvar="PIPELINE_CONSOLE_SERVER_NAMES",
    multiple=True,
    metavar="NAME",
    help="A name that browsers ask by, beside localhost; several are allowed. [PIPELINE_CONSOLE_SERVER_NAMES]",
)
@click.option(
    "--tls-certificate",
    envvar="PIPELINE_CONSOLE_TLS_CERTIFICATE",
    type=a_file,
    help="PEM file: serve over TLS, with this certificate and its chain. [PIPELINE_CONSOLE_TLS_CERTIFICATE]",
)
@click.option(
    "--tls-key",
    envvar="PIPELINE_CONSOLE_TLS_KEY",
    type=a_file,
    help="PEM file of the certificate's private key. [PIPELINE_CONSOLE_TLS_KEY]",
)
@click.option(
    "--node",
    "nodes",
    envvar="PIPELINE_CONSOLE_NODES",
    multiple=True,
    metavar="URL",
    help="A serving node to look at; several are allowed. [PIPELINE_CONSOLE_NODES]",
)
@click.option(
    "--node-key-file",
    envvar="PIPELINE_CONSOLE_NODE_KEY_FILE",
    type=a_file,
    help="File of the key that the nodes ask for, one with the right operate. [PIPELINE_CONSOLE_NODE_KEY_FILE]",
)
@click.option(
    "--worker-metrics",
    "workers",
    envvar="PIPELINE_CONSOLE_WORKER_METRICS",
    multiple=True,
    metavar="URL",
    help="A worker's --metrics-port to look at, such as http://127.0.0.1:9100; several are allowed. "
    "[PIPELINE_CONSOLE_WORKER_METRICS]",
)
@click.option(
    "--require-audit",
    envvar="PIPELINE_REQUIRE_AUDIT",
    is_flag=True,
    help="Do nothing that can't be recorded in the topic audit. [PIPELINE_REQUIRE_AUDIT]",
)
@click.option(
    "--ledger-records",
    envvar="PIPELINE_CONSOLE_LEDGER_RECORDS",
    type=click.IntRange(0),
    default=2_000_000,
    show_default=True,
    help="Longest ledger that a page reads; of a longer one it names the command. [PIPELINE_CONSOLE_LEDGER_RECORDS]",
)
@options.log_format
def console(
    broker: Address, api_keys: Path | None, node_key_file: Path | None, log_format: LogFormat, **others: Any
) -> None:
    """Show in a browser what is decided, learned and published; with a key, act on it. Until stopped.

    \b
    Example:
      pipeline console --node http://127.0.0.1:8080
      pipeline api-key --name ada --right read --right operate >> console-keys.toml
      pipeline console --api-keys console-keys.toml --node http://127.0.0.1:8080
    """
    # Imported when asked for: what renders pages would slow down every other command.
    from pipeline.console.server import run_console  # noqa: PLC0415
    from pipeline.console.settings import ConsoleSettings  # noqa: PLC0415

    log_to_stderr(logging.WARNING, log_format)
    logging.getLogger("aiokafka").setLevel(
        logging.CRITICAL
    )  # a broker that is away is told once, as what is not followed
    settings = ConsoleSettings(
        broker,
        keys=() if api_keys is None else parse_keys(api_keys.read_text("utf-8"), str(api_keys)),
        keys_file=api_keys,
        node_key="" if node_key_file is None else node_key_file.read_text("utf-8").strip(),
        **others,
    )
    asyncio.run(run_console(settings, lambda url: click.echo(f"console: {url}")))
