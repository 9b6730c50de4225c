"""The command line: thin commands around the package.

Exit codes: 0 done; 1 the answer is no (a comparison differs, a definition is refused); 2 wrong usage;
3 a service is away; 70 a worker stopped itself rather than guess.
"""

from __future__ import annotations

import importlib
import logging

import click

from pipeline.cli.endings import plainly

COMMANDS = (
    "advise",
    "analyze",
    "api-key",
    "audit",
    "backfill",
    "console",
    "dead-letters",
    "demo",
    "doctor",
    "evaluate",
    "event",
    "export",
    "forget",
    "policy",
    "replay",
    "report",
    "serve",
    "simulate",
    "snapshot",
    "status",
    "tail",
    "topics",
    "train",
    "verify",
    "warm-start",
    "worker",
)


class Commands(click.Group):
    """Each command from the module of its name, imported when it is asked for: a worker needs no plots."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands' names."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(importlib.import_module(f"pipeline.cli.{name}"), name)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="bandit-pipeline")
def cli() -> None:
    """A streaming learner for decisions under uncertainty.

    Every option has an environment twin: PIPELINE_BROKER for --broker, and so on.

    \b
    Example:
      pipeline demo
    """


def main() -> None:
    """Run the command line; a known error is said in plain words, without a traceback."""
    # What the client says of a broker that is away is said once, as the command's error; `worker` and `serve` log it.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    with plainly():
        cli.main(standalone_mode=False)
