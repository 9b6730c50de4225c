"""`pipeline verify`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click
import orjson
from rich.console import Console
from rich.progress import Progress

from pipeline.checkpoint.begin import Way, find_way
from pipeline.checkpoint.trust import FILE, Trust
from pipeline.cli import options
from pipeline.cli.directives import read_book
from pipeline.cli.findings import Found, in_words
from pipeline.errors import ConfigError
from pipeline.independent.checkpoint import take_in
from pipeline.independent.fold import Partition
from pipeline.independent.proof import prove
from pipeline.independent.read import fold_for
from pipeline.independent.records import read_record
from pipeline.publish.outline import Kept
from pipeline.registry.lookup import Schemas
from pipeline.registry.settings import RegistrySettings
from pipeline.replay.proof.compare import Difference
from pipeline.replay.proof.history import PolicyHistory, read_history
from pipeline.replay.proof.prefixes import Passed
from pipeline.replay.proof.verify import (
    OnProgress,
    Verdict,
    asked_offsets,
    look_at_sample,
    offsets_of,
    statistics_at,
    verify_snapshots,
)
from pipeline.stream.log.topics import REWARDS
from pipeline.stream.security import Address, client_options

T = TypeVar("T")


class Beginning(NamedTuple):
    """Where the fold may begin."""

    trust: Trust
    from_start: bool

    async def way(self, broker: Address, asked: Sequence[Kept]) -> Way:
        """Find where it begins for these snapshots."""
        return await find_way(broker, asked_offsets(asked), self.trust, from_start=self.from_start)

    def remember(self, passed: Sequence[Passed]) -> Iterator[str]:
        """Begin at what was come to from now on; yield what could not be done, in words."""
        try:
            self.trust.add(one.head.id for one in passed if one.is_equal)
        except OSError as error:
            yield f"the next proof: checkpoints can't be remembered, {error}. Give --trusted another file"


class Offsets(click.ParamType):
    """An offset vector: PARTITION=OFFSET, with commas between."""

    name = "offsets"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[int, int]:
        """Return the next offset not in, by ledger partition."""
        if isinstance(value, dict):
            return value
        entries = [entry.partition("=") for entry in str(value).split(",")]
        if not all(number.strip().isdecimal() and end.strip().isdecimal() for number, _, end in entries):
            self.fail(f"{value!r} is no offset vector such as 0=120,1=98", param, ctx)
        ends = {int(number): int(end) for number, _, end in entries}
        if len(ends) != len(entries):
            self.fail(f"{value!r} names a partition twice", param, ctx)
        return ends


@click.command()
@options.broker_address
@click.option("--policy", "policies", multiple=True, help="Only this policy; may be repeated. All if not given.")
@click.option("--version", type=click.IntRange(1), help="Recompute this version; needs one --policy.")
@click.option("--last", type=click.IntRange(1), help="Recompute so many of the newest versions; 1 if not given.")
@click.option("--offsets", type=Offsets(), metavar="P=O,…", help="Fold the ledger up to here; unnamed partitions: 0.")
@click.option(
    "--independent",
    envvar="PIPELINE_VERIFY_INDEPENDENT",
    is_flag=True,
    help="Fold by other code than the stages': slower. [PIPELINE_VERIFY_INDEPENDENT]",
)
@click.option("--sample", type=click.IntRange(1), metavar="N", help="A quick look at N ledger records, without a fold.")
@click.option(
    "--from-start",
    envvar="PIPELINE_VERIFY_FROM_START",
    is_flag=True,
    help="Begin at offset 0, and prove every checkpoint on the way. [PIPELINE_VERIFY_FROM_START]",
)
@click.option(
    "--trust",
    envvar="PIPELINE_VERIFY_TRUST",
    multiple=True,
    metavar="ID",
    help="Begin at this checkpoint without proving it: at least 12 digits of its id, or `newest`; may be repeated. "
    "[PIPELINE_VERIFY_TRUST]",
)
@click.option(
    "--trusted",
    envvar="PIPELINE_TRUSTED_CHECKPOINTS",
    type=click.Path(path_type=Path, dir_okay=False),
    default=FILE,
    show_default=True,
    help="Where the checkpoints are remembered that this command has come to itself. [PIPELINE_TRUSTED_CHECKPOINTS]",
)
@options.registry
@options.as_json
def verify(
    broker: Address,
    policies: tuple[str, ...],
    version: int | None,
    last: int | None,
    offsets: dict[int, int] | None,
    independent: bool,
    sample: int | None,
    from_start: bool,
    trust: tuple[str, ...],
    trusted: Path,
    registry: RegistrySettings,
    as_json: bool,
) -> None:
    """Fold the ledger afresh and compare with what was published.

    Always checked is the lineage of every snapshot that snapshot-history holds: versions rise by one and none is used
    twice, each names its parent by the hash of the parent's bytes, its definition has the hash it says, what was rolled
    back to is the content of the version it names, and what is live is what the history has.

    Without a further option the newest snapshot of each policy is recomputed from the ledger: every count, sum,
    posterior parameter and posterior_sha256. With --offsets the hash of the statistics there is printed, and each
    snapshot that says it is of that vector is recomputed.

    --sample recomputes no snapshot. It checks that the ledger is there from its start to where the newest snapshots
    end, and of N records spread over that, that the reward is what the record's own credited outcomes are worth, each
    within its window, and that revision and time bucket fit. It does not check any sum.

    --independent folds with code that shares nothing with the stages: whole numbers and dictionaries, one record after
    the other. A fault in what LEARN, PUBLISH and this command have in common is seen by it alone. It holds every sum
    against posterior_sha256, and counts, exposures and, of the simpler algorithms, posterior parameters; what it could
    not look at is named. What a replay put under a snapshot it does not count again.

    The fold begins at the newest checkpoint of the ledger that this command has come to before (--trusted) or is told
    to trust, and at offset 0 where there is none; it says which. The last checkpoint on the way is held against what
    was come to, and remembered if it is the same. --from-start takes nobody's word, and holds every checkpoint.

    Exit code 0: equal. 1: different, and the first difference is named.

    \b
    Example:
      pipeline verify --policy homepage
      pipeline verify --last 100
      pipeline verify --independent
      pipeline verify --from-start
      pipeline verify --trust newest
      pipeline verify --offsets 0=120,1=98 --json
    """
    _check_usage(policies, version, last, offsets, sample)
    if from_start and trust:
        raise click.UsageError("--from-start trusts no checkpoint: leave --trust out")
    # What another release came to is the word of other code.
    code = f"{'independent' if independent else 'fold'} {metadata.version('bandit-pipeline')}"
    beginning = Beginning(Trust(trusted, code, trust), from_start)
    if independent:
        if offsets is not None or sample is not None:
            raise click.UsageError("--independent is of published snapshots: leave --offsets and --sample out")
        found = asyncio.run(_independently(broker, policies, version, last or 1, beginning))
    elif offsets is not None:
        found = asyncio.run(_at_offsets(broker, policies, {p: end for p, end in offsets.items() if end}))
    elif sample is not None:
        found = asyncio.run(_sample(broker, policies, sample))
    else:
        found = asyncio.run(_snapshots(broker, policies, version, last or 1, registry, beginning))
    click.echo(orjson.dumps(found.to_plain()) if as_json else "\n".join(in_words(found)))
    sys.exit(0 if found.first_fault is None else 1)


def _check_usage(policies: Sequence[str], version: int | None, *modes: object) -> None:
    if version is not None and len(policies) != 1:
        raise click.UsageError(f"--version is of one policy: give --policy once, not {len(policies)} times")
    if sum(mode is not None for mode in (version, *modes)) > 1:
        raise click.UsageError("--version, --last, --offsets and --sample exclude each other: give one of them")


async def _snapshots(
    broker: Address,
    policies: Sequence[str],
    version: int | None,
    last: int,
    registry: RegistrySettings,
    beginning: Beginning,
) -> Found:
    histories, asked = await _asked_for(broker, policies, version, last)
    way = await beginning.way(broker, asked)
    passed: list[Passed] = []
    async with Schemas(registry) as schemas:
        verdicts = await _with_progress(
            lambda on_progress: verify_snapshots(broker, asked, on_progress, schemas, way, passed.append)
        )
    left_out = list(beginning.remember(passed))
    return Found([history.lineage for history in histories], verdicts, left_out=left_out, way=way, passed=passed)


async def _independently(
    broker: Address, policies: Sequence[str], version: int | None, last: int, beginning: Beginning
) -> Found:
    histories, asked = await _asked_for(broker, policies, version, last)
    snapshots = [(one, read_record("snapshot", one.content)) for one in asked]
    alone = [one for one in snapshots if not one[1]["base_plan"]]
    way = await beginning.way(broker, [one for one, _ in alone])
    begun = {number: Partition() for number in way.begins}
    await way.load(broker, lambda number, content: take_in(begun[number], content))
    for number, head in way.begins.items():
        begun[number].event_time_ms = head.event_time_ms
    names = {number: [(head.offset, head.state) for head in heads] for number, heads in way.passes.items()}
    starts = {number: (head.offset, head.state, begun[number]) for number, head in way.begins.items()}
    folded, strange, equal = await _with_progress(
        lambda on_progress: fold_for(client_options(broker), [one for _, one in alone], on_progress, starts, names)
    )
    passed = [
        Passed(head, (number, head.offset, head.event_time_ms) in equal)
        for number, heads in way.passes.items()
        for head in heads
    ]
    verdicts, left_out = [], list(beginning.remember(passed))
    if strange:
        left_out.append(f"{REWARDS}/{strange}: no reward records")
    for (one, snapshot), prefix in zip(alone, folded, strict=True):
        name = f"{snapshot['policy']} version {snapshot['version']}"
        proof = prove(snapshot, prefix, is_outline=one.is_outline)
        difference = None if proof.difference is None else Difference(*proof.difference)
        told = snapshot["policy"], snapshot["version"], one.id, snapshot["posterior_sha256"]
        verdicts.append(Verdict(*told, prefix.records, difference))
        left_out += [f"of {name} {words}" for words in proof.left_out]
    for _, snapshot in snapshots:
        if snapshot["base_plan"]:
            name = f"{snapshot['policy']} version {snapshot['version']}"
            left_out.append(f"{name}: it rests on a replay, which `pipeline verify` counts again")
    lineages = [history.lineage for history in histories]
    return Found(lineages, verdicts, left_out=left_out, way=way, passed=passed)


async def _asked_for(
    broker: Address, policies: Sequence[str], version: int | None, last: int
) -> tuple[list[PolicyHistory], list[Kept]]:
    histories = await _histories(broker, policies, lambda fields: version in (None, fields["version"]), last)
    asked = [one for history in histories for one in history.wanted]
    if version is not None and not asked:
        lineage = histories[0].lineage
        held = f"{lineage.first} to {lineage.last}"
        raise ConfigError("snapshot", [f"policy {policies[0]!r} has no version {version}; held are: {held}"])
    return histories, asked


async def _at_offsets(broker: Address, policies: Sequence[str], ends: dict[int, int]) -> Found:
    histories = await _histories(broker, policies, lambda fields: offsets_of(fields) == ends, None)
    newest = {history.lineage.policy: history.newest for history in histories if history.newest is not None}
    asked = [one for history in histories for one in history.wanted]
    at_offsets, verdicts = await _with_progress(
        lambda on_progress: statistics_at(broker, newest, asked, ends, on_progress)
    )
    return Found([history.lineage for history in histories], verdicts, at_offsets)


async def _sample(broker: Address, policies: Sequence[str], count: int) -> Found:
    histories = await _histories(broker, policies, lambda _: True, 1)
    ends: dict[int, int] = {}
    for history in histories:
        for one in history.wanted:
            for partition, end in offsets_of(one.fields).items():
                ends[partition] = max(end, ends.get(partition, 0))
    sampled = await look_at_sample(broker, ends, count, await read_book(broker))
    return Found([history.lineage for history in histories], sampled=sampled)


async def _histories(
    broker: Address, policies: Sequence[str], is_wanted: Callable[[Mapping[str, Any]], bool], last: int | None
) -> list[PolicyHistory]:
    histories = await read_history(broker, policies, is_wanted, last)
    missing = sorted(set(policies) - histories.keys())
    if missing or not histories:
        raise ConfigError("snapshot", [f"policy {name!r} has none" for name in missing] or ["no policy has any"])
    return list(histories.values())


async def _with_progress(work: Callable[[OnProgress], Awaitable[T]]) -> T:
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("folding the ledger", total=None)
        return await work(lambda done, total: progress.update(task, completed=done, total=total))
