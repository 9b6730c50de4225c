from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.serve.delivery import spill as module
from pipeline.serve.delivery.frames import Parcel, frame_of
from pipeline.serve.delivery.spill import Spill
from pipeline.serve.delivery.spill_folder import SpillFolder

ROOM = 1 << 20
Opened = Callable[..., Spill]


@pytest.fixture
def opened() -> Iterator[Callable[..., Spill]]:
    """Open spills, and let go of them at the end."""
    spills: list[Spill] = []

    def open_spill(folder: Path, room: int = ROOM) -> Spill:
        spills.append(Spill(folder, room))
        return spills[-1]

    yield open_spill
    for spill in spills:
        kill(spill)


def kill(spill: Spill) -> None:
    """Let go of the files as the system does for a killed process: nothing is synced or written any more."""
    spill.retire()
    while spill._retired:
        spill._retired.popleft().close()
    spill._disk.close()


def parcel(number: int, size: int = 10) -> Parcel:
    return Parcel("decisions", b"key-%d" % number, b"%d" % number + bytes(size))


def drain(spill: Spill, records: int = 100) -> list[Parcel]:
    drained: list[Parcel] = []
    while some := spill.next_round(records, ROOM):
        drained += some
        spill.settle()
    return drained


def segments(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.spill"))


def test_what_was_spilled_is_read_in_order_and_then_gone(opened: Opened, tmp_path: Path) -> None:
    spill = opened(tmp_path, ROOM)
    written = [parcel(number) for number in range(7)]
    assert all(spill.append(each) for each in written)
    assert spill.records == 7
    assert drain(spill, records=3) == written
    assert (spill.records, spill.bytes, segments(tmp_path)) == (0, 0, [])
    assert spill.append(written[0])
    assert drain(spill) == written[:1]


def test_a_round_that_was_not_delivered_is_given_again(opened: Opened, tmp_path: Path) -> None:
    spill = opened(tmp_path, ROOM)
    written = [parcel(number) for number in range(4)]
    for each in written:
        spill.append(each)
    assert spill.next_round(2, ROOM) == spill.next_round(2, ROOM) == written[:2]
    spill.settle()
    assert spill.next_round(9, ROOM) == written[2:]


def test_the_next_process_finds_what_a_killed_one_left(opened: Opened, tmp_path: Path) -> None:
    killed = opened(tmp_path, ROOM)
    written = [parcel(number) for number in range(5)]
    for each in written:
        killed.append(each)
    killed.next_round(2, ROOM)
    killed.settle()
    kill(killed)
    found = opened(tmp_path, ROOM)
    # Of the oldest segment, what was delivered comes again.
    assert found.records == 5
    found.append(parcel(5))
    assert drain(found) == [*written, parcel(5)]


def test_a_torn_frame_ends_its_file_and_is_told(
    opened: Opened, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spill = opened(tmp_path, ROOM)
    for number in range(3):
        spill.append(parcel(number))
    spill.close()
    (name,) = segments(tmp_path)
    file = tmp_path / name
    file.write_bytes(file.read_bytes()[:-3])
    found = opened(tmp_path, ROOM)
    assert "spill-torn" in caplog.text
    assert found.records == 2
    assert found.append(parcel(3))  # goes to a file of its own
    assert drain(found) == [parcel(0), parcel(1), parcel(3)]
    # Whose bytes they were nobody can say: they stay, and take up room.
    assert list(tmp_path.glob("*.unread")) == [tmp_path / "00000001.unread"]
    assert found.set_aside_bytes == (tmp_path / "00000001.unread").stat().st_size


def test_segments_are_removed_one_by_one_as_they_are_delivered(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 200)
    spill = opened(tmp_path, ROOM)
    written = [parcel(number, 60) for number in range(9)]
    for each in written:
        spill.append(each)
    before = segments(tmp_path)
    # A frame has 8 + 2 + 9 + 2 + 5 + 61 = 87 bytes, and a file takes frames until it has 200: three.
    assert len(before) == 3
    assert len(spill.next_round(100, ROOM)) > 0
    spill.settle()
    spill.next_round(100, ROOM)
    assert segments(tmp_path) == before[1:]
    spill.settle()
    drain(spill)
    assert segments(tmp_path) == []


def test_there_is_no_more_room_than_was_given(opened: Opened, tmp_path: Path) -> None:
    spill = opened(tmp_path, 100)
    assert [spill.append(parcel(number)) for number in range(4)] == [True, True, False, False]
    drain(spill)
    assert spill.append(parcel(0))


class FullDevice:
    """A file on which every write finds no space."""

    def __init__(self) -> None:
        self._file = open("/dev/full", "wb", buffering=0)  # noqa: PTH123, SIM115

    def write(self, content: bytes, /) -> int:
        return self._file.write(content)

    def truncate(self, size: int, /) -> None:
        assert size > 0

    def sync(self) -> None: ...

    def close(self) -> None:
        self._file.close()


def test_a_disk_that_fails_is_no_room_and_told_of_once(
    opened: Opened, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spill = opened(tmp_path, ROOM)
    assert spill.append(parcel(0))
    sound, spill._active = spill._active, FullDevice()
    assert [spill.append(parcel(number)) for number in (1, 2, 3)] == [False] * 3
    assert (caplog.text.count("spill-failed"), spill.is_failing) == (1, True)
    spill._active.close()
    spill._active = sound
    assert spill.append(parcel(4))
    assert (caplog.text.count("spill-works-again"), spill.is_failing) == (1, False)
    assert drain(spill) == [parcel(0), parcel(4)]


def test_nobody_else_reads_what_waits(opened: Opened, tmp_path: Path) -> None:
    folder = tmp_path / "spill"
    folder.mkdir(mode=0o755)
    (folder / "00000001.spill").write_bytes(b"")
    spill = opened(folder, ROOM)
    spill.append(parcel(0))
    modes = {path.name: path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())}
    assert modes == {"spill": 0o700, "lock": 0o600, "00000001.spill": 0o600, "00000002.spill": 0o600}


def test_two_processes_never_share_a_folder(opened: Opened, tmp_path: Path) -> None:
    first = opened(tmp_path, ROOM)
    with pytest.raises(ConfigError, match="is held by another process"):
        Spill(tmp_path, ROOM)
    first.close()
    opened(tmp_path, ROOM).close()


def test_a_folder_that_can_not_be_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ConfigError, match="can't be used"):
        Spill(file / "folder", ROOM)


TEXT = st.binary(max_size=20)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(TEXT, TEXT) | st.sampled_from(["deliver", "fail", "restart"]), max_size=30))
def test_whatever_happens_nothing_is_lost_or_swapped(
    steps: list[tuple[bytes, bytes] | str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("spill")
    spill, written, arrived = Spill(folder, ROOM), list[Parcel](), list[Parcel]()
    for step in [*steps, *["deliver"] * 40]:
        if step == "restart":
            kill(spill)
            spill = Spill(folder, ROOM)
        elif isinstance(step, str):
            given_out = spill.next_round(2, ROOM)
            if step == "deliver":
                arrived += given_out
                spill.settle()
        else:
            written.append(Parcel("outcomes", *step))
            assert spill.append(written[-1])
    assert spill.records == 0
    # In order of their first arrival; repeats come of restarts.
    position = 0
    for each in arrived:
        if position < len(written) and each == written[position]:
            position += 1
        else:
            assert each in written
    assert position == len(written)
    spill.close()


def test_a_frame_that_was_changed_is_not_delivered_nor_deleted(opened: Opened, tmp_path: Path) -> None:
    spill = opened(tmp_path)
    for number in range(3):
        spill.append(parcel(number))
    (name,) = segments(tmp_path)
    content = bytearray((tmp_path / name).read_bytes())
    content[len(content) // 2] ^= 1  # in the second of three frames
    (tmp_path / name).write_bytes(content)
    assert drain(spill) == [parcel(0), parcel(2)]
    assert (spill.records, spill.lost, spill.bytes) == (0, 1, 0)
    assert (tmp_path / "00000001.unread").read_bytes() == content


def test_a_frame_that_was_changed_while_nobody_had_the_folder_is_counted_as_lost(
    opened: Opened, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spill = opened(tmp_path)
    for number in range(3):
        spill.append(parcel(number))
    spill.close()
    (name,) = segments(tmp_path)
    content = bytearray((tmp_path / name).read_bytes())
    content[len(content) // 2] ^= 1  # in the second of three frames
    (tmp_path / name).write_bytes(content)
    found = opened(tmp_path)
    assert (found.records, found.lost) == (2, 1)
    assert drain(found) == [parcel(0), parcel(2)]
    assert (found.records, found.lost, found.bytes) == (0, 1, 0)
    assert f"file={tmp_path / '00000001.unread'} lost=1" in caplog.text


def sound_crc(rest: bytes) -> bytes:
    return struct.pack(">II", len(rest), zlib.crc32(rest)) + rest


@pytest.mark.attack
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    strange=st.binary(min_size=1, max_size=100)
    | st.integers(1, 10_000).map(bytes)  # zeros: what a machine leaves at a file's end where it stopped
    | st.builds(sound_crc, st.binary(max_size=20)),
    count=st.integers(0, 3),
)
def test_whatever_bytes_stand_behind_sound_frames_those_are_delivered_and_the_file_is_set_aside(
    strange: bytes, count: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("spill")
    written = [parcel(number) for number in range(count)]
    content = b"".join(map(frame_of, written)) + strange
    (folder / "00000001.spill").write_bytes(content)
    spill = Spill(folder, ROOM)
    drained = drain(spill)
    assert drained[:count] == written
    assert (spill.records, spill.bytes) == (0, 0)
    if drained == written:  # which were not made up
        assert (folder / "00000001.unread").read_bytes() == content
    assert spill.append(parcel(9))
    assert drain(spill) == [parcel(9)]
    spill.close()


@pytest.mark.attack
@pytest.mark.parametrize("name", ["²3.spill", "٣.spill", "decisions@²3.00000001.spill", "decisions@x.1.spill"])
def test_a_file_of_somebody_else_s_naming_is_left_alone(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"theirs")
    folder = SpillFolder(tmp_path, ROOM)
    assert folder.waiting.append(parcel(1))
    assert drain(folder.waiting) == [parcel(1)]
    folder.close()
    assert (tmp_path / name).read_bytes() == b"theirs"


def test_a_segment_that_somebody_removed_is_counted_as_lost(opened: Opened, tmp_path: Path) -> None:
    spill = opened(tmp_path)
    for number in range(3):
        spill.append(parcel(number))
    (tmp_path / segments(tmp_path)[0]).unlink()
    assert drain(spill) == []
    assert (spill.records, spill.lost, spill.bytes) == (0, 3, 0)
    assert spill.append(parcel(4))
    assert drain(spill) == [parcel(4)]


@pytest.mark.attack
def test_a_folder_of_another_user_that_everybody_may_write_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o777)
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(ConfigError, match="everybody may write there"):
        SpillFolder(tmp_path, ROOM)
    tmp_path.chmod(0o775)
    SpillFolder(tmp_path, ROOM).close()


@pytest.mark.attack
def test_a_lock_that_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    os.mkfifo(lock)
    with pytest.raises(ConfigError, match="can't be used"):
        SpillFolder(tmp_path, ROOM)
    lock.unlink()
    lock.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="can't be used"):
        SpillFolder(tmp_path, ROOM)
