"""Shows commands as a newcomer would type them, and runs exactly what it shows."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path


class DemoError(Exception):
    """The demonstration cannot go on; the message says why."""


class Shell:
    """Runs commands in one directory, with this environment's programs first on the path."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        # Settings of the person's own would point the commands elsewhere.
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("HASHMATCH_")}
        self.environment["PATH"] = os.pathsep.join(
            (str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))
        )
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def title(self, text: str) -> None:
        """Begin a chapter."""
        print(f"\n\n{self._bold(f'== {text}')}", flush=True)

    def say(self, text: str) -> None:
        """Explain what is seen."""
        print(text, flush=True)

    def show(self, command: str) -> None:
        """Show a command without running it."""
        print(f"\n{self._bold(f'$ {command}')}", flush=True)

    def export(self, variables: Mapping[str, str]) -> None:
        """Set variables for the commands that follow."""
        self.show("export " + " ".join(f"{name}={value}" for name, value in variables.items()))
        self.environment |= variables

    def run(self, command: str, *, expected: Collection[int] = (0,)) -> None:
        """Show a command and run it. Raises `DemoError` unless it exits with one of the `expected` codes."""
        self.show(command)
        code, _ = self._sh(command)
        if code not in expected:
            raise DemoError(f"`{command}` ended with exit code {code}")
        if code:
            print(f"(exit code {code})", flush=True)

    def read(self, command: str) -> str:
        """The output of a command that is not shown. Raises `DemoError` if it fails."""
        code, output = self._sh(command, stdout=subprocess.PIPE)
        if code:
            raise DemoError(f"`{command}` ended with exit code {code}")
        return output

    def _sh(self, command: str, *, stdout: int | None = None) -> tuple[int, str]:
        # In a group of its own, so that an interruption can end all that the command started.
        with subprocess.Popen(
            ["sh", "-c", command],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            text=True,
            process_group=0,
        ) as process:
            try:
                output, _ = process.communicate()
            except BaseException:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
                raise
        return process.returncode, output or ""

    def _bold(self, text: str) -> str:
        return f"\033[1m{text}\033[0m" if self._colour else text
