"""`pipeline serve`."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from pipeline.cli import options
from pipeline.cli.logs import log_to_stderr
from pipeline.cli.serve_limits import limit_options, take_limits
from pipeline.errors import ConfigError, UnavailableError
from pipeline.serve.claims import parse_secrets
from pipeline.serve.http.server import loop_factory, run_node
from pipeline.serve.keys import parse_keys
from pipeline.serve.settings import ServeSettings
from pipeline.serve.subject import parse_salts
from pipeline.settings import LogFormat
from pipeline.stream.security import Address

log = logging.getLogger(__name__)


@click.command()
@options.broker_address
@click.option(
    "--host",
    envvar="PIPELINE_HOST",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; others than loopback reach everybody. [PIPELINE_HOST]",
)
@click.option(
    "--port",
    envvar="PIPELINE_PORT",
    type=click.IntRange(0, 65_535),
    default=8080,
    show_default=True,
    help="Port to listen on. [PIPELINE_PORT]",
)
@click.option(
    "--subject-salt",
    envvar="PIPELINE_SUBJECT_SALT",
    default="",
    help="Secret that subjects are hashed with; the same on every node. Others see it in `ps`: rather give a file. "
    "[PIPELINE_SUBJECT_SALT]",
)
@click.option(
    "--subject-salt-file",
    envvar="PIPELINE_SUBJECT_SALT_FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File of that secret, one a line, the same on every node: the first hashes, former ones stay below it for "
    "`pipeline forget` (`openssl rand -hex 24`). Read again when it changes. [PIPELINE_SUBJECT_SALT_FILE]",
)
@click.option(
    "--api-keys",
    envvar="PIPELINE_API_KEYS",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File of the keys' hashes and rights; `pipeline api-key` makes its entries. [PIPELINE_API_KEYS]",
)
@click.option(
    "--claim-secret-file",
    envvar="PIPELINE_CLAIM_SECRET_FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Secrets, one a line, the same on every node: sign what pages may tell of decisions (`openssl rand -hex 24`). "
    "[PIPELINE_CLAIM_SECRET_FILE]",
)
@click.option(
    "--open",
    "is_open",
    envvar="PIPELINE_OPEN",
    is_flag=True,
    help="Serve beyond loopback without keys, where the network itself lets nobody in. [PIPELINE_OPEN]",
)
@click.option(
    "--rate-limit",
    "rate_per_s",
    envvar="PIPELINE_RATE_LIMIT",
    type=click.FloatRange(min=0.0),
    default=0.0,
    help="What a key may cost in a second, or an address where there are no keys, in decisions among up to 50 arms; "
    "0: anything. [PIPELINE_RATE_LIMIT]",
)
@click.option(
    "--page-rate-limit",
    "page_rate_per_s",
    envvar="PIPELINE_PAGE_RATE_LIMIT",
    type=click.FloatRange(min=0.0),
    default=20.0,
    show_default=True,
    help="The same for each address behind the key of a page. [PIPELINE_PAGE_RATE_LIMIT]",
)
@click.option(
    "--burst",
    envvar="PIPELINE_BURST",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="What either may cost at once. [PIPELINE_BURST]",
)
@click.option(
    "--proxy",
    "proxies",
    envvar="PIPELINE_PROXIES",
    multiple=True,
    metavar="ADDRESS",
    help="Of a proxy whose X-Forwarded-For says who asks; several are allowed. [PIPELINE_PROXIES]",
)
@click.option(
    "--tls-certificate",
    envvar="PIPELINE_TLS_CERTIFICATE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="PEM file: serve over TLS, with this certificate and its chain. [PIPELINE_TLS_CERTIFICATE]",
)
@click.option(
    "--tls-key",
    envvar="PIPELINE_TLS_KEY",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="PEM file of the certificate's private key. [PIPELINE_TLS_KEY]",
)
@click.option(
    "--tls-client-ca",
    envvar="PIPELINE_TLS_CLIENT_CA",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="PEM file of authorities: a caller's certificate of theirs stands for the key whose entry names it. "
    "[PIPELINE_TLS_CLIENT_CA]",
)
@click.option(
    "--origin",
    "origins",
    envvar="PIPELINE_ORIGINS",
    multiple=True,
    metavar="URL",
    help="A web origin whose pages may call this node; several are allowed. [PIPELINE_ORIGINS]",
)
@click.option(
    "--server-name",
    "server_names",
    envvar="PIPELINE_SERVER_NAMES",
    multiple=True,
    metavar="NAME",
    help="Without keys: a name that callers may ask by, beside localhost; several are allowed. [PIPELINE_SERVER_NAMES]",
)
@click.option(
    "--ready-within",
    "ready_within_s",
    envvar="PIPELINE_READY_WITHIN",
    type=click.FloatRange(min=0.001),
    default=3_600.0,
    show_default=True,
    help="Seconds: with no younger snapshot, /readyz says no. [PIPELINE_READY_WITHIN]",
)
@options.metrics_host
@options.metrics_port
@click.option(
    "--spill-dir",
    envvar="PIPELINE_SPILL_DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of this node alone, where records wait while the broker is away. [PIPELINE_SPILL_DIR]",
)
@click.option(
    "--spill-bytes",
    envvar="PIPELINE_SPILL_BYTES",
    type=click.IntRange(1 << 20),
    default=1 << 30,
    show_default=True,
    help="How much may wait there. [PIPELINE_SPILL_BYTES]",
)
@click.option(
    "--snapshot-keys",
    envvar="PIPELINE_SNAPSHOT_KEYS",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="PEM file of the publishers' public keys, two while they are changed: only snapshots that one of them has "
    "signed go live. [PIPELINE_SNAPSHOT_KEYS]",
)
@click.option(
    "--snapshot-dir",
    envvar="PIPELINE_SNAPSHOT_DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of this node alone: live snapshots are kept there, to answer from after a restart without a broker. "
    "[PIPELINE_SNAPSHOT_DIR]",
)
@click.option(
    "--snapshot-bytes",
    envvar="PIPELINE_SNAPSHOT_BYTES",
    type=click.IntRange(1 << 20),
    default=1 << 30,
    show_default=True,
    help="How much may be kept there. [PIPELINE_SNAPSHOT_BYTES]",
)
@click.option(
    "--when-full",
    envvar="PIPELINE_WHEN_FULL",
    type=click.Choice(["shed", "slow"]),
    default="shed",
    show_default=True,
    help="With no room for records: shed and count them, or first let requests wait. [PIPELINE_WHEN_FULL]",
)
@options.log_format
@limit_options
def serve(
    log_format: LogFormat,
    api_keys: Path | None,
    claim_secret_file: Path | None,
    subject_salt: str,
    subject_salt_file: Path | None,
    **options: Any,
) -> None:
    """Follow the snapshots and answer decisions over HTTP, until stopped.

    \b
    Example:
      pipeline serve --broker 127.0.0.1:9092 --port 8080
      curl -s localhost:8080/v1/policies/homepage/decide -H 'content-type: application/json' -d '{}'
    """
    log_to_stderr(logging.INFO, log_format)
    keys = () if api_keys is None else parse_keys(api_keys.read_text("utf-8"), str(api_keys))
    secrets: tuple[bytes, ...] = ()
    if claim_secret_file is not None:
        secrets = parse_secrets(claim_secret_file.read_text("utf-8"), str(claim_secret_file))
    if subject_salt_file is not None:
        if subject_salt:
            raise click.UsageError("--subject-salt and --subject-salt-file are both set: keep the file")
        subject_salt = parse_salts(subject_salt_file.read_text("utf-8"), str(subject_salt_file))[0]
    settings = ServeSettings(
        subject_salt=subject_salt,
        subject_salt_file=subject_salt_file,
        keys=keys,
        keys_file=api_keys,
        claim_secrets=secrets,
        claim_secret_file=claim_secret_file,
        limits=take_limits(options),
        **options,
    )
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(run_allowed(settings))


async def run_allowed(settings: ServeSettings) -> None:
    """Run a node, which answers from the first moment on; end it where a grant lacks, which no waiting mends.

    Raises:
        ConfigError: a setting or a grant is wrong.
    """
    refused = grants_looked_at(settings.broker)
    node = asyncio.create_task(run_node(settings))
    both: set[asyncio.Future[Any]] = {node, refused}
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    if not node.done() and (error := refused.result()) is not None:
        node.cancel()
        await asyncio.gather(node, return_exceptions=True)
        raise error
    await node


def grants_looked_at(broker: Address) -> asyncio.Future[ConfigError | None]:
    """Look at a node's grants beside it; whoever ends meanwhile does not wait for a broker that is away."""
    from pipeline.doctor.watch import require_grants  # noqa: PLC0415  a client of its own, which no import pays for

    loop = asyncio.get_running_loop()
    found: asyncio.Future[ConfigError | None] = loop.create_future()

    def look() -> None:
        error: ConfigError | None = None
        try:
            require_grants(broker, "node")
        except ConfigError as refused:
            error = refused
        except UnavailableError as away:
            log.warning("grants-not-looked-at error=%s", away)
        with suppress(RuntimeError):  # the loop is closed: the node has ended
            loop.call_soon_threadsafe(lambda: None if found.done() else found.set_result(error))

    threading.Thread(target=look, name="grants", daemon=True).start()
    return found
