"""The HTTP listener for those who watch the server: `/metrics`, `/healthz`, `/readyz`, `/startupz` and `/status`.

It runs in threads of its own, so that a scrape does not hold up calls and a busy event loop does not hold up a probe.
Liveness asks one thing, whether the event loop still turns: a server that cannot reach its store is alive, and
restarting it would only lose the tables that still answer. Readiness tells, component by component, what is missing.
Start-up is over once the tables are loaded, whatever else is missing, so that a prober that waits for it does not
restart a server that can answer. `/status` is for people.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from hashmatch.model.clock import Clock
from hashmatch.service.addresses import Address

# Scrapers and probes are few. More connections than this are somebody else's, and wait in the backlog.
_MAXIMUM_CONNECTIONS = 32
_CONNECTION_TIMEOUT = 10.0
_BEAT_INTERVAL = 1.0
# Long enough for any pause that a healthy server makes, short enough to end a deadlock before people notice.
_LONGEST_PAUSE = 30.0

# The component that is well from when the tables are first loaded.
_TABLES = "snapshot"

Readiness = Callable[[], tuple[bool, dict[str, str]]]


class Heartbeat:
    """Knows whether the event loop still turns. Start it from the loop; ask from any thread."""

    def __init__(self, clock: Clock, *, longest_pause: float = _LONGEST_PAUSE) -> None:
        self._clock = clock
        self._longest_pause = longest_pause
        self._last = clock.monotonic()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to beat on the running event loop."""
        self._last = self._clock.monotonic()
        self._timer = asyncio.get_running_loop().call_later(_BEAT_INTERVAL, self.start)

    def stop(self) -> None:
        """Beat no more."""
        if self._timer is not None:
            self._timer.cancel()

    def is_alive(self) -> bool:
        """Whether the loop turned lately."""
        return self._clock.monotonic() - self._last <= self._longest_pause


class Monitoring:
    """The HTTP listener. `readiness`, `is_alive` and `status` (an HTML document) are asked from other threads."""

    def __init__(
        self,
        address: Address,
        *,
        registry: CollectorRegistry,
        readiness: Readiness,
        is_alive: Callable[[], bool],
        status: Callable[[], str] | None = None,
    ) -> None:
        self._address = address
        self._pages = _Pages(registry, readiness, is_alive, status)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> Address:
        """Where it listens; after `start`, with the port that a port of 0 became."""
        if self._server is None:
            return self._address
        return Address(host=self._address.host, port=self._server.server_address[1])

    def start(self) -> None:
        """Listen. Raises `OSError` if the address cannot be had."""
        self._server = _Server(self._address, self._pages)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="monitoring", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop listening. Pages that are being sent are not waited for."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server = self._thread = None


class _Pages:
    """What each path answers: status, type and body."""

    def __init__(
        self,
        registry: CollectorRegistry,
        readiness: Readiness,
        is_alive: Callable[[], bool],
        status: Callable[[], str] | None,
    ) -> None:
        self._registry = registry
        self._readiness = readiness
        self._is_alive = is_alive
        self._status = status

    def get(self, path: str, accept: str) -> tuple[HTTPStatus, str, bytes]:
        match path:
            case "/metrics":
                encode, content_type = choose_encoder(accept)
                return HTTPStatus.OK, content_type, encode(self._registry)
            case "/healthz":
                alive = self._is_alive()
                return _text(alive, "alive" if alive else "the event loop does not turn")
            case "/readyz":
                ready, components = self._readiness()
                return _text(ready, "\n".join(f"{component}: {state}" for component, state in components.items()))
            case "/startupz":
                tables = self._readiness()[1].get(_TABLES, "ok")
                return _text(tables == "ok", f"{_TABLES}: {tables}")
            case "/status" if self._status is not None:
                return HTTPStatus.OK, "text/html; charset=utf-8", self._status().encode()
        return HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"/metrics /healthz /readyz /startupz /status\n"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    # Another server on the same port is an error, not a partner.
    allow_reuse_port = False

    def __init__(self, address: Address, pages: _Pages) -> None:
        self.address_family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        self.pages = pages
        self._free = threading.BoundedSemaphore(_MAXIMUM_CONNECTIONS)
        super().__init__((address.host, address.port), _Handler)

    def server_bind(self) -> None:
        # HTTPServer would look its own name up in the DNS here, which can take seconds and is used for nothing.
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._free.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A watcher that went away is nobody's concern."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _CONNECTION_TIMEOUT
    server_version = "hashmatch"
    sys_version = ""

    def do_GET(self) -> None:
        status, content_type, body = self.server.pages.get(self.path.partition("?")[0], self.headers.get("Accept", ""))
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Probes come every few seconds; none is worth a line."""


def _text(ok: bool, text: str) -> tuple[HTTPStatus, str, bytes]:
    status = HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE
    return status, "text/plain; charset=utf-8", f"{text}\n".encode()
