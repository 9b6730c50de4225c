"""A host that is gone is told from an answer that takes long, by asking it on another connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from pipeline.stream import liveness
from pipeline.stream.connections import mend_connections
from pipeline.stream.liveness import Liveness, knock

WITHIN_S = 10.0
LONG_S = 3_600.0


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("SILENT_S", "KNOWN_SILENT_S", "CONNECT_WITHIN_S"):
        monkeypatch.setattr(liveness, name, 0.05)
    # In which a connection is made on a busy machine too: a host that was not asked has not been silent.
    monkeypatch.setattr(liveness, "KNOCK_WITHIN_S", 0.5)
    monkeypatch.setattr(liveness, "REFUSING_S", 0.0)
    return


@asynccontextmanager
async def listening(*, lives: bool) -> AsyncIterator[tuple[tuple[str, int], asyncio.Queue[bytes]]]:
    """A host whose kernel takes connections; and which answers whatever is asked, if it lives."""
    asked: asyncio.Queue[bytes] = asyncio.Queue()
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        while content := await reader.read(1_000):
            asked.put_nowait(content)
            if lives:
                writer.write(b"anything")

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[:2], asked
        for writer in writers:
            writer.close()
            await writer.wait_closed()


async def test_an_answer_is_waited_for_while_its_host_says_something_elsewhere() -> None:
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    known = Liveness()

    async def asking() -> str:
        return await answer

    async with listening(lives=True) as (host, asked), asyncio.timeout(WITHIN_S):
        waiting = asyncio.create_task(known.answered(asking(), host, None))
        for _ in range(3):  # so often it was found to live
            await asked.get()
        assert not waiting.done()
        answer.set_result("late")
        assert await waiting == "late"
    assert not known.is_silent(host)


async def test_a_request_to_a_host_that_says_nothing_at_all_is_at_an_end() -> None:
    known = Liveness()
    async with listening(lives=False) as (host, _), asyncio.timeout(WITHIN_S):
        asking = asyncio.sleep(LONG_S, "never")
        with pytest.raises(TimeoutError):
            await known.answered(asking, host, None)
    assert known.is_silent(host)


async def test_what_comes_instead_of_an_answer_comes_through() -> None:
    async def broken() -> str:
        raise KafkaConnectionError("closed")

    with pytest.raises(KafkaConnectionError, match="closed"):
        await Liveness().answered(broken(), ("127.0.0.1", 1), None)


async def test_whoever_stops_waiting_stops_asking() -> None:
    asked = asyncio.Event()
    is_over = asyncio.Event()

    async def asking() -> None:
        asked.set()
        try:
            await asyncio.sleep(LONG_S)
        finally:
            is_over.set()

    waiting = asyncio.create_task(Liveness().answered(asking(), ("127.0.0.1", 1), None))
    async with asyncio.timeout(WITHIN_S):
        await asked.wait()
        waiting.cancel()
        await is_over.wait()


async def test_a_host_that_refuses_lives_and_one_that_only_takes_connections_does_not() -> None:
    async with listening(lives=True) as (host, _):
        assert await knock(host, None)
    assert await knock(host, None)  # its port is closed now: that is said by somebody
    async with listening(lives=False) as (host, _):
        assert not await knock(host, None)


async def test_nobody_waits_for_a_host_that_was_silent_which_is_asked_beside_whether_it_lives_by_now() -> None:
    now_s = 100.0
    known = Liveness(lambda: now_s)
    async with listening(lives=False) as (host, asked), asyncio.timeout(WITHIN_S):
        with pytest.raises(TimeoutError):
            async with known.connecting(host):
                await asyncio.sleep(LONG_S)
        for _ in range(3):
            for _ in range(3):
                with pytest.raises(KafkaConnectionError, match=f"{host[1]} does not answer"):
                    async with known.connecting(host):
                        pytest.fail("it is silent")
            now_s += liveness.AVOIDED_S  # of those of the next second, one has it asked
            with pytest.raises(KafkaConnectionError):
                async with known.connecting(host):
                    pytest.fail("it is silent")
            await asked.get()
            await asyncio.gather(*known._asking)
            assert asked.empty()
        assert known.is_silent(host)


async def test_a_host_that_was_silent_and_answers_is_connected_to_by_anybody() -> None:
    now_s = 100.0
    known = Liveness(lambda: now_s)
    async with listening(lives=True) as (host, _), asyncio.timeout(WITHIN_S):
        known.note(host, is_silent=True)
        now_s += liveness.AVOIDED_S
        with pytest.raises(KafkaConnectionError):
            async with known.connecting(host):
                pytest.fail("it has not answered yet")
        await asyncio.gather(*known._asking)
        for _ in range(2):
            async with known.connecting(host):
                pass


async def test_a_host_that_refuses_is_tried_again_only_some_time_later_whoever_asks() -> None:
    now_s = 100.0
    known = Liveness(lambda: now_s)
    host = ("kafka-2", 9092)
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            async with known.connecting(host):
                raise ConnectionRefusedError
        assert not known.is_silent(host)  # a request to it would be answered, by whoever refuses
        with pytest.raises(KafkaConnectionError, match="kafka-2:9092 takes no connection"):
            async with known.connecting(host):
                pytest.fail("it refused just now")
        now_s += liveness.REFUSED_S
    async with known.connecting(host):
        pass
    async with known.connecting(host):
        pass  # it has answered: anybody may


async def test_of_a_host_that_is_tried_no_more_nothing_is_known_that_was_not() -> None:
    known = Liveness(lambda: 100.0)
    host = ("kafka-2", 9092)
    with pytest.raises(asyncio.CancelledError):
        async with known.connecting(host):
            raise asyncio.CancelledError
    assert not known.is_silent(host)
    async with known.connecting(host):
        pass  # the next one may try


async def test_whoever_asks_for_it_meanwhile_is_not_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """He would ask again at once."""
    known = Liveness(lambda: 100.0)
    host = ("kafka-2", 9092)
    with pytest.raises(ConnectionRefusedError):
        async with known.connecting(host):
            raise ConnectionRefusedError
    monkeypatch.setattr(liveness, "REFUSING_S", LONG_S)
    asking = asyncio.create_task(known.connecting(host).__aenter__())
    for _ in range(10):  # turns of the loop, in which it would end
        await asyncio.sleep(0)
    assert not asking.done()
    asking.cancel()


async def test_clients_connect_to_a_refusing_broker_once_for_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    mend_connections()
    monkeypatch.setattr(liveness, "REFUSED_S", LONG_S)
    async with listening(lives=True) as ((name, port), _):
        pass  # its port is closed now
    with pytest.raises(OSError, match=str(port)):
        await AIOKafkaConnection(name, port).connect()
    with pytest.raises(KafkaConnectionError, match="takes no connection"):
        await AIOKafkaConnection(name, port).connect()


async def test_clients_connect_to_a_frozen_broker_no_longer_than_that_takes() -> None:
    mend_connections()
    async with listening(lives=False) as ((name, port), _), asyncio.timeout(WITHIN_S):
        connection = AIOKafkaConnection(name, port, request_timeout_ms=int(LONG_S * 1_000))
        with pytest.raises(TimeoutError):
            await connection.connect()


async def test_clients_ask_a_frozen_broker_no_longer_than_it_takes_to_find_that_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mend_connections()
    monkeypatch.setattr(AIOKafkaConnection, "_do_version_lookup", lambda _: asyncio.sleep(0))
    async with listening(lives=False) as ((name, port), _), asyncio.timeout(WITHIN_S):
        connection = AIOKafkaConnection(name, port, request_timeout_ms=int(LONG_S * 1_000))
        await connection.connect()
        connection._versions = {3: (0, 5)}
        with pytest.raises(TimeoutError):
            await connection.send(MetadataRequest([]))
        connection.close()
