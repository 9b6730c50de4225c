"""`pipeline warm-start`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipeline.cli import options
from pipeline.cli.evaluate import read_ledger
from pipeline.cli.snapshots import find_whole
from pipeline.errors import ConfigError
from pipeline.evaluate.log import DecisionLog
from pipeline.evaluate.spreadsheet import read_sheet
from pipeline.evaluate.warm_start import (
    ArmStart,
    Shown,
    arm_starts,
    arm_transfers,
    foreign_arms,
    log_of_sheet,
    with_priors,
)
from pipeline.policy.definition import PolicyDefinition
from pipeline.policy.parsing.parse import load_policy
from pipeline.policy.parsing.toml import to_toml
from pipeline.stream.security import Address

TRUST = 1.0
TRUST_WITHOUT = 0.25
"""Of a log without propensities: what it says may be of those only whom an arm was chosen for."""
TEMPER = 0.2
LIMIT = 1_000.0
CONFOUNDED = (
    "without propensities, an arm's mean is that of those who were shown it: if it was shown to the better visitors, "
    "it looks better than it is"
)


@click.command(name="warm-start")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@options.broker_address
@click.option("--ledger", metavar="POLICY", help="Start from what this policy's ledger says.")
@click.option(
    "--csv",
    "table",
    envvar="PIPELINE_WARM_START_CSV",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Start from a log with the columns arm, reward and, where known, propensity. [PIPELINE_WARM_START_CSV]",
)
@click.option(
    "--data",
    envvar="PIPELINE_WARM_START_DATA",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Start from a campaign's folder of the Open Bandit dataset. [PIPELINE_WARM_START_DATA]",
)
@click.option(
    "--from-policy",
    envvar="PIPELINE_WARM_START_FROM_POLICY",
    metavar="POLICY",
    help="Start from what another policy has learned, as its snapshot says. [PIPELINE_WARM_START_FROM_POLICY]",
)
@click.option("--version", type=click.IntRange(1), help="Which snapshot of that policy; the latest if not given.")
@click.option(
    "--temper",
    envvar="PIPELINE_WARM_START_TEMPER",
    type=click.FloatRange(0.0, 1.0, min_open=True),
    help=f"What a decision of the other policy counts of one's own; {TEMPER:g} if not given. "
    "[PIPELINE_WARM_START_TEMPER]",
)
@click.option(
    "--ignore-other-arms",
    envvar="PIPELINE_WARM_START_IGNORE_OTHER_ARMS",
    is_flag=True,
    help="Leave out decisions of arms that the policy doesn't have. [PIPELINE_WARM_START_IGNORE_OTHER_ARMS]",
)
@click.option(
    "--trust",
    envvar="PIPELINE_WARM_START_TRUST",
    type=click.FloatRange(0.0, 1.0, min_open=True),
    help=f"What a logged decision counts of one's own; {TRUST:g} with propensities and {TRUST_WITHOUT:g} without, if "
    "not given. [PIPELINE_WARM_START_TRUST]",
)
@click.option(
    "--limit",
    envvar="PIPELINE_WARM_START_LIMIT",
    type=click.FloatRange(0.0, 1e6, min_open=True),
    default=LIMIT,
    show_default=True,
    help="Most decisions that a prior may be worth, so that it can be unlearned. [PIPELINE_WARM_START_LIMIT]",
)
@click.option(
    "--out",
    envvar="PIPELINE_WARM_START_OUT",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the policy file with priors goes; standard output if not given. [PIPELINE_WARM_START_OUT]",
)
@options.as_json
def warm_start(
    file: Path,
    broker: Address,
    ledger: str | None,
    table: Path | None,
    data: Path | None,
    from_policy: str | None,
    version: int | None,
    temper: float | None,
    ignore_other_arms: bool,
    trust: float | None,
    limit: float,
    out: Path | None,
    as_json: bool,
) -> None:
    """Give the arms of a policy file priors, from a log or from another policy; exact statistics are left alone.

    Of another policy, an arm's mean over all its segments is taken, and its decisions times --temper. What depends on
    segment or context is not, nor what that policy had started from or has forgotten.

    \b
    Example:
      pipeline warm-start homepage.toml --ledger oldpage --out homepage-warm.toml
      pipeline warm-start homepage.toml --csv history.csv --trust 0.1 --json
      pipeline warm-start checkout.toml --from-policy homepage --temper 0.2 --out checkout-warm.toml
    """
    if sum(source is not None for source in (ledger, table, data, from_policy)) != 1:
        raise click.UsageError("give one log: --ledger POLICY, --csv FILE, --data FOLDER or --from-policy POLICY")
    if from_policy is None and (temper is not None or version is not None):
        raise click.UsageError("--temper and --version go with --from-policy")
    if from_policy is not None and trust is not None:
        raise click.UsageError("--from-policy takes --temper, not --trust")
    definition = load_policy(file.read_text(encoding="utf-8"), str(file))
    if from_policy is not None:
        trust = TEMPER if temper is None else temper
        starts, head = _transfer(broker, from_policy, version, trust, limit)
        warnings: list[str] = []
        shared = {start.arm for start in starts} & definition.arm_set
        if missing := sorted({start.arm for start in starts} - shared):
            warnings.append(
                f"arms {', '.join(missing[:5])} of {from_policy} are none of this policy's and were left out"
            )
    else:
        log, warnings = _read(definition, broker, ledger, table, data)
        warnings += _check_arms(definition, log, is_asked=ignore_other_arms)
        if trust is None:
            trust = TRUST if log.propensities is not None else TRUST_WITHOUT
        starts, head = arm_starts(log, trust=trust, limit=limit), ""
        warnings += [CONFOUNDED] if log.propensities is None else []
    text = head + to_toml(with_priors(definition, starts))
    load_policy(text, "the policy with priors")  # what is proposed must be a policy
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    if as_json:
        found = {"arms": [start._asdict() for start in starts], "trust": trust, "warnings": warnings, "policy": text}
        click.echo(orjson.dumps(found))
        return
    _show(starts)
    for words in warnings:
        click.echo(f"! {words}", err=True)
    click.echo(f"The policy is in {out}: pipeline policy apply {out}" if out else text, err=out is not None)


def _transfer(
    broker: Address, policy: str, version: int | None, temper: float, limit: float
) -> tuple[list[ArmStart], str]:
    """Return what another policy's snapshot gives, and the line that says where it is from."""
    found = asyncio.run(find_whole(broker, policy, version))
    head = (
        f"# Priors from policy {policy}, version {found.fields['version']}, snapshot {found.id}, temper {temper!r}.\n"
    )
    return arm_transfers(found.fields, temper=temper, limit=limit), head


def _read(
    definition: PolicyDefinition, broker: Address, ledger: str | None, table: Path | None, data: Path | None
) -> tuple[Shown, list[str]]:
    """Return a log, and in words what of it was guessed or left out."""
    if table is not None:
        sheet = read_sheet(table.read_bytes(), str(table), ("arm", "reward"))
        return log_of_sheet(sheet, definition), sheet.doubts_told()
    if data is not None:
        from pipeline.demo.logged import read_log  # noqa: PLC0415  brings the whole demo
        from pipeline.evaluate.open_bandit import log_of  # noqa: PLC0415  as above

        return _shown(log_of(read_log(data))), []
    log, _, left_out = asyncio.run(read_ledger(broker, str(ledger), lambda _done, _total: None))
    return _shown(log), left_out


def _check_arms(definition: PolicyDefinition, log: Shown, *, is_asked: bool) -> list[str]:
    """Refuse arms that the policy doesn't have; where that is asked for, say how much was left out."""
    foreign = foreign_arms(log, definition)
    if not foreign:
        return []
    some = ", ".join(f"{arm!r} ({n:,})" for arm, n in list(foreign.items())[:10])
    seen = f"{sum(foreign.values()):,} of {len(log.arms):,} decisions showed arms that the policy doesn't have: {some}"
    if is_asked:
        return [f"{seen}; they were left out"]
    expected = ", ".join(map(repr, definition.arm_names[:10]))
    raise ConfigError("the log", [f"{seen}; its arms are {expected}. Rename them, or give --ignore-other-arms"])


def _shown(log: DecisionLog) -> Shown:
    return Shown([log.arms[place] for place in log.arm], log.reward, log.propensity)


def _show(starts: list[ArmStart]) -> None:
    table = Table("arm", box=SIMPLE_HEAD)
    for heading in ("decisions", "mean reward", "worth", "prior's weight"):
        table.add_column(heading, justify="right")
    for start in starts:
        table.add_row(
            start.arm, f"{start.decisions:,}", f"{start.mean:.6g}", f"{start.effective:,.1f}", f"{start.weight:,.1f}"
        )
    Console(stderr=True).print(table)
