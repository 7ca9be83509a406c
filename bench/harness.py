"""The processes of a benchmark: a Valkey, servers and the echo on loopback, all of them children of this one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import grpc
import grpc.aio
import redis

from bench.lists import Administration
from hashmatch.store.embedded import EmbeddedValkey
from hashmatch.trust.sealing import generate_key_file

_ROOT = Path(__file__).resolve().parent.parent
# The very first start compiles kernels; a start on ten million entries reads all of them.
_START_PATIENCE = 300.0
_STOP_PATIENCE = 60.0
_POLL = 0.02
_LOG_TAIL_LINES = 20
_OF_A_CALL = b'"rpc-handled"'


class BenchmarkError(Exception):
    """A benchmark that measured nothing: a wrong answer, or a process that ended."""


class Child:
    """A process of our own, its output in a file."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self._process = process
        self._log = log
        # How many bytes of the log were read, and the events in them.
        self._read = 0
        self._known: list[dict[str, Any]] = []

    async def event(self, name: str, **having: Any) -> dict[str, Any]:
        """Wait for an event in its log. Raises `BenchmarkError` if it ends, or does not say so for too long."""
        give_up = time.monotonic() + _START_PATIENCE
        ended = False
        while not ended and time.monotonic() < give_up:
            ended = self._process.poll() is not None
            for event in self._events():
                if event.get("event") == name and having.items() <= event.items():
                    return event
            await asyncio.sleep(_POLL)
        tail = self._log.read_text("utf-8", errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        raise BenchmarkError("\n".join([f"{self.name} did not say {name}; its last words:", *tail]))

    def _events(self) -> list[dict[str, Any]]:
        """All but the lines of calls, of which there may be hundreds of thousands. What was read is not read again."""
        with self._log.open("rb") as log:
            log.seek(self._read)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                if _OF_A_CALL in line:
                    continue
                with contextlib.suppress(ValueError):
                    event = json.loads(line)
                    if isinstance(event, dict):
                        self._known.append(event)
        return self._known

    def errors(self) -> list[str]:
        """What it logged as an error, for whoever wonders why a call failed."""
        return [json.dumps(event) for event in self._events() if event.get("level") == "error"]

    def memory(self, measure: Literal["VmRSS", "VmHWM"]) -> int:
        """Its memory in bytes: what it has, or the most that it had."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text("utf-8").splitlines():
            if line.startswith(f"{measure}:"):
                return int(line.split()[1]) * 1024
        raise BenchmarkError(f"the memory of {self.name} is not to be seen")

    def processor_seconds(self) -> float:
        """The processor time that it and its own processes have taken so far, of all their threads."""
        return sum(processor_seconds(pid) for pid in self.processes().values())

    def processes(self) -> dict[str, int]:
        """Its processes by their role: itself and, of a server with workers, those that it started last."""
        found = {self.name: self._process.pid}
        for event in self._events():
            if event.get("event") == "process-started":
                found[event["role"]] = event["pid"]
        return found

    def stop(self) -> None:
        """Ask it to end, and end it if it does not."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: its process, a channel to MatchService, and its administration if it has one."""

    child: Child
    channel: grpc.aio.Channel
    administration: Administration | None
    # Where MatchService is, for further connections.
    address: str

    @property
    def lists(self) -> Administration:
        """Its administration."""
        assert self.administration is not None
        return self.administration


class Rig:
    """A directory and a Valkey, and what is started on them.

    The servers and the comparators share the one Valkey, which outlives a server that is started again with other
    settings.
    """

    def __init__(self, directory: Path, valkey: EmbeddedValkey) -> None:
        self.directory = directory
        self.redis = redis.Redis.from_url(valkey.url, protocol=3)
        self._url = valkey.url
        self._key_file = directory / "sealing.key"
        generate_key_file(self._key_file)
        self._servers = 0

    @property
    def conditions(self) -> dict[str, str]:
        """What a reader must know about the Valkey."""
        version, memory = self.redis.info("server"), self.redis.info("memory")
        return {"valkey": version["valkey_version"], "mem_allocator": memory["mem_allocator"]}

    async def settle(self) -> None:
        """Wait until Valkey does not rewrite its append-only file: that costs whoever is measured meanwhile."""
        while True:
            state = self.redis.info("persistence")
            if not (state["aof_rewrite_in_progress"] or state["aof_rewrite_scheduled"]):
                return
            await asyncio.sleep(_POLL)

    @contextlib.asynccontextmanager
    async def server(
        self,
        *,
        blocks: str = "store",
        cache_bytes: int | None = None,
        admin: bool = True,
        settings: Mapping[str, object] | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        store_url: str = "",
    ) -> AsyncIterator[Server]:
        """A server as a user starts it, once it is ready to answer; `credentials` are for those over TLS.

        Its store is the rig's Valkey, or that at `store_url`.
        """
        self._servers += 1
        name = f"server-{self._servers}"
        stated = {
            "sealing.key_file": self._key_file,
            "vetting.approvals_required": 0,
            # Whole lists are replaced by others of any size.
            "vetting.maximum_added_fraction": 1_000,
            "matching.blocks": blocks,
            **({} if cache_bytes is None else {"matching.block_cache_bytes": cache_bytes}),
            **(settings or {}),
        }
        command = [sys.executable, str(_ROOT / "server.py"), "--data-dir", str(self.directory / name)]
        command += ["--store-url", store_url or self._url, "--listen", "127.0.0.1:0", "--metrics-listen", ""]
        command += ["--admin-listen", "127.0.0.1:0" if admin else ""]
        for key, value in stated.items():
            command += ["--set", f"{key}={value}"]
        with self._child(name, command) as child:
            started = await child.event("server-started")
            async with contextlib.AsyncExitStack() as stack:
                channel = await stack.enter_async_context(connect(started["matching"], credentials))
                administration = None
                if admin:
                    to_admin = await stack.enter_async_context(connect(started["administration"]))
                    administration = Administration(to_admin)
                yield Server(child, channel, administration, started["matching"])

    @contextlib.asynccontextmanager
    async def echo(
        self, tls: Sequence[Path] = (), credentials: grpc.ChannelCredentials | None = None
    ) -> AsyncIterator[grpc.aio.Channel]:
        """A channel to a server that only reads and answers; over TLS with its certificate, key and authority."""
        async with self.echo_address(tls) as address, connect(address, credentials) as channel:
            yield channel

    @contextlib.asynccontextmanager
    async def echo_address(self, tls: Sequence[Path] = ()) -> AsyncIterator[str]:
        """Where such a server listens; each is a process of its own."""
        self._servers += 1
        with self._child(f"echo-{self._servers}", [sys.executable, "-m", "bench.echo", *map(str, tls)]) as child:
            yield (await child.event("echo-started"))["address"]

    @contextlib.contextmanager
    def _child(self, name: str, command: Sequence[str]) -> Iterator[Child]:
        # What the environment sets for a service of the reader's must not change what is measured.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HASHMATCH_")}
        log = self.directory / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=_ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        child = Child(name, process, log)
        try:
            yield child
        except Exception:
            for error in child.errors():
                print(f"{name}: {error}", file=sys.stderr)
            raise
        finally:
            child.stop()


@contextlib.asynccontextmanager
async def rig() -> AsyncIterator[Rig]:
    """A rig in a directory of its own. Nothing of it is left at the end."""
    with (
        tempfile.TemporaryDirectory(prefix="hashmatch-bench-") as directory,
        EmbeddedValkey(directory) as valkey,
    ):
        made = Rig(Path(directory), valkey)
        try:
            yield made
        finally:
            made.redis.close()


def processor_seconds(pid: int) -> float:
    """The processor time that a process has taken so far, of all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def connect(address: str, credentials: grpc.ChannelCredentials | None = None) -> grpc.aio.Channel:
    """A channel with a connection of its own."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    if credentials is not None:
        return grpc.aio.secure_channel(address, credentials, options=options)
    return grpc.aio.insecure_channel(address, options=options)
