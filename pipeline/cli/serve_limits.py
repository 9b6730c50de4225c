"""Options of `pipeline serve` that bound what a connection may cost: one for each field of `Limits`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

import click

from pipeline.serve.limits import Limits

Command = TypeVar("Command", bound=Callable[..., Any])

HELP = {
    "head_bytes": "Bytes that a request's line and headers may have together",
    "url_bytes": "Bytes that its path and query may have",
    "body_bytes": "Bytes that its body may have",
    "head_within_s": "Seconds until its head must be whole",
    "body_within_s": "Seconds from there until its body must be whole",
    "idle_within_s": "Seconds that a connection is kept between two requests",
    "write_within_s": "Seconds that a caller may take to read what waits for it",
    "connections": "Connections in all; beyond them the oldest that has shown no key makes room",
    "connections_per_address": "Connections of one address that have shown no key",
    "requests_in_flight": "Requests that are read and answered at the same time, beside short decisions",
    "unread_bytes": "Bytes of answers in all that wait for slow readers",
}


def limit_options(command: Command) -> Command:
    """Add the options, each with its PIPELINE_* twin."""
    for field in reversed(fields(Limits)):
        name = field.name.removesuffix("_s")
        twin = f"PIPELINE_{name.upper()}"
        is_time = name != field.name
        command = click.option(
            f"--{name.replace('_', '-')}",
            field.name,
            envvar=twin,
            type=click.FloatRange(min=0.0, min_open=True) if is_time else click.IntRange(1),
            default=field.default,
            show_default=True,
            help=f"{HELP[field.name]}. [{twin}]",
        )(command)
    return command


def take_limits(options: dict[str, Any]) -> Limits:
    """Take the limits out of a command's options."""
    return Limits(**{field.name: options.pop(field.name) for field in fields(Limits)})
