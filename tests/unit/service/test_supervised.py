"""What becomes of a process that its supervisor cannot tell what it needs."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import pytest

from hashmatch.index.shared_memory import Memory
from hashmatch.index.sharing import Image, Piece
from hashmatch.service import supervised
from hashmatch.service.channel import Channel, ImageSent, Message, PieceSent, Role
from hashmatch.service.config import Config
from hashmatch.service.supervised import SharedImage, Supervised


def memory() -> Memory:
    descriptor = os.memfd_create("a test")
    os.ftruncate(descriptor, 64)
    return Memory(descriptor)


async def test_a_process_to_which_a_piece_cannot_be_sent_is_ended_and_the_next_gets_every_piece(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def sleeper(theirs: Channel) -> subprocess.Popen[bytes]:
        theirs.close()
        return subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])

    attempts: list[type] = []

    def send(channel: Channel, message: Message, memory: Memory | None = None, *, wait: bool = True) -> None:
        attempts.append(type(message))
        if attempts.count(PieceSent) == 1 and isinstance(message, PieceSent):
            raise OSError(errno.ETOOMANYREFS, os.strerror(errno.ETOOMANYREFS))
        if isinstance(message, ImageSent) and attempts.count(PieceSent) > 1:
            # Everything that the second needs went out.
            process.send_signal(signal.SIGTERM)

    monkeypatch.setattr(supervised, "_start", sleeper)
    monkeypatch.setattr(Channel, "send", send)
    shared = SharedImage()
    shared.add(Piece("a piece", memory()))
    shared.replace(Image(memory(), ("a piece",)))
    process = Supervised(Role(1), lambda *_: None)
    assert await process.run(Config(), "", shared) == -signal.SIGKILL
    assert await process.run(Config(), "", shared) == -signal.SIGTERM
    assert attempts[-2:] == [PieceSent, ImageSent]
