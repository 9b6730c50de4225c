"""What a node keeps of its snapshots over a restart, and who it believes."""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from pipeline.errors import ConfigError, StateError
from pipeline.policy.definition import PolicyDefinition
from pipeline.publish.parts import SnapshotContent
from pipeline.publish.signing import HEADER, Signer, Verifier, read_signer, read_verifier
from pipeline.serve.following.kept import KeptSnapshot, KeptSnapshots
from pipeline.serve.following.part_room import KNOWN_BYTES, STRANGE_BYTES, PartRoom
from tests.unit.serve.test_serve_follower import Topic, chain, following

pytestmark = pytest.mark.attack
ROOM = 1 << 20
Content = Callable[..., bytes]


def keys() -> tuple[Signer, Verifier]:
    key = Ed25519PrivateKey.generate()
    return Signer(key), Verifier([key.public_key()])


def pem(key: Ed25519PrivateKey) -> tuple[bytes, bytes]:
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), public


def test_a_signature_is_of_one_record_by_one_key() -> None:
    signer, verifier = keys()
    headers = signer.headers(b"record")
    verifier.check(b"record", headers)
    with pytest.raises(StateError, match="is not of these bytes"):
        verifier.check(b"another", headers)
    with pytest.raises(StateError, match="is signed by key"):
        verifier.check(b"record", keys()[0].headers(b"record"))
    with pytest.raises(StateError, match="has no signature"):
        verifier.check(b"record", ())
    with pytest.raises(StateError, match="is not of these bytes"):
        verifier.check(b"record", [(HEADER, headers[0][1][:20])])


def test_two_keys_are_valid_at_once_while_they_are_changed(tmp_path: Path) -> None:
    old, new = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    tmp_path.joinpath("public.pem").write_bytes(pem(old)[1] + b"\n" + pem(new)[1])
    verifier = read_verifier(tmp_path / "public.pem")
    for key in (old, new):
        tmp_path.joinpath("private.pem").write_bytes(pem(key)[0])
        verifier.check(b"record", read_signer(tmp_path / "private.pem").headers(b"record"))
    with pytest.raises(ConfigError, match="holds no private key"):
        read_signer(tmp_path / "public.pem")
    with pytest.raises(ConfigError, match="holds no key"):
        read_verifier(tmp_path / "private.pem")


async def test_only_what_a_known_key_has_signed_goes_live(beta: PolicyDefinition, content_of: Content) -> None:
    signer, verifier = keys()
    forger, _ = keys()
    first, second, third = chain(content_of, beta, 3)
    topic = Topic()
    async with following(topic, verifier=verifier) as follower:
        topic.put(first, headers=signer.headers(first))
        await follower.wait_ready("homepage", 1)
        topic.put(second)
        topic.put(second, headers=forger.headers(second))
        topic.put(second, headers=signer.headers(first))
        topic.put(second, headers=signer.headers(second))
        topic.put(third, headers=signer.headers(third))
        await follower.wait_ready("homepage", 3)
        assert follower.refused == 3
        assert "is not of these bytes" in follower.last_refusal


async def test_a_node_answers_from_its_disk_before_a_broker_is_there_and_says_so(
    beta: PolicyDefinition, content_of: Content, tmp_path: Path
) -> None:
    first, second, third = chain(content_of, beta, 3)
    topic = Topic()
    async with following(topic, kept=KeptSnapshots(tmp_path / "kept", ROOM)) as follower:
        topic.put(first, second, timestamp=1_000)
        await follower.wait_ready("homepage", 2)
        assert follower.from_disk == set()
        follower.keep_now()
    modes = {
        path.name[-9:]: path.stat().st_mode & 0o777 for path in (tmp_path / "kept", *(tmp_path / "kept").iterdir())
    }
    assert modes == {"kept": 0o700, ".snapshot": 0o600}
    away = Topic()
    async with following(away, kept=KeptSnapshots(tmp_path / "kept", ROOM)) as follower:
        assert (await follower.wait_ready("homepage")).version == 2
        assert follower.from_disk == {"homepage"}
        assert follower.age_ms("homepage", 5_000) == 4_000
        # The topic is read from its start: nothing goes back, and it goes on where it was.
        away.put(first)
        away.put(second, third)
        await follower.wait_ready("homepage", 3)
        assert (follower.from_disk, follower.refused) == (set(), 0)


async def test_what_is_kept_is_verified_as_what_comes(
    beta: PolicyDefinition, content_of: Content, tmp_path: Path
) -> None:
    signer, verifier = keys()
    kept = KeptSnapshots(tmp_path, ROOM)
    content = content_of(beta, {}, version=9)
    kept.write(KeptSnapshot("homepage", SnapshotContent(content), keys()[0].headers(content), 0))
    topic = Topic()
    async with following(topic, verifier=verifier, kept=KeptSnapshots(tmp_path, ROOM)) as follower:
        other = content_of(beta, {}, version=1)  # it comes after what is kept was looked at
        topic.put(other, headers=signer.headers(other))
        assert (await follower.wait_ready("homepage")).version == 1
        assert follower.refused == 1


def test_a_file_that_was_altered_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    KeptSnapshots(tmp_path, ROOM).write(KeptSnapshot("homepage", SnapshotContent(b"record"), (), 0))
    (file,) = tmp_path.glob("*.snapshot")
    file.write_bytes(file.read_bytes()[:-1])
    assert list(KeptSnapshots(tmp_path, ROOM).read()) == []
    assert "kept-snapshot-refused" in caplog.text


@pytest.mark.parametrize(
    "content",
    [
        [1, 7, b"record", {}, [], 0],
        [1, "homepage", b"record", {}, [7], 0],
        [1, "homepage", b"record", {"part": 7}, [["signature", 7]], 0],
        [1, "homepage", b"record", {}, [], None],
        [1, "homepage"],
        [2, "homepage", b"record", {}, [], 0],
        {},
    ],
)
def test_whatever_a_file_with_a_sound_hash_holds_is_taken_or_told_of(
    content: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    body = msgspec.msgpack.encode(content)
    (tmp_path / "a.snapshot").write_bytes(sha256(body).digest() + body)
    os.mkfifo(tmp_path / "b.snapshot")
    tmp_path.chmod(0o755)
    assert list(KeptSnapshots(tmp_path, ROOM).read()) == []
    assert caplog.text.count("kept-snapshot-refused") == 1
    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_no_more_is_kept_than_there_is_room_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = KeptSnapshots(tmp_path, 1_000)
    for policy in ("a", "b", "c"):
        kept.write(KeptSnapshot(policy, SnapshotContent(bytes(400)), (), 0))
    assert [each.policy for each in KeptSnapshots(tmp_path, 1_000).read()] in (["a", "b"], ["b", "a"])
    kept.write(KeptSnapshot("a", SnapshotContent(bytes(300)), (), 0))
    assert caplog.text.count("snapshot-not-kept") == 1


def test_parts_of_a_policy_that_nobody_declared_take_bounded_room() -> None:
    room = PartRoom()
    quarter = bytes(STRANGE_BYTES // 4)
    for number in range(6):
        assert room.keep("nobodys", f"part-{number}", quarter, is_known=False)
    assert (dict(room.parts), room.passed_over) == ({}, 2)
    room.admit("nobodys")  # a snapshot of it has come
    assert sorted(room.parts["nobodys"]) == ["part-2", "part-3", "part-4", "part-5"]


def test_parts_that_no_snapshot_names_do_not_fill_a_nodes_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.serve.following.part_room.KNOWN_BYTES", 1_000)
    assert KNOWN_BYTES > 1_000
    room = PartRoom()
    assert [room.keep("known", str(number), bytes(400), is_known=True) for number in range(4)] == [True] * 2 + [
        False
    ] * 2
    room.note_live("known", 800)  # three versions of it have room
    assert [room.keep("known", str(number), bytes(400), is_known=True) for number in range(2, 8)].count(True) == 4
