"""`pipeline serve`."""

from __future__ import annotations

import asyncio
import logging

import click

from pipeline.cli import options
from pipeline.cli.logs import LOG_FORMAT
from pipeline.serve.http import run_node
from pipeline.serve.settings import ServeSettings


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
    help="Secret that subjects are hashed with; the same on every node. [PIPELINE_SUBJECT_SALT]",
)
def serve(broker: str, host: str, port: int, subject_salt: str) -> None:
    """Follow the snapshots and answer decisions over HTTP, until stopped.

    \b
    Example:
      pipeline serve --broker 127.0.0.1:9092 --port 8080
      curl -s localhost:8080/v1/policies/homepage/decide -d '{"context": {"visits": 1}}'
    """
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    asyncio.run(run_node(ServeSettings(broker=broker, host=host, port=port, subject_salt=subject_salt)))
