"""A server of several processes: workers that answer, and a keeper that builds their tables and administers.

The supervisor answers nobody about hashes. It starts the processes and starts them again when they end, runs the
embedded store, holds the newest tables for whoever starts later, and shows the whole as one to those who watch it. See
`docs/adr/0016-workers.md`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import errno
import signal
import socket
from collections.abc import Iterator

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from hashmatch.index.sharing import Image, Piece
from hashmatch.model.clock import Clock, SystemClock
from hashmatch.service.addresses import Address, parse_address
from hashmatch.service.channel import (
    BuilderLook,
    DamageFound,
    ImageSent,
    PageRendered,
    PageWanted,
    PieceSent,
    Received,
    Report,
    Role,
    Started,
)
from hashmatch.service.config import Config
from hashmatch.service.data_directory import data_directory
from hashmatch.service.listeners import MATCH_SERVICE, ListenError
from hashmatch.service.logs import Event, get_logger
from hashmatch.service.merged_metrics import MergedMetrics, counters, families
from hashmatch.service.monitoring import Heartbeat, Monitoring
from hashmatch.service.process import ChildError, allow_many_files
from hashmatch.service.recent_rates import RecentRates
from hashmatch.service.runner import REPORT_INTERVAL, Addresses, say_started
from hashmatch.service.secrets import sealing_secrets
from hashmatch.service.supervised import SharedImage, Supervised
from hashmatch.store.embedded import EmbeddedValkey

# A process that says nothing for so long, in seconds, is stuck: it is killed, and another one takes its place.
LONGEST_SILENCE = 30.0
# How long to wait before starting a process again that ends soon after its start: at first, and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
# A process that ran for so long was not ended by what it found at its start.
_RAN_WELL = 10.0
# What a process may need for its end beyond the grace for calls.
_STOP_PATIENCE = 30.0
_PAGE_PATIENCE = 5.0
_RUNNING, _WORKERS = "running", "workers"
_OWN = "supervisor"


class Supervisor:
    """One server with workers."""

    def __init__(self, config: Config, *, clock: Clock | None = None) -> None:
        """Nothing is opened yet. The configuration asks for two workers at least."""
        self._config = config
        self._clock = clock or SystemClock()
        self._logger = get_logger("supervisor")
        self._ending = contextlib.AsyncExitStack()
        self._store_url = config.store.url
        self._shared = SharedImage()
        self._keeper = Supervised(Role(0), self._heard)
        self._workers = [Supervised(Role(1 + number), self._heard) for number in range(config.server.workers)]
        self._stopping = False
        self._tasks: dict[Supervised, asyncio.Task[None]] = {}
        self._merged = MergedMetrics()
        self._pages: list[concurrent.futures.Future[str]] = []
        self._recent = RecentRates(lambda: counters(self._merged.merged(), MATCH_SERVICE), self._clock)
        self._registry = CollectorRegistry()
        self._own_registry = CollectorRegistry()
        ProcessCollector(registry=self._own_registry)
        self._running = Gauge("hashmatch_workers_running", "Workers that answer.", registry=self._own_registry)
        self._restarts = Counter(
            "hashmatch_process_restarts_total",
            "Processes of the server that ended and were started again.",
            ["process"],
            registry=self._own_registry,
        )
        self._registry.register(self._merged)
        self._registry.register(_CallsByProcess(self._merged))
        self.addresses = Addresses("", "", "")

    async def start(self) -> None:
        """Start everything and wait until it answers. Whatever was started is stopped again if something fails."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        config = self._config
        allow_many_files()
        data_dir = data_directory(config)
        # Made here where there is none, so that no two processes make one.
        sealing_secrets(config, data_dir)
        if config.store.embedded:
            valkey = EmbeddedValkey(data_dir)
            self._ending.callback(valkey.stop)
            self._store_url = valkey.start()
        reserved, address = _reserve(parse_address(config.server.listen))
        self._ending.callback(reserved.close)
        self._settle("listen", str(address))
        for child in self._children:
            self._restarts.labels(child.role.name)
        metrics = self._start_monitoring()
        # The first process compiles what the others then find compiled, and builds what they take over.
        await self._begin([self._keeper])
        await self._begin(self._workers)
        tending = asyncio.create_task(self._tend())
        self._ending.callback(tending.cancel)
        assert self._keeper.started is not None
        self.addresses = Addresses(str(address), self._keeper.started.administration, metrics)
        say_started(config, self.addresses, self._logger)

    async def stop(self) -> None:
        """Let the workers finish their calls, then the keeper, and stop everything."""
        self._stopping = True
        patience = self._config.server.grace_seconds + _STOP_PATIENCE
        for group in (self._workers, [self._keeper]):
            for child in group:
                child.send_signal(signal.SIGTERM)
            if running := [self._tasks[child] for child in group if child in self._tasks]:
                await asyncio.wait(running, timeout=patience)
                for child in group:
                    child.send_signal(signal.SIGKILL)
                await asyncio.gather(*running, return_exceptions=True)
        await self._ending.aclose()
        self._logger.info(Event.SERVER_STOPPED)

    def readiness(self) -> tuple[bool, dict[str, str]]:
        """Whether the server as a whole is ready, and for each component "ok" or what is wrong; from any thread."""
        components: dict[str, str] = {}
        at_work = [child for child in self._children if child.started is not None]
        for child in at_work:
            for component, state in (child.report.components if child.report is not None else {}).items():
                said = state if state == "ok" else f"{child.role.name}: {state}"
                if components.get(component, "ok") == "ok":
                    components[component] = said
        answering = sum(child.report is not None for child in at_work if not child.role.is_keeper)
        components[_WORKERS] = "ok" if answering else "none answers yet"
        components.setdefault("snapshot", "starting")
        if self._stopping:
            components[_RUNNING] = "stopping"
        return all(state == "ok" for state in components.values()), components

    @property
    def _children(self) -> list[Supervised]:
        return [self._keeper, *self._workers]

    def _settle(self, name: str, address: str) -> None:
        """Have processes that start from now on listen there, with the port that a port of 0 became."""
        server = msgspec.structs.replace(self._config.server, **{name: address})
        self._config = msgspec.structs.replace(self._config, server=server)

    async def _begin(self, children: list[Supervised]) -> None:
        """Have processes run, and wait until they are at work. Raises `ChildError` if one ends instead."""
        for child in children:
            self._tasks[child] = asyncio.create_task(self._keep_running(child))
        started = await asyncio.gather(*(child.until_started() for child in children))
        if not all(started):
            raise ChildError("it could not be started; what stands above says why")

    async def _keep_running(self, child: Supervised) -> None:
        loop, pause = asyncio.get_running_loop(), 0.0
        while not self._stopping:
            began = loop.time()
            was_started = await self._run_once(child)
            # One that never worked would not the next time either, and has said why.
            if not was_started and child.starts == 1:
                return
            if not self._stopping:
                self._restarts.labels(child.role.name).inc()
                ran_well = loop.time() - began > _RAN_WELL
                pause = 0.0 if ran_well else min(max(_FIRST_PAUSE, 2 * pause), _LONGEST_PAUSE)
                await asyncio.sleep(pause)

    async def _run_once(self, child: Supervised) -> bool:
        """Have a process run to its end; returns whether it was ever at work."""
        try:
            status: int | str = await child.run(self._config, self._store_url, self._shared)
        except OSError as error:
            status = f"it could not be started: {error.strerror}"
        was_started, child.started, child.report = child.started is not None, None, None
        self._merged.end(child.role.name)
        if not self._stopping:
            self._logger.error(Event.PROCESS_ENDED, role=child.role.name, status=status)
        return was_started

    def _heard(self, child: Supervised, received: Received) -> None:
        message, memory = received
        match message:
            case Started():
                self._logger.info(Event.PROCESS_STARTED, role=child.role.name, pid=child.pid)
                if child.role.is_keeper:
                    self._settle("admin_listen", message.administration)
            case PieceSent() if memory is not None:
                self._shared.add(Piece(message.piece_id, memory))
            case ImageSent() if memory is not None:
                image = Image(memory, message.piece_ids)
                self._shared.replace(image)
                child.knows(image)
                for worker in self._workers:
                    worker.take_over(self._shared)
            case Report():
                self._merged.update(child.role.name, message.families)
                if message.look is not None:
                    self._tell_workers(message.look)
                if message.damaged and not child.role.is_keeper:
                    self._keeper.tell(DamageFound(message.damaged))
            case PageRendered():
                for page in self._pages:
                    page.set_result(message.page)
                self._pages.clear()

    def _tell_workers(self, look: BuilderLook) -> None:
        for worker in self._workers:
            worker.tell(look)

    async def _tend(self) -> None:
        """Notice who says nothing any more, and tell of this process itself."""
        loop = asyncio.get_running_loop()
        last = loop.time()
        while True:
            await asyncio.sleep(REPORT_INTERVAL)
            now = loop.time()
            # After a pause of our own what others said meanwhile is not read yet.
            awake = now - last < LONGEST_SILENCE / 2
            last = now
            self._running.set(sum(worker.started is not None for worker in self._workers))
            self._merged.update(_OWN, families(self._own_registry))
            for child in self._children:
                if awake and child.started is not None and now - child.heard_at > LONGEST_SILENCE:
                    self._logger.error(Event.PROCESS_ENDED, role=child.role.name, why="it says nothing any more")
                    child.send_signal(signal.SIGKILL)

    def _start_monitoring(self) -> str:
        if not self._config.metrics.listen:
            return ""
        heartbeat = Heartbeat(self._clock)
        heartbeat.start()
        self._ending.callback(heartbeat.stop)
        rates = asyncio.create_task(self._recent.run())
        self._ending.callback(rates.cancel)
        loop = asyncio.get_running_loop()
        monitoring = Monitoring(
            parse_address(self._config.metrics.listen),
            registry=self._registry,
            readiness=self.readiness,
            is_alive=heartbeat.is_alive,
            status=lambda: self._status_page(loop),
        )
        monitoring.start()
        self._ending.callback(monitoring.stop)
        return str(monitoring.address)

    def _status_page(self, loop: asyncio.AbstractEventLoop) -> str:
        """What the keeper, which has the lists, makes of what all processes did; in a thread of the listener's."""
        page: concurrent.futures.Future[str] = concurrent.futures.Future()

        def ask() -> None:
            self._pages.append(page)
            self._keeper.tell(PageWanted(self.readiness()[1], self._recent.intervals()))

        loop.call_soon_threadsafe(ask)
        try:
            return page.result(_PAGE_PATIENCE)
        except TimeoutError:
            return "<!DOCTYPE html><title>hashmatch</title><p>The process that has the lists does not answer.</p>"


class _CallsByProcess(Collector):
    """How evenly connections lie on the workers, which is for the kernel to decide."""

    def __init__(self, merged: MergedMetrics) -> None:
        self._merged = merged

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        calls = CounterMetricFamily("hashmatch_process_calls", "Calls ended, by process.", labels=("process",))
        for process, count in sorted(self._merged.calls().items()):
            calls.add_metric((process,), count)
        yield calls


def _reserve(address: Address) -> tuple[socket.socket, Address]:
    """Hold a port for the workers to share, without listening on it. Raises `ListenError`."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    port = address.port
    try:
        # Sharing is between the workers: another server on the port is an error.
        with socket.socket(family) as alone:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind((address.host, port))
            port = alone.getsockname()[1]
        reserved = socket.socket(family)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((address.host, port))
    except OSError as error:
        why = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror
        raise ListenError(f"cannot listen on {address} for matching: {why}") from error
    return reserved, Address(host=address.host, port=port)
