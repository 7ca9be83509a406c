"""A child's way to its supervisor: what it is told, and what it tells."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection
from typing import Any, TypeVar

from hashmatch.index.refresher import Served
from hashmatch.index.shared_memory import Memory
from hashmatch.index.sharing import Image, Piece, Pieces, SharedSnapshots
from hashmatch.service.channel import Channel, ImageSent, Message, PieceSent, Report, Task
from hashmatch.service.logs import Event, get_logger

M = TypeVar("M")


class Link:
    """One child's. `store_url` is where the embedded store listens; an image that follows is for `take_images`."""

    def __init__(self, channel: Channel, task: Task) -> None:
        self.role = task.role
        self.store_url = task.store_url
        self._channel = channel
        self._handlers: dict[type[Any], Callable[[Any], None]] = {}
        self._pieces: Pieces | None = None
        self._offer: Callable[[Served], None] = lambda _: None
        self._first_image = threading.Event()
        if not task.has_image:
            self._first_image.set()

    def on(self, kind: type[M], handler: Callable[[M], None]) -> None:
        """Have a kind of messages handled, in a thread of the link's; before `listen`."""
        self._handlers[kind] = handler

    def take_images(self, pieces: Pieces, offer: Callable[[Served], None]) -> None:
        """Have what others share mapped and offered, in a thread of the link's; before `listen`."""
        self._pieces, self._offer = pieces, offer

    def listen(self, lost: Callable[[], object], offered: Callable[[], object]) -> None:
        """Begin. `lost` is called when the supervisor is gone, `offered` after each image."""
        threading.Thread(target=self._receive, args=(lost, offered), name="link", daemon=True).start()

    def wait_for_image(self) -> None:
        """Return once the image is there that the supervisor had when this child began, or at once without one."""
        self._first_image.wait()

    def sharing(self, pieces: Pieces) -> SharedSnapshots:
        """What hands snapshots to the other processes."""
        return SharedSnapshots(pieces, self._announce)

    def send(self, message: Message) -> None:
        """Tell the supervisor. One that is gone is noticed elsewhere."""
        with contextlib.suppress(OSError):
            self._channel.send(message)

    def report(self, report: Report) -> None:
        """Tell how this child is. A supervisor that does not listen must not hold it up, and misses the report."""
        with contextlib.suppress(OSError):
            self._channel.send(report, wait=False)

    def _announce(self, pieces: Collection[Piece], image: Image) -> None:
        with contextlib.suppress(OSError):
            for piece in pieces:
                self._channel.send(PieceSent(piece.piece_id), piece.memory)
            self._channel.send(ImageSent(image.piece_ids), image.memory)

    def _receive(self, lost: Callable[[], object], offered: Callable[[], object]) -> None:
        try:
            while (received := self._channel.receive()) is not None:
                message, memory = received
                if isinstance(message, PieceSent | ImageSent):
                    assert memory is not None
                    if self._take(message, memory):
                        offered()
                elif (handler := self._handlers.get(type(message))) is not None:
                    handler(message)
        except Exception as error:  # noqa: BLE001  whatever it is: a child that cannot be told anything must end
            # Its own words may hold anything.
            get_logger("server").error(Event.LINK_FAILED, why=type(error).__name__)
        finally:
            # Whoever waits for an image must not wait for ever.
            self._first_image.set()
            lost()

    def _take(self, message: PieceSent | ImageSent, memory: Memory) -> bool:
        """Map what came; returns whether it is an image."""
        assert self._pieces is not None
        if isinstance(message, PieceSent):
            self._pieces.map(Piece(message.piece_id, memory))
            return False
        served = self._pieces.load(Image(memory, message.piece_ids))
        self._pieces.keep(message.piece_ids)
        self._offer(served)
        self._first_image.set()
        return True
