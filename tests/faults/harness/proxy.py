"""A TCP proxy that does to connections what networks do: delays, cuts, silences, resets, throttles, flips bits.

It runs on an event loop in a thread of its own; the methods are called from the test's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.faults.harness.commands import Command, CommandReader
from tests.integration.serving import TIMEOUT, Background

_PIECE = 1 << 16
_LISTEN_QUEUE = 256


@dataclass(frozen=True)
class Weather:
    """What connections suffer. `delay` in seconds for each piece and each way; `corrupted` is the chance that a piece
    has a bit flipped, of what comes `down` to the client or what goes `up` to the server."""

    delay: float = 0.0
    bytes_per_second: float = 0.0
    corrupted_down: float = 0.0
    corrupted_up: float = 0.0
    silent: bool = False
    refused: bool = False


FAIR = Weather()


class Gate:
    """Holds a client at one of its commands: ahead of it, or where its reply would come.

    With `newcomers` only a client is held whose connection was opened after the gate was set.
    """

    def __init__(self, matches: Callable[[Command], bool], *, after: bool = False, newcomers: bool = False) -> None:
        self.matches = matches
        self.after = after
        self.newcomers = newcomers
        self.reached = threading.Event()
        self.died = False
        self._set_at = 0

    def set_at(self, connections: int) -> None:
        """It is set when so many connections were opened."""
        self._set_at = connections

    def holds(self, connection: int, command: Command) -> bool:
        """Whether this command, of the connection with this number, is the one to be held."""
        if self.reached.is_set() or (self.newcomers and connection < self._set_at):
            return False
        return self.matches(command)

    def wait(self) -> None:
        """Until the client is held."""
        assert self.reached.wait(TIMEOUT), "no command came to the gate"


class FaultProxy:
    """Listens on a port of loopback for one server, which may be exchanged for another."""

    def __init__(self, background: Background, upstream: int, *, seed: int = 0, gates: bool = False) -> None:
        """`upstream` is a port on loopback. `gates` can be set where what passes is Redis's protocol."""
        self._background = background
        self._upstream = upstream
        self._random = random.Random(seed)
        self._weather = FAIR
        self._gates = gates
        self._gate: Gate | None = None
        self._opened = asyncio.Event()
        self._connections: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, ...]] = {}
        self._opened_so_far = 0
        self._server: asyncio.Server | None = None
        self.port = 0
        self.corrupted = 0

    def start(self) -> None:
        """Listen."""

        async def listen() -> None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=_LISTEN_QUEUE)
            self.port = self._server.sockets[0].getsockname()[1]

        self._background.run(listen())

    def close(self) -> None:
        """Stop listening, and end every connection."""

        async def end() -> None:
            # No more are accepted, and those that were get their transports before the server is closed: one that gets
            # it afterwards is never closed (python/cpython#109564). What is not served by then is refused.
            self._weather = replace(self._weather, refused=True)
            if self._server is not None:
                for listening in self._server.sockets:
                    asyncio.get_running_loop().remove_reader(listening.fileno())
                await asyncio.sleep(0)
                self._server.close()
            await self._end_all(reset=True)

        self._background.run(end())

    # ---- faults

    def suffer(self, **changes: float) -> None:
        """From now on, for connections that are open and for new ones."""
        self._weather = replace(self._weather, **changes)

    def cut(self, *, reset: bool = False) -> None:
        """End every connection, now and as soon as it is opened: with an RST, or as a peer does that closes."""
        self._weather = replace(self._weather, refused=True)
        self._background.run(self._end_all(reset=reset))

    def interrupt(self) -> None:
        """Reset what is open; new connections are served."""
        self._background.run(self._end_all(reset=True))

    def clear(self) -> None:
        """Fair weather. Connections of which bytes were kept back are reset, as by a router that forgot them."""
        suffered, self._weather = self._weather, FAIR
        if suffered.silent:
            self.interrupt()

    def retarget(self, upstream: int) -> None:
        """From now on this is the server; connections to the one before are reset."""
        self._upstream = upstream
        self.interrupt()

    def hold(self, gate: Gate) -> None:
        """Set a gate."""
        assert self._gates
        gate.set_at(self._opened_so_far)
        self._gate = gate

    def release(self, *, died: bool) -> None:
        """Take the gate away: whoever is held there goes on, or has died there."""
        assert self._gate is not None
        self._gate.died = died
        self._gate = None

        async def let_go() -> None:
            self._opened.set()
            self._opened = asyncio.Event()

        self._background.run(let_go())

    # ---- connections

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = (writer,)
        number, self._opened_so_far = self._opened_so_far, self._opened_so_far + 1
        try:
            if self._weather.refused:
                return
            upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
            self._connections[task] = (writer, upstream_writer)
            held = asyncio.Event()
            up = asyncio.create_task(self._pump_up(number, reader, upstream_writer, held))
            down = asyncio.create_task(self._pump_down(upstream_reader, writer, held))
            try:
                await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
            finally:
                up.cancel()
                down.cancel()
                await asyncio.gather(up, down, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # the server is away, or this connection was ended: either is what the client is to see
        finally:
            for each in self._connections.pop(task):
                _end(each, reset=False)

    async def _pump_up(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, held: asyncio.Event
    ) -> None:
        commands = CommandReader()
        while data := await reader.read(_PIECE):
            if not self._gates:
                await self._pass(data, writer, self._weather.corrupted_up)
                continue
            for command in commands.feed(data):
                gate = self._gate
                if gate is not None and gate.holds(number, command):
                    if gate.after:
                        held.set()
                    else:
                        opened = self._opened
                        gate.reached.set()
                        await opened.wait()
                        if gate.died:
                            return  # before it said this
                await self._pass(command.raw, writer, self._weather.corrupted_up)

    async def _pump_down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, held: asyncio.Event) -> None:
        while data := await reader.read(_PIECE):
            if held.is_set() and self._gate is not None:
                opened = self._opened
                self._gate.reached.set()
                await opened.wait()
                held.clear()
            await self._pass(data, writer, self._weather.corrupted_down)

    async def _pass(self, data: bytes, writer: asyncio.StreamWriter, corrupted: float) -> None:
        weather = self._weather
        if weather.delay:
            await asyncio.sleep(weather.delay)
        if weather.bytes_per_second:
            await asyncio.sleep(len(data) / weather.bytes_per_second)
        if self._weather.silent:
            return
        if corrupted and self._random.random() < corrupted:
            changed = bytearray(data)
            changed[self._random.randrange(len(changed))] ^= 1 << self._random.randrange(8)
            data = bytes(changed)
            self.corrupted += 1
        writer.write(data)
        await writer.drain()

    async def _end_all(self, *, reset: bool) -> None:
        tasks = list(self._connections)
        for task in tasks:
            for writer in self._connections.get(task, ()):
                _end(writer, reset=reset)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _end(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    """Close a connection: with an RST, which says that something is wrong, or as a peer that is done."""
    if writer.transport.is_closing():
        return
    if reset:
        with contextlib.suppress(OSError):
            connection: socket.socket = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    else:
        writer.close()
