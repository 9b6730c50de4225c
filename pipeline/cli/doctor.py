"""`pipeline doctor`."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import get_args

import click
import orjson
from rich.console import Console
from rich.table import Table

from pipeline.audit.record import Operator
from pipeline.cli import options
from pipeline.doctor import checks
from pipeline.doctor.ask import ask
from pipeline.doctor.checks import Change, Finding
from pipeline.doctor.claims import claim_findings
from pipeline.doctor.facts import Cluster
from pipeline.doctor.fix import in_words, make_changes
from pipeline.doctor.gather import BrokerFacts, gather_cluster, look_at_folder
from pipeline.doctor.registry import registry_findings
from pipeline.doctor.requirements import Role
from pipeline.doctor.versions import version_findings
from pipeline.errors import NotAllowedError, UnavailableError
from pipeline.registry.settings import RegistrySettings
from pipeline.stream.log.topics import DECISIONS, DEFAULT_PARTITIONS, REWARDS
from pipeline.stream.security import Address, security_of

TOLD_WITHIN_S = 15.0
LOOK_AGAIN_S = 0.2
MARKS = {"ok": "[green]✓[/green]", "warn": "[yellow]![/yellow]", "fail": "[red]✗[/red]"}


@click.command()
@options.broker_address
@options.app_id
@click.option(
    "--role",
    "roles",
    envvar="PIPELINE_ROLE",
    multiple=True,
    type=click.Choice(get_args(Role)),
    default=("worker",),
    show_default=True,
    help="Whose grants are looked at; may be given again for another. [PIPELINE_ROLE]",
)
@click.option(
    "--state-dir",
    envvar="PIPELINE_STATE_DIR",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("var/state"),
    show_default=True,
    help="Where a worker's RocksDB lies. [PIPELINE_STATE_DIR]",
)
@click.option("--fix", is_flag=True, help="Make missing topics and set settings, after showing which; nothing else.")
@click.option("--yes", is_flag=True, help="With --fix: do not ask.")
@options.registry
@options.as_json
@options.audited
def doctor(
    broker: Address,
    app_id: str,
    roles: tuple[Role, ...],
    state_dir: Path,
    registry: RegistrySettings,
    fix: bool,
    yes: bool,
    as_json: bool,
    by: Operator,
) -> None:
    """Look at brokers, topics, grants, producers, claims, registry, state; say what to do. Exit code 1: one is wrong.

    \b
    Example:
      pipeline doctor --broker 127.0.0.1:9092
      pipeline doctor --role worker --role node --json
      pipeline doctor --registry https://registry.example:8081
      pipeline doctor --fix
    """
    look_now = partial(look, broker, app_id, roles, state_dir, registry)
    findings = list(look_now())
    changes = list(dict.fromkeys(finding.change for finding in findings if finding.change is not None))
    if fix and changes:
        _fix(broker, app_id, by, changes, is_asked=not yes, is_quiet=as_json)
        findings = _look_after(look_now, changes)
    if as_json:
        rows = [finding._asdict() | {"change": finding.change and finding.change._asdict()} for finding in findings]
        click.echo(orjson.dumps({"status": checks.worst(findings), "findings": rows}))
    else:
        _show(findings)
    if checks.worst(findings) == "fail":
        sys.exit(1)


def look(
    broker: Address, app_id: str, roles: tuple[Role, ...], state_dir: Path, registry: RegistrySettings
) -> Iterator[Finding]:
    """Yield everything that was looked at; where no broker answers, what can be told without one."""
    try:
        cluster = gather_cluster(broker, app_id)
    except NotAllowedError as error:
        needed = "a name and password, or a certificate, that the brokers take"
        yield Finding("fail", "authentication", str(error), needed, "set PIPELINE_KAFKA_* (docs/brokers.md)")
    except UnavailableError as error:
        yield Finding("fail", f"broker {broker}", str(error), "an answer", "start it, or name another by --broker")
    else:
        yield from _look_at(cluster, broker, app_id, roles)
    yield from asyncio.run(registry_findings(registry))
    yield checks.folder_finding(look_at_folder(state_dir))


def _look_after(look_now: Callable[[], Iterable[Finding]], changes: Sequence[Change]) -> list[Finding]:
    """Look until the brokers tell of what was changed, or for long enough to say that they don't.

    A change is answered when the controller has it; each broker tells of it a moment later, a busy one some seconds.
    """
    deadline_s = time.monotonic() + TOLD_WITHIN_S
    while True:
        findings = list(look_now())
        if time.monotonic() > deadline_s or not any(finding.change in changes for finding in findings):
            return findings
        time.sleep(LOOK_AGAIN_S)


def _look_at(cluster: Cluster, broker: Address, app_id: str, roles: tuple[Role, ...]) -> Iterator[Finding]:
    protocol = security_of(broker).security_protocol
    yield Finding("ok", f"broker {broker}", f"{cluster.brokers} brokers answer, by {protocol}")
    yield from checks.topic_findings(cluster, app_id, None, str(broker))
    for role in roles:
        yield from checks.grant_findings(cluster, role, app_id, str(broker))
    if cluster.is_askable:
        now_ms = time.time_ns() // 1_000_000
        deployment = BrokerFacts(broker, app_id).deployment(cluster)
        decisions = cluster.topics.get(DECISIONS)
        answers = asyncio.run(ask(broker, app_id, DEFAULT_PARTITIONS if decisions is None else decisions.partitions))
        yield from version_findings(answers.spoken)
        yield from checks.deployment_findings(deployment, cluster, now_ms)
        yield from claim_findings(answers.claims, deployment, app_id, str(broker), now_ms)


def _fix(broker: Address, app_id: str, by: Operator, changes: list[Change], *, is_asked: bool, is_quiet: bool) -> None:
    for change in changes:
        click.echo(f"would {in_words(change)}" if is_asked else in_words(change), err=is_quiet)
    if is_asked:
        click.confirm("Do all of this?", abort=True, err=True)
    rewards = gather_cluster(broker, app_id).topics.get(REWARDS)
    asyncio.run(make_changes(broker, app_id, by, rewards.partitions if rewards else DEFAULT_PARTITIONS, changes))


def _show(findings: list[Finding]) -> None:
    table = Table("", "looked at", "seen", "what to do", box=None, pad_edge=False)
    for finding in findings:
        what_to_do = [f"needed: {finding.needed}"] if finding.needed else []
        what_to_do += [finding.mend] if finding.mend else []
        table.add_row(MARKS[finding.status], finding.what, finding.seen, "\n".join(what_to_do))
    Console().print(table)
