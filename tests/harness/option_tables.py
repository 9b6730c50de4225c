"""docs/options.md, made of what the command line itself says.

python -m tests.harness.option_tables > docs/options.md
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import click
from click.core import ParameterSource

from pipeline.cli import cli

COMMANDS = ("worker", "serve", "console")
HEAD = """# Options of a worker, a node and a console

What `pipeline worker --help`, `pipeline serve --help` and `pipeline console --help` say, in one place; this page is
made of them, and a test holds it to them. Each option has the environment twin that stands beside it;
`PIPELINE_KAFKA_*` and `PIPELINE_REGISTRY_*`, which say how a broker and a registry are spoken to, are no flags
([brokers](brokers.md#tls-and-sasl), [producers](producers.md)): everybody on a machine sees those.
"""


def page() -> str:
    """Return the whole page."""
    return "\n".join([HEAD, *(line for name in COMMANDS for line in _section(name))])


def _section(name: str) -> Iterator[str]:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    context = click.Context(command, info_name=name)
    yield f"## `pipeline {name}`\n"
    yield "| option | twin | default | what it says |"
    yield "|---|---|---|---|"
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            yield option_row(option, context)
    yield ""


def option_row(option: click.Option, context: click.Context) -> str:
    """Return an option's row: its flags, its twin, its default and its help."""
    flags = "/".join([*option.opts, *option.secondary_opts])
    twin = f"`{option.envvar}`" if option.envvar else ""
    words = re.sub(r"\s*\[[^\]]*\]\s*$", "", option.help or "")
    chosen = f" One of: {', '.join(map(str, option.type.choices))}." if isinstance(option.type, click.Choice) else ""
    return f"| `{flags}` | {twin} | {_default(option, context)} | {words}{chosen} |"


def _default(option: click.Option, context: click.Context) -> str:
    value, source = option.consume_value(context, {})
    if source is not ParameterSource.DEFAULT or value in (None, (), "") or repr(value).startswith("Sentinel"):
        return ""
    if option.is_flag:
        return f"`{(option.opts if value else option.secondary_opts or [''])[0]}`" if option.secondary_opts else ""
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


if __name__ == "__main__":
    sys.stdout.write(page())
