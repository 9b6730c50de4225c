"""`pipeline api-key`."""

from __future__ import annotations

import secrets

import click

from pipeline.serve.keys import KEY_BYTES, PREFIX, RIGHTS, hash_key


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
def api_key(name: str, rights: tuple[str, ...]) -> None:
    """Make a key for serving nodes: the key on stderr, once; its entry for the file of --api-keys on stdout.

    \b
    Example:
      pipeline api-key --name shop --right decide --right outcomes >> keys.toml
      pipeline serve --api-keys keys.toml --host 0.0.0.0
    """
    key = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    click.echo(f"the key, which is not kept anywhere: {key}", err=True)
    listed = ", ".join(f'"{right}"' for right in sorted(set(rights)))
    click.echo(f'[[keys]]\nname = "{name}"\nsha256 = "{hash_key(key)}"\nrights = [{listed}]\n')
