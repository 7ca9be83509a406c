"""One process of a server as its supervisor sees it: started, told, listened to, and its end noticed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable

from hashmatch.index.shared_memory import Memory
from hashmatch.index.sharing import Image, Piece
from hashmatch.service.channel import Channel, ImageSent, Message, PieceSent, Received, Report, Role, Started, Task
from hashmatch.service.config import Config


class SharedImage:
    """The newest image and its pieces, held by the supervisor, so that whoever starts later gets them too."""

    def __init__(self) -> None:
        self.image: Image | None = None
        self._pieces: dict[str, Memory] = {}

    def add(self, piece: Piece) -> None:
        """Hold a piece for the next image."""
        self._pieces[piece.piece_id] = piece.memory

    def replace(self, image: Image) -> None:
        """Hold this image from now on, and no piece that it does not need."""
        self.image = image
        self._pieces = {piece_id: self._pieces[piece_id] for piece_id in image.piece_ids}

    def pieces_beyond(self, known: set[str]) -> list[Piece]:
        """The pieces of the image that are not among those `known`."""
        return [Piece(piece_id, memory) for piece_id, memory in self._pieces.items() if piece_id not in known]


class Supervised:
    """A process, which can be started again when it has ended. Used on the event loop."""

    def __init__(self, role: Role, heard: Callable[[Supervised, Received], None]) -> None:
        """`heard` is called with every message. The latest `Started` and `Report` are kept here as well."""
        self.role = role
        self.started: Started | None = None
        self.report: Report | None = None
        # When it last said anything, by the loop's clock.
        self.heard_at = 0.0
        self.starts = 0
        self._heard = heard
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._outgoing: deque[tuple[Message, Memory | None]] = deque()
        self._known_pieces: set[str] = set()
        self._changed = asyncio.Event()

    @property
    def pid(self) -> int:
        """The process that was started last; 0 if none was."""
        return self._process.pid if self._process is not None else 0

    @property
    def is_running(self) -> bool:
        """Whether there is a process, at work or starting."""
        return self._channel is not None

    async def run(self, config: Config, store_url: str, shared: SharedImage) -> int:
        """Start it and wait for its end; returns its exit status, or the negative number of a signal.

        Raises `OSError` if it cannot be started.
        """
        loop = asyncio.get_running_loop()
        self.starts += 1
        self._known_pieces = set()
        self._outgoing.clear()
        self._channel, theirs = Channel.pair()
        try:
            self._process = process = _start(theirs)
            ended = asyncio.Event()
            watched = os.pidfd_open(process.pid)
            loop.add_reader(watched, ended.set)
            loop.add_reader(self._channel.socket, self._receive)
            self.tell(Task(role=self.role, config=config, store_url=store_url, has_image=shared.image is not None))
            self.take_over(shared)
            self.heard_at = loop.time()
            try:
                await ended.wait()
                self._receive()
            finally:
                loop.remove_reader(watched)
                os.close(watched)
                process.kill()
                process.wait()
        finally:
            theirs.close()
            self._disconnect(loop)
            self._announce()
        return process.returncode

    async def until_started(self) -> bool:
        """Wait until it is at work; False if it ended instead."""
        while self.started is None and (self.is_running or not self.starts):
            await self._changed.wait()
        return self.started is not None

    def tell(self, message: Message, memory: Memory | None = None) -> None:
        """Send a message, or keep it until it can be taken. Nothing happens while there is no process."""
        if self._channel is not None:
            self._outgoing.append((message, memory))
            self._send()

    def take_over(self, shared: SharedImage) -> None:
        """Send the newest image with what it needs and is not known there yet."""
        if shared.image is None or self._channel is None:
            return
        for piece in shared.pieces_beyond(self._known_pieces):
            self.tell(PieceSent(piece.piece_id), piece.memory)
        self._known_pieces = set(shared.image.piece_ids)
        self.tell(ImageSent(shared.image.piece_ids), shared.image.memory)

    def knows(self, image: Image) -> None:
        """Take note that an image came from there."""
        self._known_pieces = set(image.piece_ids)

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self._process is not None and self.is_running:
            self._process.send_signal(number)

    def _send(self) -> None:
        assert self._channel is not None
        loop = asyncio.get_running_loop()
        while self._outgoing:
            try:
                self._channel.send(*self._outgoing[0], wait=False)
            except BlockingIOError:
                loop.add_writer(self._channel.socket, self._send)
                return
            except OSError:
                # It is gone, which is about to be noticed, or else it lacks from now on what could not be sent. Then
                # it is ended: whoever is started in its place gets everything anew.
                self._outgoing.clear()
                self.send_signal(signal.SIGKILL)
                break
            self._outgoing.popleft()
        loop.remove_writer(self._channel.socket)

    def _receive(self) -> None:
        """Take every message that is there."""
        loop = asyncio.get_running_loop()
        while self._channel is not None:
            try:
                received = self._channel.receive(wait=False)
            except BlockingIOError:
                return
            if received is None:
                loop.remove_reader(self._channel.socket)
                return
            self.heard_at = loop.time()
            match received.message:
                case Started():
                    self.started = received.message
                    self._announce()
                case Report():
                    self.report = received.message
            self._heard(self, received)

    def _announce(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _disconnect(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._channel is not None
        loop.remove_reader(self._channel.socket)
        loop.remove_writer(self._channel.socket)
        self._channel.close()
        self._channel = None


def _start(theirs: Channel) -> subprocess.Popen[bytes]:
    """A child with its end of a channel."""
    descriptor = theirs.socket.fileno()
    command = [sys.executable, "-m", "hashmatch.service.child", str(os.getpid()), str(descriptor)]
    # Signals of a terminal are for the supervisor, which passes them on in order.
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=(descriptor,), start_new_session=True)
    # The child has its own now; its end is noticed only if nobody else holds it.
    theirs.close()
    return child
