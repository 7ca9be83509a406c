"""Reads of a few values on the event loop, all over one connection, for whoever must not wait for a thread.

Handing a read to a thread and back costs several times what the read does, and takes the interpreter's lock from the
event loop at a bad moment. Here requests are written one behind the other as they come, and replies are taken in the
same order.

This is a short cut, never the only way: it gives up at the first thing that is not as it should be, says so with None,
and whoever asked goes the long way, over `Connection` on a thread, which knows what to do about a store that fails. The
library connects, encrypts and authenticates, as it does for `Connection`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from typing import Any, TypeAlias, cast

import hiredis
import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from hashmatch.store.rest import Rest

# After a failure nobody tries to connect for so long, in seconds.
_PAUSE = 0.1
# More than this is no matter of a moment: opening it would hold up everybody else on the event loop.
MAXIMUM_KEYS = 128

_Values: TypeAlias = "list[bytes | None] | None"


class LoopReads:
    """Belongs to the event loop that it is used on; connects when it is first asked, and again after a failure."""

    def __init__(self, url: str, settings: dict[str, Any], *, operation_timeout: float, rest: Rest) -> None:
        """To the one server at `url`, with the library's `settings`. A reply may take `operation_timeout` seconds."""
        # The older protocol has nothing that a server sends unasked. By default the library tries for half a minute to
        # connect, and waits longer and longer in between.
        made = {**settings, "protocol": 2, "retry": Retry(NoBackoff(), 0)}
        self._pool = redis.asyncio.ConnectionPool.from_url(url, **made)
        self._timeout = operation_timeout
        self._rest = rest
        self._connection: Any = None
        self._replies: _Replies | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._not_before = 0.0

    async def get_many(self, keys: Sequence[bytes], patience: float) -> list[bytes | None] | None:
        """The values of keys, in order; None if they are to be had in another way only, or not within `patience`.

        `patience` is in seconds; no more than `operation_timeout` is waited in any case.
        """
        if self._rest.lasts or len(keys) > MAXIMUM_KEYS:
            return None
        replies = self._replies
        if replies is None or replies.is_lost:
            self._connect_soon()
            return None
        asked = replies.ask(_command(keys))
        hangs = patience >= self._timeout
        loop = asyncio.get_running_loop()
        waiting = loop.call_later(self._timeout if hangs else max(0.0, patience), self._expire, asked, hangs)
        try:
            values = await asked
        finally:
            waiting.cancel()
        if values is not None and len(values) != len(keys):
            replies.lose()
            return None
        return values

    def start(self) -> None:
        """Connect now, so that the first question need not go the long way."""
        self._connect_soon()

    async def close(self) -> None:
        """Close the connection."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        await self._drop()

    def _expire(self, asked: asyncio.Future[_Values], hangs: bool) -> None:
        if asked.done():
            return
        if hangs:
            self._rest.begin()
            if self._replies is not None:
                self._replies.lose()
        else:
            # The caller's own time is over, which says nothing of the store.
            asked.set_result(None)

    def _connect_soon(self) -> None:
        loop = asyncio.get_running_loop()
        if self._connecting is None and loop.time() >= self._not_before:
            self._connecting = loop.create_task(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await self._drop()
            self._connection = self._pool.make_connection()
            await self._connection.connect()
            # From here on the library has nothing to do with what comes over it.
            transport = cast("asyncio.Transport", self._connection._writer.transport)
            replies = _Replies(transport)
            transport.set_protocol(replies)
            self._replies = replies
        except Exception:  # noqa: BLE001  whatever it is (uvloop's are RuntimeErrors), there is the long way
            self._not_before = loop.time() + _PAUSE
            await self._drop()
        finally:
            self._connecting = None

    async def _drop(self) -> None:
        if self._replies is not None:
            self._replies.lose()
            self._replies = None
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(redis.RedisError, OSError, RuntimeError):
                await connection.disconnect(nowait=True)


class _Replies(asyncio.Protocol):
    """Gives replies to those who asked, in the order in which they did."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.is_lost = False
        self._transport = transport
        self._reader = hiredis.Reader()
        self._asked: deque[asyncio.Future[_Values]] = deque()

    def ask(self, command: bytes) -> asyncio.Future[_Values]:
        """Send a command whose reply is a list of values."""
        reply: asyncio.Future[_Values] = asyncio.get_running_loop().create_future()
        self._asked.append(reply)
        try:
            self._transport.write(command)
        except RuntimeError:
            # uvloop's, of a transport that is closed and has not yet said so.
            self.lose()
        return reply

    def lose(self) -> None:
        """Give up: nothing more comes over this connection."""
        if self.is_lost:
            return
        self.is_lost = True
        self._transport.abort()
        for reply in self._asked:
            if not reply.done():
                reply.set_result(None)
        self._asked.clear()

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        try:
            self._reader.feed(data)
            while not self.is_lost and (reply := self._reader.gets()) is not False:
                self._take(reply)
        except (hiredis.ProtocolError, IndexError):
            # What was changed on the way, or what nobody asked for.
            self.lose()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        """The other side is gone."""
        self.lose()

    def _take(self, reply: object) -> None:
        asked = self._asked.popleft()
        is_readable = isinstance(reply, list) and all(value is None or type(value) is bytes for value in reply)
        if not asked.done():
            asked.set_result(cast("list[bytes | None]", reply) if is_readable else None)
        if not is_readable and not isinstance(reply, hiredis.ReplyError):
            self.lose()


def _command(keys: Sequence[bytes]) -> bytes:
    parts = [b"*%d\r\n$4\r\nMGET\r\n" % (len(keys) + 1)]
    parts += [b"$%d\r\n%b\r\n" % (len(key), key) for key in keys]
    return b"".join(parts)
