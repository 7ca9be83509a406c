"""A server whose clock is wrong by as many seconds as a file says; it monitors nothing else differently.

python -m tests.faults.harness.clocked FILE [--set=...]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from hashmatch.service.main import main


class FileClock:
    """The machine's clock, ahead by what a file says at the moment; the monotonic one is what it always was."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def now(self) -> float:
        """Seconds since 1970-01-01 UTC, as this machine believes."""
        return time.time() + float(self._file.read_text("ascii"))

    def monotonic(self) -> float:
        """Seconds since some fixed moment."""
        return time.monotonic()


if __name__ == "__main__":
    sys.exit(main(sys.argv[2:], clock=FileClock(Path(sys.argv[1]))))
