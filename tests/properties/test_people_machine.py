"""A machine that plays people at one policy, by the commands' own code, beside workers that are killed.

    decide, observe, read     events come, by the definition that a node knows, and any stage reads some of them
    edit, switch, roll out    from a file that may be old; any two of all commands at once
    replay, promote           two people, each with a folder, into the same generation
    pin, roll back, unpin     held, and let go
    forget                    a person asks

What is in force is, after each command, what it was with that command on it; of two at once, in one of the two orders.
A command that is refused says why, and has done nothing. In the end what is published is the naive fold of what is
remembered, by what is in force, whoever was killed on the way.

`--hypothesis-profile=long` looks for much longer.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
from aiokafka.partitioner import murmur2
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from pipeline.audit.record import Operator
from pipeline.cli import switching
from pipeline.cli.control import apply_policy, promote_replay
from pipeline.cli.directives import read_book
from pipeline.cli.orders import Order, carry_out, order_pin, order_rollback, order_unpin
from pipeline.codec import avro
from pipeline.errors import ConfigError, StateError
from pipeline.policy.directive import is_held
from pipeline.publish.outline import kept
from pipeline.replay.proof.lineage import Lineage
from pipeline.replay.recounting.plan import ReplayPlan, plan_from_json
from pipeline.replay.recounting.run import Request, read_base
from pipeline.replay.recounting.run import replay as run_replay
from pipeline.stream.log import topics
from pipeline.stream.policies import Policies
from tests import standing
from tests.killed_worker import PAY, PUBLISH, SOURCES, STICK, TAKE, Move, Worker, history
from tests.memory_kafka import TurningBroker, reached_in_memory
from tests.naive.fold import naive_fold
from tests.samples import define, plain_decision, plain_outcome, plain_policy
from tests.standing import Does, Standing, change
from tests.traffic import DELAYS_MS, FOREVER_MS, LIMITS, START_MS, SUBJECTS, Rolled, Traffic

pytestmark = pytest.mark.timeout(3_600)

IN_A_SUITE = 20
BY = Operator("ada@desk", "test", tell=lambda _: None)
NAME = "homepage"
PARTITIONS = 2
WINDOWS = ("10s", "3s", "6s")
places = st.integers(0, 1_000)


class Command(NamedTuple):
    """What somebody gives."""

    run: Callable[[], Awaitable[Any]]
    does: Does
    """What is in force behind it, where it is done."""


class ReadPolicies(Policies):
    """A worker's, read whenever it looks."""

    async def refresh(self) -> None:
        self._refreshed_at_s = 0.0
        self._take(await self._follower.read_to_end())


class PeoplesWorker(Worker):
    """The agents, with policies from the log."""

    def __init__(self, broker: TurningBroker, policy: dict[str, Any]) -> None:
        self._own: Any = broker
        super().__init__(Traffic(policy, [], []), broker.partitions)

    def start(self) -> None:
        self.broker = self._own
        for table in self.tables.values():
            table._broker = self._own
        self.policies = ReadPolicies(self._own)  # type: ignore[assignment]
        super().start()


class PeopleAtOnePolicy(RuleBasedStateMachine):
    """One policy, its worker, and whoever works at it."""

    @initialize(settle=st.sampled_from(["wait", "optimistic"]), seed=st.integers(0, 2**32))
    def begin(self, settle: str, seed: int) -> None:
        self.undone = ExitStack()
        self.undone.enter_context(reached_in_memory())
        self.folder = Path(self.undone.enter_context(tempfile.TemporaryDirectory()))
        self.loop = asyncio.new_event_loop()
        self.undone.callback(self.loop.close)
        self.dice = Rolled(seed)
        self.broker = TurningBroker(PARTITIONS, self.turn)
        plain = plain_policy(settle=settle, grace="5s", rollout={"of": "control", "share": 0.0})
        plain["exploration"] = {"floor": 0.01}
        self.standing = Standing(plain)
        self.file = deepcopy(plain)
        self.now_ms = START_MS
        self.decisions: list[dict[str, Any]] = []
        self.outcomes: list[dict[str, Any]] = []
        self.worker = PeoplesWorker(self.broker, plain)
        self.give(self.apply(plain))

    async def turn(self) -> None:
        for _ in range(self.dice.below(4)):
            await asyncio.sleep(0)

    # What comes, and who reads it

    @rule(arms=st.text("abcd", min_size=1, max_size=5), place=places)
    def decide(self, arms: str, place: int) -> None:
        plain = self.standing.plain
        known = [arm["name"] for arm in plain["arms"]]
        generation = max(1, plain["generation"] - (place % 4 == 3))  # a node that is behind
        arms_then = ["a", "b"] if generation < plain["generation"] else known
        for index, letter in enumerate(arms):
            arm = arms_then["abcd".index(letter) % len(arms_then)]
            fields: dict[str, Any] = {"arm": arm, "segment": ["other", "new"][place % 2], "generation": generation}
            if subject := SUBJECTS[(place + index) % 3]:
                fields["subject_hash"] = subject
            decision = plain_decision(f"x{len(self.decisions)}", self.now_ms, **fields)
            self.decisions.append(decision)
            self.send(topics.DECISIONS, decision)

    @precondition(lambda self: self.decisions)
    @rule(place=places, delay_ms=st.sampled_from(DELAYS_MS))
    def observe(self, place: int, delay_ms: int) -> None:
        decision = self.decisions[-1 - place % min(6, len(self.decisions))]
        occurred_ms = decision["decided_at_ms"] + delay_ms
        if occurred_ms < self.now_ms - 4_000:  # later than the policy waits for
            return
        kind = ["click", "like"][place % 2]
        outcome = plain_outcome(decision["action_id"], occurred_ms, f"o{len(self.outcomes)}", kind=kind)
        self.outcomes.append(outcome)
        self.send(topics.OUTCOMES, outcome)

    @rule(ms=st.sampled_from([500, 2_000]))
    def pass_time(self, ms: int) -> None:
        self.now_ms += ms

    @rule(what=st.sampled_from([*SOURCES, PUBLISH]), place=places, kill_at=st.none() | st.integers(0, 7))
    def work(self, what: str, place: int, kill_at: int | None) -> None:
        self.play(Move(what, place % PARTITIONS, 1 + place % 9, kill_at, loses_disk=bool(place % 2)))

    @rule(what=st.sampled_from([STICK, TAKE, PAY]))
    def owe(self, what: str) -> None:
        self.play(Move(what, 0, 1, None, loses_disk=False))

    @rule(subject=st.sampled_from([subject for subject in SUBJECTS if subject]))
    def forget(self, subject: str) -> None:
        self.worker.forget(subject)

    # What people give

    @rule(first=places, second=st.none() | places, floor=st.sampled_from([0.0, 0.01, 0.05]))
    def command(self, first: int, second: int | None, floor: float) -> None:
        """Give one command, or two at once."""
        self.give(*(self.made(place, floor) for place in (first, second) if place is not None))

    @rule(which=st.integers(0, 2), place=places, floor=st.sampled_from([0.0, 0.05]))
    def clash(self, which: int, place: int, floor: float) -> None:
        """Give two commands at once that change the definition, each from what it has read."""
        makers = [self.edit, self.roll_out, self.promote]
        del makers[which]
        self.give(*(make(place, floor) for make in makers))

    @rule(place=places, window=st.sampled_from(WINDOWS), floor=st.none() | st.sampled_from([0.02, 0.03]))
    def promote_among_edits(self, place: int, window: str, floor: float | None) -> None:
        """Replay, and edit before it is promoted, and while it is."""
        self.replay(place % 2, window, floor)
        self.look_at_the_file()
        self.give(self.edit(place, 0.05))
        self.clash(place % 2, place // 2, 0.0)

    @rule(place=places, floor=st.sampled_from([0.0, 0.05]))
    def twice(self, place: int, floor: float) -> None:
        """Let two people give the same command."""
        command = self.made(place, floor)
        self.give(command, command)

    @rule()
    def look_at_the_file(self) -> None:
        """Make the file what is in force: until then it is whatever it was."""
        self.file = deepcopy(self.standing.plain)

    @rule(person=st.integers(0, 1), window=st.sampled_from(WINDOWS), floor=st.none() | st.sampled_from([0.02, 0.03]))
    def replay(self, person: int, window: str, floor: float | None) -> None:
        into = self.standing.plain["generation"] + 1
        self.give(self.replayed(into, person, window, floor), self.replayed(into, 1 - person, window, None))

    def made(self, place: int, floor: float) -> Command:
        makers = [self.edit, self.kill, self.revive, self.roll_out, self.promote, self.pin, self.unpin, self.roll_back]
        return makers[place % len(makers)](place // len(makers), floor)

    def edit(self, place: int, floor: float) -> Command:
        change(self.file, place, floor)
        return self.apply(deepcopy(self.file))

    def apply(self, plain: dict[str, Any]) -> Command:
        return Command(lambda: apply_policy(self.broker, define(plain), BY), standing.applied(plain))  # type: ignore[arg-type]

    def kill(self, place: int, _: float) -> Command:
        arm = "ab"[place % 2]
        return Command(lambda: switching.kill(self.broker, NAME, [arm], BY), standing.killed(arm))  # type: ignore[arg-type]

    def revive(self, place: int, _: float) -> Command:
        arms = ["ab"[place % 2]] if place % 3 else []
        return Command(
            lambda: switching.revive(self.broker, NAME, arms, BY),  # type: ignore[arg-type]
            standing.revived(arms or "ab"),
        )

    def roll_out(self, place: int, _: float) -> Command:
        share = place % 5 / 5
        return Command(
            lambda: switching.roll_out(self.broker, NAME, share, None, BY),  # type: ignore[arg-type]
            standing.rolled_out(share),
        )

    def replayed(self, into: int, person: int, window: str, floor: float | None) -> Command:
        plain = deepcopy(self.standing.plain)
        plain["reward"]["outcomes"][0]["window"] = window
        if floor is not None:
            plain["exploration"] = {"floor": floor}
        definition = define(plain | {"generation": into}) if place_is_new(self.work_dir(into, person)) else None
        request = Request(NAME, into, self.work_dir(into, person), definition=definition, limits=LIMITS)

        async def run() -> None:
            await run_replay(self.broker, request, BY, lambda _done, _total: None)  # type: ignore[arg-type]

        return Command(run, lambda before: before)

    def promote(self, _: int, __: float) -> Command:
        into = self.standing.plain["generation"] + 1
        found: list[ReplayPlan] = []

        async def run() -> None:
            base = await read_base(self.broker, NAME, into)  # type: ignore[arg-type]
            if base is None:
                raise ConfigError("promote", ["no replay has made it"])
            await self.read_statistics()  # the command waits for its publisher to have read so far
            plan = plan_from_json(base.base.plan)
            found.append(plan)
            await promote_replay(self.broker, plan, BY)  # type: ignore[arg-type]

        def does(before: Standing) -> Standing:
            return standing.promoted(into, *asked_of(found[-1]))(before)

        return Command(run, does)

    def pin(self, _: int, __: float) -> Command:
        return Command(
            lambda: self.carried_out(order_pin(self.broker, NAME)),  # type: ignore[arg-type]
            standing.is_held(held=True),
        )

    def unpin(self, _: int, __: float) -> Command:
        return Command(
            lambda: self.carried_out(order_unpin(self.broker, NAME)),  # type: ignore[arg-type]
            standing.is_held(held=False),
        )

    def roll_back(self, place: int, _: float) -> Command:
        contents = list(dict.fromkeys(history(self.worker)))[-3:]
        version = 1 if not contents else kept(contents[place % len(contents)]).fields["version"]
        return Command(
            lambda: self.carried_out(order_rollback(self.broker, NAME, version)),  # type: ignore[arg-type]
            standing.is_held(held=True),
        )

    async def carried_out(self, ordering: Awaitable[Order]) -> None:
        order = await ordering
        if order.is_needed:
            await carry_out(self.broker, order, BY)  # type: ignore[arg-type]

    # How it is given, and what must be in force then

    def give(self, *commands: Command) -> None:
        """Run commands at once, beside a publisher; hold what is in force against what they say."""
        ended = self.do(self.beside_a_publisher(commands))
        done = []
        for command, end in zip(commands, ended, strict=True):
            if isinstance(end, ConfigError):
                assert end.faults
                assert all(end.faults)
            elif isinstance(end, BaseException):
                raise end
            else:
                done.append(command)
        found = self.do(self.look())
        after = standing.behind(self.standing, [command.does for command in done], found)
        assert after is not None, (found, self.standing, ended)
        self.standing = after

    async def beside_a_publisher(self, commands: Sequence[Command]) -> list[Any]:
        running = asyncio.ensure_future(
            asyncio.gather(*(command.run() for command in commands), return_exceptions=True)  # type: ignore[arg-type]
        )
        while not running.done():
            await asyncio.sleep(0)
            await self.worker.policies.refresh()
            await self.worker.publish_all()
        return list(await running)

    async def look(self) -> Standing:
        book = await read_book(self.broker)  # type: ignore[arg-type]
        worn = book.in_force(NAME)
        assert worn is not None
        return Standing(worn.to_plain(), frozenset(worn.switches.arms), is_held(book.directive(NAME)))

    def work_dir(self, into: int, person: int) -> Path:
        return self.folder / f"{person}-{into}"

    def play(self, move: Move) -> None:
        async def played() -> None:
            await self.worker.policies.refresh()
            await self.worker.play(move)

        self.do(played())

    async def read_statistics(self) -> None:
        await self.worker.policies.refresh()
        await self.worker.read_all(topics.STATISTICS)

    def send(self, stream: str, record: dict[str, Any]) -> None:
        number = (murmur2(record["action_id"].encode()) & 0x7FFFFFFF) % PARTITIONS
        self.broker.append(stream, number, b"key", orjson.dumps(record), self.now_ms)

    def do(self, work: Any) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, 300))

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        with self.undone:
            self.do(self.finished())
            plain = self.standing.plain
            # As if all had been decided in the generation that is in force: a replay has counted the others into it.
            counted = [one | {"generation": plain["generation"]} for one in self.decisions]
            remembered = [one for one in counted if one["action_id"] not in self.worker.forgotten]
            expected = naive_fold(plain, remembered, self.outcomes)
            published = [kept(content) for content in history(self.worker)]
            last = max(published, key=lambda one: one.fields["version"])
            assert last.fields["generation"] == plain["generation"]
            assert last.fields["posterior_sha256"] == expected.sha256
            lineage = Lineage(NAME)
            for one in published:
                lineage.add(one)
            assert lineage.fault is None

    async def finished(self) -> None:
        """All is read, time goes by; the replay that is in force counts what came meanwhile; nothing is held."""
        worker = self.worker
        worker.take_again()
        await worker.policies.refresh()
        tick = avro.encode("tick", {"event_time_ms": FOREVER_MS})
        for number in range(PARTITIONS):
            for topic in (topics.OUTCOMES, topics.DECISIONS):
                while await worker.read(topic, number, 1_000):
                    pass
            self.broker.append(topics.DECISIONS, number, None, tick, FOREVER_MS)
            await worker.read(topics.DECISIONS, number, 1)
        for subject in list(worker.forgettings):
            for _ in range(3):
                worker.forget(subject)
                await worker.read_all(topics.DECISIONS)
        await worker.read_all(topics.REWARDS)
        for number in range(PARTITIONS):
            await worker.learn.open(number)
        while any(partition.owing.places for partition in worker.learn.partitions):
            await worker.pay()
        await self.caught_up()
        await self.read_statistics()
        if self.standing.is_held:
            unpin = self.unpin(0, 0.0)
            (end,) = await self.beside_a_publisher([unpin])
            assert end is None, end
        await worker.policies.refresh()
        await worker.publish_all()

    async def caught_up(self) -> None:
        """Run the replay on that is in force, in the folder that knows of it."""
        into = self.standing.plain["generation"]
        if into == 1:
            return
        faults = []
        for person in range(2):
            request = Request(NAME, into, self.work_dir(into, person), limits=LIMITS)
            try:
                await run_replay(self.broker, request, BY, lambda _done, _total: None)  # type: ignore[arg-type]
            except (ConfigError, StateError) as error:
                faults.append(error)
            else:
                return
        raise AssertionError(faults)


def asked_of(plan: ReplayPlan) -> tuple[str, tuple[float, float] | None]:
    """Return a plan's window of clicks, and of its floor what it replaces and what by."""
    asked: dict[str, Any] = plan.definition.to_plain()
    replaces = plan.replaces or {}
    assert replaces.keys() <= {("exploration", "floor")}
    floors = [(was, asked["exploration"]["floor"]) for was in replaces.values()]
    return asked["reward"]["outcomes"][0]["window"], floors[0] if floors else None


def place_is_new(folder: Path) -> bool:
    return not folder.exists()


TestPeopleAtOnePolicy = PeopleAtOnePolicy.TestCase
TestPeopleAtOnePolicy.settings = settings(
    max_examples=max(IN_A_SUITE, settings.default.max_examples // 20), stateful_step_count=25
)
