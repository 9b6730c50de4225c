"""Records over a disk that fails at any byte, a process that ends at any point, a broker that comes and goes.

What is held to shares nothing with the spill: the records are told apart by their bytes, and a file that is removed is
searched for those that have not arrived.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pytest
from aiokafka.errors import KafkaConnectionError
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.serve.delivery import delivery as delivery_module
from pipeline.serve.delivery import spill as spill_module
from pipeline.serve.delivery import stuck as stuck_module
from pipeline.serve.delivery.delivery import Delivery
from pipeline.serve.delivery.frames import Parcel
from pipeline.serve.delivery.spill import Spill
from pipeline.serve.delivery.spill_folder import SpillFolder
from pipeline.stream.log.topics import DECISIONS

ROOM = 1 << 20
FOLDER = Path("spill")
# A frame of a record here is 8 + 2 + 9 + 2 + 1 + 8 = 30 bytes: a file takes four.
SMALL_SEGMENT_BYTES = 100
FRAME_BYTES = 30


class Killed(BaseException):
    """The process ends here."""


class Free(NamedTuple):
    count: int


class Short(NamedTuple):
    """A write finds room for so many bytes, and the next one for all of it."""

    count: int


class Refuse(NamedTuple):
    count: int


class KillIn(NamedTuple):
    count: int


class StopMachine(NamedTuple):
    count: int


class FailingDisk:
    """A folder in memory: out of space at a byte, refusing some operations, killed in a write."""

    def __init__(self) -> None:
        self.files: dict[str, bytearray] = {}
        self.synced: dict[str, int] = {}
        """How much of each file outlives the machine."""
        self.free_bytes = ROOM
        self.refusals = 0
        """So many operations to come fail."""
        self.kill_at: int | None = None
        """The process ends when so many bytes of the next write are there."""
        self.on_remove: Callable[[bytes], None] = lambda _: None

    def refuse(self) -> None:
        if self.refusals:
            self.refusals -= 1
            raise OSError(errno.EIO, "the disk")

    def become(self, step: object) -> None:
        match step:
            case "room":
                self.free_bytes, self.refusals = ROOM, 0
            case Free(count):
                self.free_bytes = count
            case Refuse(count):
                self.refusals = count

    def names(self) -> list[str]:
        return sorted(self.files)

    def create(self, name: str) -> Appended:
        self.refuse()
        assert name not in self.files
        self.files[name] = bytearray()
        self.synced[name] = 0
        return Appended(self, name)

    def open(self, name: str) -> BinaryIO:
        return BytesIO(bytes(self.files[name]))

    def size(self, name: str) -> int:
        return len(self.files[name])

    def remove(self, name: str) -> None:
        self.refuse()
        self.on_remove(bytes(self.files[name]))
        del self.files[name]

    def rename(self, name: str, to: str) -> None:
        self.refuse()
        assert to not in self.files
        self.files[to] = self.files.pop(name)
        self.synced[to] = self.synced.pop(name)

    def sync(self) -> None:
        self.refuse()

    def close(self) -> None: ...

    def stop_machine(self, kept: int) -> None:
        """Lose what was not synced, but for some bytes of it."""
        for name, content in self.files.items():
            del content[self.synced.get(name, 0) + kept :]


class Appended:
    def __init__(self, disk: FailingDisk, name: str) -> None:
        self._disk = disk
        self._name = name
        self._content = disk.files[name]  # which is there for whoever has it open, renamed or removed

    def write(self, content: bytes, /) -> int:
        disk = self._disk
        if disk.kill_at is not None:
            self._content.extend(content[: disk.kill_at])
            disk.kill_at = None
            raise Killed
        taken = content[: max(0, disk.free_bytes)]
        disk.free_bytes -= len(taken)
        self._content.extend(taken)
        disk.refuse()  # after some of it was written, as a failing disk does
        if not taken:
            raise OSError(errno.ENOSPC, "full")
        return len(taken)

    def truncate(self, size: int, /) -> None:
        self._disk.refuse()
        self._disk.free_bytes += len(self._content) - size
        del self._content[size:]

    def sync(self) -> None:
        self._disk.refuse()
        self._disk.synced[self._name] = len(self._content)

    def close(self) -> None: ...


BYTES = st.integers(0, FRAME_BYTES + 2)
SPILL_STEPS = st.lists(
    st.sampled_from(["send", "send", "send", "deliver", "lose", "kill", "sync", "room"])
    | st.builds(Free, BYTES)
    | st.builds(Short, BYTES)
    | st.builds(Refuse, st.integers(1, 4))
    | st.builds(KillIn, BYTES)
    | st.builds(StopMachine, BYTES),
    max_size=40,
)


class Player:
    """Plays steps on a spill, and holds it to what it promises."""

    def __init__(self) -> None:
        self.disk = FailingDisk()
        self.disk.on_remove = self.check_removed
        self.kept: list[Parcel] = []
        self.arrived: list[Parcel] = []
        self.sent = 0
        self.may_be_lost: set[Parcel] = set()
        """Kept when the machine stopped, and not synced."""
        self.open()

    def open(self) -> None:
        self.spill = Spill(FOLDER, ROOM, disk=self.disk)
        # What of it is counted is what this process can give; its own sums begin here.
        self.taken, self.given = self.spill.records, 0

    def check_removed(self, content: bytes) -> None:
        for parcel in set(self.kept) - set(self.arrived):
            assert parcel.value not in content, "an unread record was deleted"

    def check(self) -> None:
        assert self.taken == self.given + self.spill.records + self.spill.lost
        assert self.spill.lost == 0 or self.may_be_lost
        assert self.spill.bytes >= 0

    def step(self, step: object) -> None:
        match step:
            case "send" | "deliver" | "lose" | "kill" | "sync":
                getattr(self, step)()
            case "room" | Free() | Refuse():
                self.disk.become(step)
            case Short(count):
                for each in (Free(count), "send", "room", "send"):
                    self.step(each)
            case KillIn(count):
                self.kill_in_write(count)
            case StopMachine(count):
                self.stop_machine(count)
        self.check()

    def send(self) -> None:
        parcel = Parcel(DECISIONS, b"k", b"%08d" % self.sent)
        self.sent += 1
        if self.spill.append(parcel):
            self.kept.append(parcel)
            self.taken += 1

    def kill(self) -> None:
        self.open()

    def sync(self) -> None:
        self.spill.sync()

    def lose(self) -> None:
        self.spill.next_round(2, ROOM)

    def deliver(self) -> None:
        parcels = self.spill.next_round(2, ROOM)
        self.arrived += parcels
        self.given += len(parcels)
        self.spill.settle()

    def kill_in_write(self, count: int) -> None:
        self.disk.kill_at = count
        try:
            self.send()
        except Killed:
            self.open()
        self.disk.kill_at = None

    def stop_machine(self, count: int) -> None:
        before = b"".join(self.disk.files.values())
        self.disk.stop_machine(count)
        after = b"".join(self.disk.files.values())
        self.may_be_lost |= {each for each in self.kept if each.value in before and each.value not in after}
        self.open()


@settings(max_examples=400)
@given(steps=SPILL_STEPS)
@pytest.mark.attack
def test_whatever_the_disk_does_what_was_kept_arrives_and_the_counters_are_true(steps: list[object]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spill_module, "SEGMENT_BYTES", SMALL_SEGMENT_BYTES)
        player = Player()
        for step in [*steps, "room", *["deliver"] * (len(steps) + 2)]:
            player.step(step)
        assert player.spill.records == player.spill.bytes == 0
        missing = set(player.kept) - set(player.arrived)
        assert missing <= player.may_be_lost
        first = list(dict.fromkeys(player.arrived))
        assert first == sorted(first, key=lambda parcel: parcel.value), "in order of their first arrival"
        assert len(player.disk.files) <= len(steps), "no file after file that can't be written"


class Broker:
    """A producer that acknowledges while it is there, but for one of two partitions while that takes nothing."""

    def __init__(self) -> None:
        self.is_there = True
        self.is_stuck = False
        self.arrived: list[bytes] = []

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def partitions_for(self, topic: str) -> set[int]:
        assert topic
        return {0, 1}

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> asyncio.Future[Any]:
        assert topic
        told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self.is_there and not (self.is_stuck and partition == 1):
            self.arrived += batch.values
            told.set_result(None)
        else:
            told.set_exception(KafkaConnectionError("away"))
        return told


class Batch:
    def __init__(self) -> None:
        self.values: list[bytes] = []

    def append(self, *, key: bytes, value: bytes, timestamp: None) -> object | None:
        assert key
        assert timestamp is None
        if len(self.values) == 3:
            return None
        self.values.append(value)
        return object()

    def close(self) -> None: ...


DELIVERY_STEPS = st.lists(
    st.sampled_from(
        ["send", "send", "send", "send", "broker", "no-broker", "stuck", "free", "let", "let", "stop", "room"]
    )
    | st.builds(Free, BYTES)
    | st.builds(Short, BYTES)
    | st.builds(Refuse, st.integers(1, 4)),
    max_size=40,
)


@settings(max_examples=200)
@given(steps=DELIVERY_STEPS)
@pytest.mark.attack
def test_every_record_taken_is_delivered_or_counted_as_dropped(steps: list[object]) -> None:
    asyncio.run(play_delivery(steps))


class Node:
    """A node's delivery, over its restarts."""

    def __init__(self) -> None:
        self.disk, self.broker = FailingDisk(), Broker()
        self.taken: list[bytes] = []
        self.dropped = 0
        """By those that have ended."""
        self.start()

    def start(self) -> None:
        spill = SpillFolder(FOLDER, ROOM, disk=self.disk)
        # A record is 9 bytes in memory: five have room.
        self.delivery = Delivery("broker:1", 45, spill=spill, open_producer=lambda _: self.broker)
        self.task = asyncio.create_task(self.delivery.deliver())
        self.taken_before, self.found = len(self.taken), self.delivery.undelivered

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.delivery.close()
        self.dropped += self.delivery.dropped

    async def step(self, step: object) -> None:
        match step:
            case "send":
                self.taken.append(b"%08d" % len(self.taken))
                # By two partitions `k` goes to the first, `d` to the second.
                self.delivery.send(DECISIONS, b"kd"[len(self.taken) % 2 :][:1], self.taken[-1])
            case "broker" | "no-broker":
                self.broker.is_there = step == "broker"
            case "stuck" | "free":
                self.broker.is_stuck = step == "stuck"
            case "let":
                for _ in range(20):
                    await asyncio.sleep(0)
            case "stop":
                await self.stop()
                self.start()
            case Short(count):
                for each in (Free(count), "send", "room", "send"):
                    await self.step(each)
            case _:
                self.disk.become(step)
        self.check()

    def check(self) -> None:
        one = self.delivery
        counted = one.delivered + one.dropped + one.lost + one.undelivered
        assert counted == len(self.taken) - self.taken_before + self.found


async def play_delivery(steps: list[object]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spill_module, "SEGMENT_BYTES", SMALL_SEGMENT_BYTES)
        for name in ("LINGER_S", "RETRY_S", "LONGEST_RETRY_S"):
            patch.setattr(delivery_module, name, 0.0)
            patch.setattr(stuck_module, name, 0.0, raising=False)
        node = Node()
        for step in [*steps, "room", "broker", "free"]:
            await node.step(step)
        async with asyncio.timeout(10.0):
            await node.delivery.flush()
        node.check()
        await node.stop()
        # A disk that was refused may have what it refused, and a process that ends tells the next one of no answers.
        if not any(isinstance(step, Refuse) or step == "stop" for step in steps):
            assert len(node.broker.arrived) == len(set(node.broker.arrived)), "something went twice"
        missing = len(set(node.taken) - set(node.broker.arrived))
        # A disk that fails after it has written all of a record has it and has refused it.
        may_be_both = any(isinstance(step, Refuse) for step in steps)
        assert missing <= node.dropped if may_be_both else missing == node.dropped
