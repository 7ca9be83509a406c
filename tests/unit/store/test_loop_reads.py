"""Reads on the event loop: the same values as the long way, or none at all, whatever comes back."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
import redis

from hashmatch.store.connection import Connection, StoreUnavailableError
from hashmatch.store.embedded import EmbeddedValkey
from hashmatch.store.loop_reads import MAXIMUM_KEYS, LoopReads
from tests.faults.harness.stores import StoreProcess

KEYS = [b"key-%d" % number for number in range(20)]
VALUES = [b"value-%d" % number * number for number in range(20)]
# What a server sends that does not want a password, as the library introduces itself.
_OK = b"+OK\r\n"

Script = Callable[[bytes], bytes | None]


@contextlib.asynccontextmanager
async def reads_of(connection: Connection) -> AsyncIterator[LoopReads]:
    reads = connection.loop_reads()
    assert reads is not None
    try:
        yield reads
    finally:
        await reads.close()


async def answer_of(reads: LoopReads, keys: Sequence[bytes]) -> list[bytes | None]:
    """The first answer that there is: while it connects there is none."""
    async with asyncio.timeout(10):
        while (values := await reads.get_many(keys, math.inf)) is None:  # noqa: ASYNC110  (nothing tells of it)
            await asyncio.sleep(0.01)
    return values


async def connected(reads: LoopReads) -> None:
    await answer_of(reads, [b"anything"])


@pytest.fixture
def filled(valkey: redis.Redis) -> None:
    valkey.mset(dict(zip(KEYS, VALUES, strict=True)))


@pytest.mark.usefixtures("filled")
async def test_values_come_in_order_and_what_is_missing_is_none(connection: Connection):
    async with reads_of(connection) as reads:
        await connected(reads)
        assert await reads.get_many([KEYS[3], b"missing", KEYS[0], KEYS[3]], math.inf) == [
            VALUES[3],
            None,
            VALUES[0],
            VALUES[3],
        ]


@pytest.mark.usefixtures("filled")
async def test_many_who_ask_at_once_get_each_their_own(connection: Connection):
    async with reads_of(connection) as reads:
        await connected(reads)
        asked = [KEYS[number : number + 1 + number % 5] for number in range(15)] * 20
        answers = await asyncio.gather(*(reads.get_many(keys, math.inf) for keys in asked))
        assert answers == [connection.get_many(keys) for keys in asked]


@pytest.mark.usefixtures("filled")
async def test_a_transport_that_closed_and_has_not_said_so_is_a_lost_one(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
):
    """uvloop, with which servers run, raises of such a one what no other does."""
    async with reads_of(connection) as reads:
        await connected(reads)
        transport = reads._replies._transport  # type: ignore[union-attr]

        def closed(*_: object) -> None:
            raise RuntimeError("the handler is closed")

        monkeypatch.setattr(transport, "write", closed)
        assert await reads.get_many(KEYS[:2], math.inf) is None
        assert await answer_of(reads, KEYS[:2]) == VALUES[:2]


async def test_nothing_that_connecting_raises_is_raised_or_left_behind(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
):
    attempts = []

    async def connect(self: object) -> None:
        attempts.append(self)
        raise RuntimeError("the handler is closed")

    with monkeypatch.context() as patch:
        patch.setattr("redis.asyncio.connection.AbstractConnection.connect", connect)
        async with reads_of(connection) as reads:
            while not attempts:
                assert await reads.get_many(KEYS, math.inf) is None
                await asyncio.sleep(0)
    async with reads_of(connection) as reads:
        await connected(reads)


async def test_too_many_go_the_long_way(connection: Connection):
    async with reads_of(connection) as reads:
        await connected(reads)
        assert await reads.get_many([b"x"] * MAXIMUM_KEYS, math.inf) == [None] * MAXIMUM_KEYS
        assert await reads.get_many([b"x"] * (MAXIMUM_KEYS + 1), math.inf) is None


@pytest.mark.usefixtures("filled")
async def test_one_who_gives_up_does_not_shift_the_others_replies(connection: Connection):
    async with reads_of(connection) as reads:
        await connected(reads)
        leaving = asyncio.create_task(reads.get_many(KEYS[:1], math.inf))
        await asyncio.sleep(0)
        impatient = asyncio.create_task(reads.get_many(KEYS[1:2], 0.0))
        staying = asyncio.create_task(reads.get_many(KEYS[2:3], math.inf))
        await asyncio.sleep(0)
        leaving.cancel()
        assert await impatient in (None, VALUES[1:2])
        assert await staying == VALUES[2:3]
        assert await reads.get_many(KEYS[3:4], math.inf) == VALUES[3:4]


@pytest.mark.usefixtures("filled")
async def test_after_the_store_closed_the_connection_another_is_made(connection: Connection, valkey: redis.Redis):
    async with reads_of(connection) as reads:
        await connected(reads)
        valkey.client_kill_filter(_type="normal", skipme=True)
        await connected(reads)
        assert await reads.get_many(KEYS[:2], math.inf) == VALUES[:2]


async def test_a_store_that_died_is_asked_again_when_it_is_back(tmp_path: Path):
    server = StoreProcess(tmp_path)
    server.start()
    try:
        with contextlib.closing(Connection(server.url)) as connection:
            async with reads_of(connection) as reads:
                await connected(reads)
                server.kill()
                assert await reads.get_many(KEYS, math.inf) is None
                server.start()
                await connected(reads)
    finally:
        server.stop()


async def test_a_store_that_hangs_is_waited_for_once(tmp_path: Path):
    """All who wait are sent the long way together, and there they are told at once."""
    server = StoreProcess(tmp_path)
    server.start()
    try:
        with contextlib.closing(Connection(server.url, operation_timeout=0.5)) as connection:
            async with reads_of(connection) as reads:
                await connected(reads)
                server.pause()
                waiting = [asyncio.create_task(reads.get_many(KEYS, math.inf)) for _ in range(20)]
                for each in waiting:
                    assert await each is None
                with pytest.raises(StoreUnavailableError, match="a moment ago"):
                    connection.get_many(KEYS)
                assert await reads.get_many(KEYS, math.inf) is None
                server.resume()
                await connected(reads)
    finally:
        server.stop()


async def test_a_wrong_password_leaves_it_to_the_long_way(valkey_url: str):
    with contextlib.closing(Connection(valkey_url, username="nobody", password="wrong")) as connection:
        async with reads_of(connection) as reads:
            for _ in range(20):
                assert await reads.get_many(KEYS, math.inf) is None
                await asyncio.sleep(0)


async def test_a_user_is_who_it_says(own_store: EmbeddedValkey):
    with contextlib.closing(redis.Redis.from_url(own_store.url)) as admin:
        admin.acl_setuser("reader", enabled=True, passwords=["+secret"], keys=["open:*"], commands=["+mget", "+client"])
        admin.mset({"open:1": b"1", "closed:1": b"2"})
    with contextlib.closing(Connection(own_store.url, username="reader", password="secret")) as connection:
        async with reads_of(connection) as reads:
            assert await answer_of(reads, [b"open:1"]) == [b"1"]
            assert await reads.get_many([b"closed:1"], math.inf) is None
            # A refusal is no reason to lose the connection.
            assert await reads.get_many([b"open:1"], math.inf) == [b"1"]


@pytest.fixture
def own_store(tmp_path: Path):
    with EmbeddedValkey(tmp_path) as server:
        yield server


@contextlib.asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[str]:
    """A server that answers each MGET as the script says, and closes where that says None; gives its URL."""

    serving = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                answer = script(data) if b"MGET" in data else _OK * data.count(b"*")
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await asyncio.gather(*serving)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"+OK\r\n", id="a status"),
        pytest.param(b":7\r\n", id="a number"),
        pytest.param(b"$1\r\nx\r\n", id="one value"),
        pytest.param(b"*0\r\n", id="no values"),
        pytest.param(b"*1\r\n$1\r\nx\r\n", id="too few values"),
        pytest.param(b"*3\r\n$1\r\nx\r\n$1\r\nx\r\n$1\r\nx\r\n", id="too many values"),
        pytest.param(b"*2\r\n$1\r\nx\r\n:1\r\n", id="a number among them"),
        pytest.param(b"*2\r\n*0\r\n$1\r\nx\r\n", id="a list among them"),
        pytest.param(b"*2\r\n$1\r\nx\r\n-ERR no\r\n", id="an error among them"),
        pytest.param(b"*-1\r\n", id="no list"),
        pytest.param(b"!garbage\x00\xff", id="no protocol"),
        pytest.param(b"*2\r\n$1\r\nx\r\n$1\r\ny\r\n*2\r\n$1\r\nx\r\n$1\r\ny\r\n", id="one reply too many"),
        pytest.param(b"-ERR refused\r\n", id="an error"),
        pytest.param(None, id="closed"),
        pytest.param(b"*2\r\n$1\r\nx\r\n$5\r\nhal", id="half a reply"),
    ],
)
async def test_what_is_no_answer_is_none_and_never_an_answer_to_something_else(answer: bytes | None):
    wrong = [True]

    def script(data: bytes) -> bytes | None:
        if b"anything" in data:
            return b"*1\r\n$-1\r\n"
        if wrong.pop() if wrong else False:
            return answer
        return b"*2\r\n$1\r\na\r\n$1\r\nb\r\n"

    async with scripted(script) as url:
        with contextlib.closing(Connection(url, operation_timeout=0.3)) as connection:
            async with reads_of(connection) as reads:
                await connected(reads)
                first = await reads.get_many([b"1", b"2"], math.inf)
                assert first in (None, [b"x", b"y"])
                assert await answer_of(reads, [b"1", b"2"]) == [b"a", b"b"]


async def test_groups_are_read_the_long_way():
    for url in ("redis+cluster://127.0.0.1:1", "redis+sentinel://127.0.0.1:1/lists"):
        with contextlib.closing(Connection(url)) as connection:
            assert connection.loop_reads() is None
