"""The real server, as a child process that ends with the demonstration."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
from http.client import HTTPConnection, HTTPException
from types import TracebackType
from typing import Self

from deploy.demo.shell import DemoError, Shell

# Port 0 takes whatever port is free; the server says in its log which.
COMMAND = (
    "hashmatch-server --data-dir data"
    " --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 2> server.log"
)
_LOG = "server.log"
_START_PATIENCE = 120.0
_EPOCH_PATIENCE = 60.0
_STOP_PATIENCE = 30.0
_PAGE_PATIENCE = 5.0
_INTERVAL = 0.05
_LOG_TAIL_LINES = 15


class DemoServer:
    """A server in the shell's directory. Leaving the context stops it."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._log = shell.directory / _LOG
        self._process: subprocess.Popen[bytes] | None = None
        self.matching = self.administration = self._metrics = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            ["sh", "-c", f"exec {COMMAND}"],
            cwd=self._shell.directory,
            env=self._shell.environment,
            stdin=subprocess.DEVNULL,
            # A Ctrl-C at the terminal is for the demonstration, which then stops its server.
            start_new_session=True,
        )
        try:
            self._wait_until_started()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> int:
        """Stop the server, if it runs; returns its exit code."""
        process = self._process
        if process is None:
            return 0
        process.terminate()
        try:
            return process.wait(_STOP_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def check(self) -> None:
        """Raise `DemoError`, with the end of the log, if the server has ended."""
        if self._process is not None and self._process.poll() is not None:
            code = self._process.returncode
            raise DemoError(f"the server ended with exit code {code}; its last words were:\n{self._log_tail()}")

    def metrics(self) -> str:
        """The metrics page. Raises `DemoError`."""
        connection = HTTPConnection(self._metrics, timeout=_PAGE_PATIENCE)
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()
        except (HTTPException, OSError) as error:
            self.check()
            raise DemoError(f"{self.metrics_url} cannot be read: {error}") from error
        finally:
            connection.close()

    @property
    def metrics_url(self) -> str:
        """Where the metrics page is."""
        return f"http://{self._metrics}/metrics"

    def epoch(self) -> int:
        """The epoch that the server answers from."""
        found = re.search(r"^hashmatch_epoch (\S+)$", self.metrics(), re.MULTILINE)
        return int(float(found[1])) if found else 0

    def wait_for_epoch(self, epoch: int) -> None:
        """Wait until the server answers from `epoch`. Raises `DemoError`."""
        give_up = time.monotonic() + _EPOCH_PATIENCE
        while self.epoch() < epoch:
            self._wait(give_up, f"epoch {epoch} is not served after {_EPOCH_PATIENCE:.0f} s")

    def _wait_until_started(self) -> None:
        give_up = time.monotonic() + _START_PATIENCE
        while not self._read_addresses():
            self._wait(give_up, f"the server did not start within {_START_PATIENCE:.0f} s")

    def _wait(self, give_up: float, complaint: str) -> None:
        self.check()
        if time.monotonic() > give_up:
            raise DemoError(f"{complaint}; its last words were:\n{self._log_tail()}")
        time.sleep(_INTERVAL)

    def _read_addresses(self) -> bool:
        for line in self._log_lines():
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if event["event"] == "server-started":
                    self.matching = event["matching"]
                    self.administration = event["administration"]
                    self._metrics = event["metrics"]
                    return True
        return False

    def _log_lines(self) -> list[str]:
        try:
            return self._log.read_text("utf-8").splitlines()
        except FileNotFoundError:
            return []

    def _log_tail(self) -> str:
        return "\n".join(f"  {line}" for line in self._log_lines()[-_LOG_TAIL_LINES:]) or "  (nothing)"
