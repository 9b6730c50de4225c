"""Scenario 21: people give any commands at once, on one policy that is decided by, whose worker is killed at times.

The commands are processes of their own. In what order they reach the brokers is said by nobody; what must be in force
behind them is said by `tests/standing.py`, and what is published in the end by the naive fold. The machine of
`tests/properties/test_people_machine.py` plays the same in memory, between any two of a command's requests.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from copy import deepcopy
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from pipeline.cli.directives import read_book
from pipeline.policy.directive import is_held
from pipeline.replay.recounting.plan import plan_from_json
from pipeline.replay.recounting.run import read_base
from pipeline.stream.log.topics import SNAPSHOT_HISTORY
from tests import standing
from tests.faults.table import Row
from tests.faults.trial import Trial
from tests.harness.definition_file import definition_file
from tests.harness.exactness import excess
from tests.harness.supervised import Supervised
from tests.naive.fold import naive_fold
from tests.samples import define, plain_decision, plain_outcome, plain_policy
from tests.standing import Does, Standing

pytestmark = pytest.mark.kafka

NAME = "homepage"
START_MS = 1_700_000_000_000
STEP_MS = 25
CHUNK = 10
PACE_S = 0.25
CLOSED_MS = 3_600_000
"""Beyond the last decision, windows (10 s) and grace (30 s) are over."""
SUBJECTS = tuple(f"5e1f5e1f5e1f5e1{n}" for n in range(6))
WINDOWS = ("10s", "3s", "6s")
DELAYS_MS = (0, 1_000, 2_999, 3_001, 6_001, 9_999, 10_001)
"""On either side of the windows."""
REFUSED, NOT_YET = 1, 3
"""How a command ends that was refused, and one that was given while the worker was away."""
COMMAND_WITHIN_S = 300.0
SETTLED_WITHIN_S = 240.0


class Command(NamedTuple):
    """What somebody gives."""

    arguments: Sequence[str]
    does: Does
    """What is in force behind it, where it is done."""


class Ended(NamedTuple):
    """How a command did."""

    code: int | None
    words: str


def unchanged(before: Standing) -> Standing:
    return before


class People:
    """Who works at the policy, what they know, and what was decided meanwhile."""

    def __init__(self, trial: Trial, plain: dict[str, Any]) -> None:
        self.trial = trial
        self.rng = random.Random(trial.seed)  # noqa: S311  nothing is kept secret with it
        self.traffic = random.Random(trial.seed)  # noqa: S311  of its own: how fast events come says nothing to people
        self.standing = Standing(plain)
        self.file = deepcopy(plain)
        """Somebody's, which may be old."""
        self.decisions: list[dict[str, Any]] = []
        self.outcomes: list[dict[str, Any]] = []
        self.forgotten: set[str] = set()
        self.told: Counter[str] = Counter()
        """How commands ended."""
        self._sending = asyncio.Lock()
        self._numbers = count()
        """Of decisions, and of folders."""

    # What is decided meanwhile

    @asynccontextmanager
    async def deciding(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._decide())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
        if not task.cancelled():
            task.result()

    async def _decide(self) -> None:
        while True:
            async with self._sending:
                chunk = [self._decision() for _ in range(CHUNK)]
                came = [one for decision in chunk for one in self._outcomes_of(decision)]
                await asyncio.shield(asyncio.gather(self.trial.client.decide(chunk), self.trial.client.observe(came)))
                self.decisions += chunk
                self.outcomes += came
            await asyncio.sleep(PACE_S)

    def _decision(self) -> dict[str, Any]:
        plain = self.standing.plain
        # Some nodes have not seen the last promotion; arms that were added later they do not know.
        is_behind = plain["generation"] > 1 and self.traffic.random() < 0.25
        arms = "ab" if is_behind else [arm["name"] for arm in plain["arms"]]
        fields: dict[str, Any] = {
            "arm": self.traffic.choice(arms),
            "segment": self.traffic.choice(["other", "new"]),
            "generation": plain["generation"] - is_behind,
        }
        # Who asks to be forgotten does not come again.
        if subject := self.traffic.choice([None, *(one for one in SUBJECTS if one not in self.forgotten)]):
            fields["subject_hash"] = subject
        number = next(self._numbers)
        return plain_decision(f"x{number}", START_MS + number * STEP_MS, **fields)

    def _outcomes_of(self, decision: dict[str, Any]) -> list[dict[str, Any]]:
        action_id, decided_ms = decision["action_id"], decision["decided_at_ms"]
        return [
            plain_outcome(action_id, decided_ms + self.traffic.choice(DELAYS_MS), f"{action_id}-{kind}", kind=kind)
            for kind in ("click", "like")
            if self.traffic.random() < 0.4
        ]

    # What people give

    def deck(self) -> list[Callable[[], Awaitable[list[Command]]]]:
        """Return what is done, in an order of the seed's: of every kind something."""
        steps = [self._replays] * 3 + [self._promotion] * 3 + [self._forget] * 2 + [self._twice] * 2 + [self._two] * 4
        self.rng.shuffle(steps)
        return steps

    async def step(self, make: Callable[[], Awaitable[list[Command]]], worker: Supervised) -> None:
        """Give a command, or two, or one twice, and look what is in force then; sometimes the worker is killed."""
        if self.rng.random() < 0.2:
            self.file = deepcopy(self.standing.plain)
        commands = await make()
        self.trial.injected(len(commands))
        running = asyncio.gather(*(self.run(*command.arguments) for command in commands))
        if self.rng.random() < 0.25:
            await self.trial.moment(2.0)
            self.trial.injected()
            await asyncio.to_thread(worker.kill)
        ended = await running
        done = []
        for command, end in zip(commands, ended, strict=True):
            self.told[f"{command.arguments[0]} {command.arguments[1]}: {end.code}"] += 1
            if end.code == 0 or (end.code == NOT_YET and "is written" in end.words):
                done.append(command.does)
            else:
                assert is_reasoned(end), (command.arguments, end)
        found = await self._look()
        after = standing.behind(self.standing, done, found)
        assert after is not None, (self.standing, [one.arguments for one in commands], ended, found)
        self.standing = after

    async def run(self, *arguments: str) -> Ended:
        """Run a command as an operator does."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_")}
        environment |= {"PIPELINE_BROKER": self.trial.place.broker, "PIPELINE_APP_ID": self.trial.place.app_id}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pipeline", *arguments),
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said, errors = await asyncio.wait_for(process.communicate(), COMMAND_WITHIN_S)
        return Ended(process.returncode, (errors or said).decode() if process.returncode else said.decode())

    async def done(self, *arguments: str) -> str:
        """Run a command that must do it."""
        code, words = await self.run(*arguments)
        assert code == 0, (arguments, words)
        return words

    async def _two(self) -> list[Command]:
        return [await self._any() for _ in range(2)]

    async def _promotion(self) -> list[Command]:
        return [await self._promote(), await self._any()]

    async def _twice(self) -> list[Command]:
        return [await self._any()] * 2

    async def _any(self) -> Command:
        makers = [self._apply, self._kill, self._revive, self._roll_out, self._promote]
        makers += [self._pin, self._unpin, self._roll_back]
        return await self.rng.choice(makers)()

    async def _apply(self) -> Command:
        standing.change(self.file, self.rng.randrange(100), self.rng.choice([0.0, 0.01, 0.05]))
        path = definition_file(self._new_folder(), self.file)
        return Command(("policy", "apply", path), standing.applied(deepcopy(self.file)))

    async def _kill(self) -> Command:
        arm = self.rng.choice("ab")
        return Command(("policy", "kill", NAME, "--arm", arm), standing.killed(arm))

    async def _revive(self) -> Command:
        arms = self.rng.choice(["", "a", "b"])
        named = [part for arm in arms for part in ("--arm", arm)]
        return Command(("policy", "revive", NAME, *named), standing.revived(arms or "ab"))

    async def _roll_out(self) -> Command:
        share = self.rng.randrange(5) / 4
        return Command(("policy", "rollout", NAME, "--share", f"{100 * share:g}"), standing.rolled_out(share))

    async def _promote(self) -> Command:
        into = self.standing.plain["generation"] + 1
        base = await read_base(self.trial.place.broker, NAME, into)
        does: Does = unchanged
        if base is not None:
            plan = plan_from_json(base.base.plan)
            asked: dict[str, Any] = plan.definition.to_plain()
            replaces = plan.replaces or {}
            floors = [(was, asked["exploration"]["floor"]) for was in replaces.values()]
            does = standing.promoted(into, asked["reward"]["outcomes"][0]["window"], floors[0] if floors else None)
        return Command(("replay", "promote", NAME, str(into)), does)

    async def _pin(self) -> Command:
        return Command(("snapshot", "pin", NAME), standing.is_held(held=True))

    async def _unpin(self) -> Command:
        return Command(("snapshot", "unpin", NAME), standing.is_held(held=False))

    async def _roll_back(self) -> Command:
        published = sorted({one["version"] for one in await self.trial.client.snapshots(NAME)})
        version = self.rng.choice(published[-5:])
        return Command(("snapshot", "rollback", NAME, "--to", str(version)), standing.is_held(held=True))

    async def _replays(self) -> list[Command]:
        """Let two people replay into the same generation, each in a folder and with a file of their own."""
        into, window = self.standing.plain["generation"] + 1, self.rng.choice(WINDOWS)
        commands = []
        for person, floor in ((0, self.rng.choice([None, 0.02, 0.03])), (1, None)):
            options: tuple[str, ...] = ()
            if not (self._work_dir(person) / f"{NAME}-{into}").exists():
                plain = deepcopy(self.standing.plain) | {"generation": into}
                plain["reward"]["outcomes"][0]["window"] = window
                if floor is not None:
                    plain["exploration"] = {"floor": floor}
                options = ("--definition", definition_file(self._new_folder(), plain))
            commands.append(Command((*self._replay(into, person), *options), unchanged))
        return commands

    def _replay(self, into: int, person: int) -> tuple[str, ...]:
        work_dir = str(self._work_dir(person))
        return ("replay", "--policy", NAME, "--into", str(into), "--work-dir", work_dir, "--json")

    async def _forget(self) -> list[Command]:
        async with self._sending:
            left = [one for one in SUBJECTS[1:] if one not in self.forgotten]
            subject = self.rng.choice(left or SUBJECTS[1:])
            self.forgotten.add(subject)
        return [Command(("forget", subject, "--work-dir", str(self._work_dir(n))), unchanged) for n in range(2)]

    def _work_dir(self, person: int) -> Path:
        return self.trial.folder / f"person-{person}"

    def _new_folder(self) -> Path:
        folder = self.trial.folder / f"file-{next(self._numbers)}"
        folder.mkdir()
        return folder

    async def _look(self) -> Standing:
        book = await read_book(self.trial.place.broker)
        worn = book.in_force(NAME)
        assert worn is not None
        return Standing(worn.to_plain(), frozenset(worn.switches.arms), is_held(book.directive(NAME)))

    # What must have come of it

    async def end(self) -> None:
        """All is read and every window closed; who asked is forgotten, what is in force counts all, nothing is held."""
        client, plain = self.trial.client, self.standing.plain
        self.trial.is_over()
        await client.tick(START_MS + len(self.decisions) * STEP_MS + CLOSED_MS)
        await client.quiet(SETTLED_WITHIN_S)
        if plain["generation"] > 1:
            await self._count_on(plain["generation"])
        for subject in sorted(self.forgotten):
            # In the folder that knows of the replay in force; in another it is refused, and says so.
            ends = [await self.run("forget", subject, "--work-dir", str(self._work_dir(person))) for person in range(2)]
            assert 0 in {end.code for end in ends}, ends
        await client.quiet(SETTLED_WITHIN_S)
        await self.done("snapshot", "unpin", NAME)

    async def _count_on(self, into: int) -> None:
        """Let the replay that is in force count what came meanwhile, where its folder is."""
        ends = [await self.run(*self._replay(into, person)) for person in range(2)]
        assert 0 in {end.code for end in ends}, ends
        assert all(end.code == 0 or is_reasoned(end) for end in ends), ends

    async def examine(self) -> None:
        """Hold what is published against the naive fold, and let `verify` prove it from the topics."""
        client, plain = self.trial.client, self.standing.plain
        shown = orjson.loads(await self.done("policy", "show", NAME, "--json"))[0]
        assert standing.same(self.standing._replace(is_held=False), self._shown(shown))
        # As if all had been decided in the generation that is in force: a replay has counted the others into it.
        left = [
            one | {"generation": plain["generation"]}
            for one in self.decisions
            if one.get("subject_hash") not in self.forgotten
        ]
        naive = naive_fold(plain, left, self.outcomes)

        async def is_published() -> bool:
            published = await client.snapshots(NAME)
            return bool(published[-1]["posterior_sha256"] == naive.sha256)

        complaint = ""
        try:
            await client.until(is_published, what="the naive posterior", within_s=SETTLED_WITHIN_S)
        except AssertionError as error:
            complaint = str(error)
        last = (await client.snapshots(NAME))[-1]
        lost, doubled = excess(naive, last)
        events = len(self.decisions) + len(self.outcomes)
        self.trial.row = Row(
            self.trial.seed, self.trial.name, events, self.trial.faults, 0, lost, doubled, not complaint, 0.0
        )
        assert (lost, doubled, complaint) == (0, 0, ""), self.told
        assert last["generation"] == plain["generation"]
        contents: defaultdict[int, set[str]] = defaultdict(set)
        for one in await client.published(SNAPSHOT_HISTORY):
            contents[one.fields["version"]].add(one.id)
        assert [len(contents[number]) for number in range(1, max(contents) + 1)] == [1] * max(contents)
        assert await client.dead_letters() == []
        verdict = orjson.loads(await self.done("verify", "--policy", NAME, "--json"))
        assert verdict["equal"], verdict

    def _shown(self, shown: dict[str, Any]) -> Standing:
        return Standing(shown, frozenset(shown.get("killed", {}).get("arms", ())))


def is_reasoned(end: Ended) -> bool:
    """Whether a command says why it did nothing, or not all yet."""
    return end.code in {REFUSED, NOT_YET, 70} and len(end.words.strip()) > 20 and "Traceback" not in end.words


@pytest.mark.faults
@pytest.mark.timeout(1_800)
async def test_people_give_any_commands_at_once_while_events_come(long_trial: Trial) -> None:
    """
    events    ├─ ten decisions four times a second, some by the generation before ──────────────┤ tick
    people    ├ apply + kill ┤├ replay, twice ┤├ promote + apply ┤├ pin + roll back ┤├ forget ┤ …  ├ replay, unpin ┤
    worker    ├──────────────×─────────────────────────────────×────────────────────────────────
    """
    trial = long_trial
    plain = plain_policy(
        settle="optimistic" if trial.seed % 2 else "wait",
        grace="30s",
        publish={"interval": "100ms"},
        rollout={"of": "control", "share": 0.0},
        exploration={"floor": 0.01},
    )
    people = People(trial, plain)
    await trial.client.apply(define(plain))
    with trial.supervised(alone=True) as worker:
        trial.client.watch(worker)
        async with people.deciding():
            first = partial(trial.client.snapshots, NAME)
            await trial.client.until(first, what="a first snapshot", within_s=SETTLED_WITHIN_S)
            for make in people.deck():
                await people.step(make, worker)
        await people.end()
        await people.examine()
