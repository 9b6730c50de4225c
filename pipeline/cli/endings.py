"""How a process of this package ends: with a known error in plain words and its exit code, never with a traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from pipeline.errors import ConfigError, PipelineError, StateError, UnavailableError

REFUSED = 1
"""What is asked for or configured can't be; the same will be refused again."""
EXIT_CODES: dict[type[PipelineError], int] = {ConfigError: REFUSED, UnavailableError: 3, StateError: 70}


@contextmanager
def plainly() -> Iterator[None]:
    """End the process by whatever known error comes out of the block."""
    try:
        yield
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except ConfigError as error:
        click.echo(f"{error.what}:", err=True)
        for fault in error.faults:
            click.echo(f"  - {fault}", err=True)
        sys.exit(EXIT_CODES[ConfigError])
    except PipelineError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 1))
    except Exception as error:
        if not _is_kafkas(error):
            raise
        click.echo(f"error: Kafka does not do it: {error}", err=True)
        sys.exit(EXIT_CODES[UnavailableError])


def _is_kafkas(error: Exception) -> bool:
    """Return whether it is the client's error; a command that asks no broker has not loaded it."""
    errors = sys.modules.get("aiokafka.errors")
    return errors is not None and isinstance(error, errors.KafkaError)
