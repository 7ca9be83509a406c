"""A server in a process of its own, as it is run in production: started by its entry point, stopped by signals."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hashmatch.service.runner import Addresses
from tests.integration.serving import TIMEOUT, Client
from tests.integration.waiting import eventually

# The first start on a machine compiles the kernels.
_START_PATIENCE = 120.0
_ROOT = Path(__file__).resolve().parents[2]
_ENTRY_POINT = (str(_ROOT / "server.py"),)


class ServerProcess:
    """One process, with its embedded store unless it is told of another. Its log is kept in a file."""

    def __init__(self, directory: Path, *, entry_point: Sequence[str] = _ENTRY_POINT, **settings: object) -> None:
        """`entry_point` is what Python is to run, with the settings behind it."""
        self._entry_point = entry_point
        self.data_dir = directory / "data"
        self.log_file = directory / "server.log"
        self._settings = {
            "server.listen": "127.0.0.1:0",
            "server.admin_listen": "127.0.0.1:0",
            "server.data_dir": str(self.data_dir),
            "metrics.listen": "127.0.0.1:0",
            "store.poll_interval": "0.05",
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._addresses: Addresses | None = None
        self._client: Client | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def addresses(self) -> Addresses:
        """Where it listens, once it has started."""
        assert self._addresses is not None
        return self._addresses

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        return self.log_file.read_text("utf-8")

    @property
    def events(self) -> list[dict[str, object]]:
        """The lines of the log so far. The last may be on its way."""
        complete, _, _ = self.log.rpartition("\n")
        return [json.loads(line) for line in complete.splitlines()]

    def start(self) -> Client:
        flags = [f"--set={key}={value}" for key, value in self._settings.items()]
        with self.log_file.open("ab") as log:
            before = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, *self._entry_point, *flags], cwd=_ROOT, stdout=log, stderr=log
            )

        def addresses() -> Addresses | None:
            assert self._process is not None
            assert self._process.poll() is None, f"the server ended: {self.log}"
            with self.log_file.open("rb") as log:
                log.seek(before)
                for line in log:
                    if b'"server-started"' in line:
                        told = json.loads(line)
                        return Addresses(told["matching"], told["administration"], told["metrics"])
            return None

        self._addresses = eventually(addresses, "the server starts", patience=_START_PATIENCE)
        self._client = Client(self._addresses)
        return self._client

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self) -> int:
        """The exit status, once it has ended."""
        assert self._process is not None
        return self._process.wait(TIMEOUT)

    def stop(self) -> None:
        """End it, whatever state it is in."""
        if self._client is not None:
            self._client.close()
            self._client = None
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
