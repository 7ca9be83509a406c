"""A body that publishes over HTTP, on a port of loopback: what all simulators share.

A test changes what the body holds, tells it how to fail, and looks at what it was asked. `truth` is what a list that
follows the body has to say.
"""

from __future__ import annotations

import hashlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple
from urllib.parse import parse_qsl, urlsplit


class Request(NamedTuple):
    """What was asked."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


class Reply(NamedTuple):
    """What is answered. With `cut` the connection ends after half of the body."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = MappingProxyType({})
    cut: bool = False


@dataclass
class Entry:
    """What the body holds of one entry."""

    number: int
    changed_at: float
    label: str
    digests: dict[str, bytes]
    withdrawn: bool = False


# Called before a request is answered: a reply takes the place of the answer.
Interference = Callable[[Request], Reply | None]


@dataclass
class Body(ABC):
    """Holds entries and answers.

    `page` is how many records a page has, `padding` how many blanks, `clock_skew` how far its clock is ahead of ours.
    """

    page: int = 10
    clock_skew: float = 0.0
    padding: int = 0
    clock: Callable[[], float] = time.time
    entries: dict[int, Entry] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    interfere: Interference | None = None

    # What the feed that reads it is called, and what its definition has besides; where its address begins, behind host
    # and port; what it knows us by, as the credentials file has it.
    kind: ClassVar[str]
    settings: ClassVar[str] = ""
    path: ClassVar[str] = ""
    credentials: ClassVar[str]
    algorithms: ClassVar[tuple[str, ...]] = ("md5",)

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self._last = 0.0
        self._forgotten: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}{self.path}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def now(self) -> float:
        return self.clock() + self.clock_skew

    # ---- what a test does

    def publish(self, count: int, *, label: str = "first", age: float = 86_400.0) -> None:
        """New entries, as old as stated; where they are old at all, some seconds apart."""
        with self._lock:
            for index in range(count):
                number = max(self.entries, default=0) + 1
                digests = {
                    name: hashlib.shake_128(b"%s %d" % (name.encode(), number)).digest(size)
                    for name, size in (("md5", 16), ("sha1", 20), ("sha256", 32))
                    if name in self.algorithms
                }
                self.entries[number] = Entry(number, self._tick() - age + (2.0 * index if age else 0.0), label, digests)

    def change(self, *numbers: int, label: str = "second") -> None:
        with self._lock:
            for number in numbers:
                self.entries[number].label = label
                self.entries[number].changed_at = self._tick()

    def withdraw(self, *numbers: int) -> None:
        with self._lock:
            for number in numbers:
                self.entries[number].withdrawn = True
                self.entries[number].changed_at = self._tick()

    def forget(self, *numbers: int) -> None:
        """Remove entries without a trace, as bodies do long after they were withdrawn."""
        with self._lock:
            for number in numbers:
                self._forgotten += self.entries.pop(number).digests.values()

    def _tick(self) -> float:
        """Now, never the same moment twice, and hardly later than now: nobody asks about the future."""
        self._last = max(self.now(), self._last + 1e-6)
        return self._last

    @property
    def truth(self) -> dict[bytes, str]:
        """Every digest that a list should have, with its label."""
        with self._lock:
            return {
                digest: self.label_of(entry)
                for entry in self.entries.values()
                if not entry.withdrawn
                for digest in entry.digests.values()
            }

    @property
    def digests(self) -> list[bytes]:
        """Every digest that there ever was."""
        return [*self._forgotten, *(digest for entry in self.entries.values() for digest in entry.digests.values())]

    def label_of(self, entry: Entry) -> str:
        """The label that a list should have for an entry."""
        return entry.label

    # ---- what it answers

    @abstractmethod
    def answer(self, request: Request) -> Reply:
        """The answer of a body in good health."""

    def handle(self, request: Request) -> Reply:
        with self._lock:
            self.requests.append(request)
        reply = self.interfere(request) if self.interfere is not None else None
        with self._lock:
            return reply or self.answer(request)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, body: Body) -> None:
        self.body = body
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length", 0))
        request = Request(
            self.command,
            parts.path,
            dict(parse_qsl(parts.query, keep_blank_values=True)),
            {name.lower(): value for name, value in self.headers.items()},
            self.rfile.read(length),
        )
        reply = self.server.body.handle(request)
        self.send_response_only(reply.status)
        headers = {"Date": formatdate(self.server.body.now(), usegmt=True), **reply.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body[: len(reply.body) // 2] if reply.cut else reply.body)
        if reply.cut:
            self.close_connection = True

    do_POST = do_PUT = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing."""
