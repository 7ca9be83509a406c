"""A Valkey in a process of its own on a port of loopback, that can be harmed in every way that a process can be."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
from contextlib import closing
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from hashmatch.store.embedded import valkey_binary
from tests.integration.waiting import eventually

_PATIENCE = 60.0
_TIMEOUT = 10.0


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class StoreProcess:
    """One Valkey. Its port stays the same however often it is started.

    Every acknowledged write is on its disk: what it loses it loses by what a test does to it.
    """

    def __init__(self, directory: Path, **settings: str) -> None:
        self.directory = directory
        self.port = free_port()
        self.settings = {
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory-policy": "noeviction",
            "enable-debug-command": "local",
            "repl-diskless-sync-delay": "0",
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def client(self) -> redis.Redis:
        """A connection of one's own."""
        return redis.Redis(
            port=self.port, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT, retry=Retry(NoBackoff(), 0)
        )

    def start(self, *, wait: bool = True, **settings: str) -> None:
        """Start it; `settings` beside its own. Without `wait` it may still be loading."""
        self.directory.mkdir(exist_ok=True)
        pairs = {**self.settings, **{name.replace("_", "-"): value for name, value in settings.items()}}
        flags = [part for name, value in pairs.items() for part in (f"--{name}", value)]
        with (self.directory / "store.log").open("ab") as log:
            self._process = subprocess.Popen(
                [valkey_binary(), "--port", str(self.port), "--bind", "127.0.0.1", *flags],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Python ignores SIGXFSZ, and this lets the child inherit it: beyond a limit of file size a write fails,
                # as on a full disk, instead of killing the writer.
                restore_signals=False,
            )
        if wait:
            eventually(self.answers, "the store starts", patience=_PATIENCE)

    def answers(self) -> bool:
        """Whether it answers, and not that it is loading."""
        with closing(self.client()) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def set(self, **settings: str) -> None:
        """Change settings while it runs."""
        with closing(self.client()) as client:
            for name, value in settings.items():
                client.config_set(name.replace("_", "-"), value)

    def run(self, *command: str) -> object:
        """Whatever it answers to a command."""
        with closing(self.client()) as client:
            return client.execute_command(*command)

    def information(self, section: str = "persistence") -> bytes:
        """What INFO says, also while it is loading; nothing if it does not answer."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), _TIMEOUT) as connection:
                connection.sendall(f"INFO {section}\r\n".encode())
                return connection.recv(1 << 14)
        except OSError:
            return b""

    def rewrite(self) -> None:
        """Let its file hold key by key what it has."""
        before = set(self.directory.rglob("*.base.rdb"))
        self.run("BGREWRITEAOF")
        eventually(lambda: set(self.directory.rglob("*.base.rdb")) - before, "the file is rewritten")
        # Whatever it answers after that, it has noted the new file before, which a kill must not come between.
        self.run("PING")

    # ---- harm

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """As power does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def erase(self) -> None:
        """Remove its files, while it does not run."""
        shutil.rmtree(self.directory)
        self.directory.mkdir()

    def limit_files(self, size: int | None) -> None:
        """Let no file grow beyond `size` bytes, or let them again."""
        limit_files(self.pid, size)

    def stop(self) -> None:
        """End it, in whatever state it is."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


def limit_files(pid: int, size: int | None) -> None:
    """Let a process of ours write nothing beyond `size` bytes of any file: what a full disk is to it, without root."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY if size is None else size, hard))
