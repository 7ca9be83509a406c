"""Messages between the processes of one server, over a pair of sockets that the child inherits.

A message is one of a few records, and can carry shared memory. The sockets keep messages apart; one that is longer than
they take goes through shared memory itself.
"""

from __future__ import annotations

import array
import os
import socket
from typing import NamedTuple

import msgspec

from hashmatch.index.refresher import Outcome
from hashmatch.index.shared_memory import Memory
from hashmatch.service.config import Config
from hashmatch.service.merged_metrics import Family
from hashmatch.service.recent_rates import Interval

# Below what every system lets a socket take at once.
_LONGEST = 32 << 10
_DESCRIPTORS = 2
_SHORT, _LONG = b"s", b"l"


class Role(msgspec.Struct, frozen=True):
    """What a process is for: number 0 builds and administers, those from 1 on answer."""

    number: int

    @property
    def is_keeper(self) -> bool:
        """Whether it is the one that builds and administers."""
        return self.number == 0

    @property
    def name(self) -> str:
        """What logs and metrics call it."""
        return f"worker-{self.number}" if self.number else "keeper"


class Task(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The first message to a child. `store_url` is where the embedded store listens; an image follows if one `has`."""

    role: Role
    config: Config
    store_url: str
    has_image: bool


class PieceSent(msgspec.Struct, frozen=True, tag=True):
    """A piece, which is the memory that comes with it."""

    piece_id: str


class ImageSent(msgspec.Struct, frozen=True, tag=True):
    """An image, which is the memory that comes with it."""

    piece_ids: tuple[str, ...]


class BuilderLook(msgspec.Struct, frozen=True, tag=True):
    """How the keeper's last look at the store went; see `index.refresher.Look`."""

    outcome: Outcome
    why: str
    reason: str


class DamageFound(msgspec.Struct, frozen=True, tag=True):
    """Segments of which a worker found a block missing or wrong."""

    segment_ids: tuple[str, ...]


class Started(msgspec.Struct, frozen=True, tag=True):
    """A child is at work. Addresses are those that it listens on, empty where it does not."""

    matching: str
    administration: str


class Report(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """How a child is, once a second. `components` are those of its health."""

    components: dict[str, str]
    families: tuple[Family, ...]
    damaged: tuple[str, ...] = ()
    look: BuilderLook | None = None


class PageWanted(msgspec.Struct, frozen=True, tag=True):
    """The keeper is to render the status page of all processes together."""

    components: dict[str, str]
    intervals: tuple[Interval, ...]


class PageRendered(msgspec.Struct, frozen=True, tag=True):
    """It did."""

    page: str


Message = Task | PieceSent | ImageSent | BuilderLook | DamageFound | Started | Report | PageWanted | PageRendered


class Received(NamedTuple):
    """A message with the memory that came with it."""

    message: Message
    memory: Memory | None


class Channel:
    """One end; thread-safe as long as one thread receives."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self._decoder = msgspec.msgpack.Decoder(Message)

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Both ends."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(ours), cls(theirs)

    def send(self, message: Message, memory: Memory | None = None, *, wait: bool = True) -> None:
        """Send a message. Raises `BlockingIOError` if it cannot be taken now and is not to `wait`, and `OSError`."""
        content = msgspec.msgpack.encode(message)
        kind, attached = _SHORT, [] if memory is None else [memory]
        if len(content) > _LONGEST:
            kind, attached, content = _LONG, [_in_memory(content), *attached], b""
        descriptors = array.array("i", [each.descriptor for each in attached])
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)] if attached else []
        flags = socket.MSG_NOSIGNAL | (0 if wait else socket.MSG_DONTWAIT)
        self.socket.sendmsg([kind, content], ancillary, flags)

    def receive(self, *, wait: bool = True) -> Received | None:
        """The next message; None if the other end is gone.

        Raises `BlockingIOError` if there is none yet and it is not to `wait`.
        """
        room = socket.CMSG_SPACE(_DESCRIPTORS * array.array("i").itemsize)
        flags = socket.MSG_CMSG_CLOEXEC | (0 if wait else socket.MSG_DONTWAIT)
        try:
            content, ancillary, _, _ = self.socket.recvmsg(_LONGEST + 1, room, flags)
        except ConnectionError:
            return None
        if not content:
            return None
        descriptors = array.array("i")
        for _, _, data in ancillary:
            descriptors.frombytes(data)
        attached = [Memory(descriptor) for descriptor in descriptors]
        body = content[1:]
        if content[:1] == _LONG:
            first = attached.pop(0)
            body = os.pread(first.descriptor, first.size, 0)
        return Received(self._decoder.decode(body), attached[0] if attached else None)

    def close(self) -> None:
        """Close this end."""
        self.socket.close()


def _in_memory(content: bytes) -> Memory:
    memory = Memory(os.memfd_create("hashmatch-message", os.MFD_CLOEXEC))
    view = memoryview(content)
    while view:
        view = view[os.write(memory.descriptor, view) :]
    return memory
