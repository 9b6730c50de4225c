"""`pipeline api-key`."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime

import click

from pipeline.cli.options import Moment
from pipeline.serve.keys import KEY_BYTES, PREFIX, RIGHTS, hash_key, parse_keys


class KindAtMost(click.ParamType):
    """An outcome kind, and the largest size of its value."""

    name = "kind=most"

    def convert(
        self, value: str | tuple[str, float], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        """Return both."""
        if isinstance(value, tuple):
            return value
        kind, separator, most = value.rpartition("=")
        try:
            return (kind, float(most)) if separator else (value, 1.0)
        except ValueError:
            self.fail(f"{value!r} is no outcome kind with its largest value, such as click=1", param, ctx)


@click.command("api-key")
@click.option("--name", required=True, help="Whose key it is: lower-case letters, digits, - and _.")
@click.option(
    "--right",
    "rights",
    type=click.Choice(RIGHTS),
    multiple=True,
    required=True,
    help="What it allows; several are allowed.",
)
@click.option("--policy", "policies", multiple=True, help="Of which policy; several are allowed. [every policy]")
@click.option("--expires", type=Moment(), help="From when it is no key any more, such as 2027-01-31.")
@click.option(
    "--claim",
    "claims",
    type=KindAtMost(),
    multiple=True,
    help="Of a page, whose key everybody sees: an outcome kind that it may tell of decisions that it was given, and "
    "the largest value, such as click=1; several are allowed.",
)
@click.option("--certificate", default="", help="A name in the caller's TLS certificate, which stands for the key.")
def api_key(
    name: str,
    rights: tuple[str, ...],
    policies: tuple[str, ...],
    expires: int | None,
    claims: tuple[tuple[str, float], ...],
    certificate: str,
) -> None:
    """Make a key for serving nodes: the key on stderr, once; its entry for the file of --api-keys on stdout.

    A running node reads the file again when it changes. A name may stand there twice, so that callers can change from
    the old key to the new one.

    \b
    Example:
      pipeline api-key --name shop --right decide --right outcomes >> keys.toml
      pipeline api-key --name page --right decide --right outcomes --policy homepage --claim click=1 >> keys.toml
      pipeline serve --api-keys keys.toml --host 0.0.0.0
    """
    key = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    lines = ["[[keys]]", f"name = {json.dumps(name)}", f'sha256 = "{hash_key(key)}"', _listed("rights", rights)]
    if policies:
        lines.append(_listed("policies", policies))
    if expires is not None:
        lines.append(f"expires = {datetime.fromtimestamp(expires / 1000, UTC).isoformat()}")
    if claims:
        lines.append("claims = { " + ", ".join(f"{json.dumps(kind)} = {most!r}" for kind, most in claims) + " }")
    if certificate:
        lines.append(f"certificate = {json.dumps(certificate)}")
    entry = "\n".join(lines) + "\n"
    parse_keys(entry, "pipeline api-key")  # what the node would refuse is refused here
    click.echo(f"the key, which is not kept anywhere: {key}", err=True)
    click.echo(entry)


def _listed(name: str, values: tuple[str, ...]) -> str:
    return f"{name} = [{', '.join(json.dumps(value) for value in sorted(set(values)))}]"
