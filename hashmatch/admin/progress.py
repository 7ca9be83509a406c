"""What a terminal shows while a delivery is on its way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """Hears how a delivery gets on; from any thread."""

    def begin(self, what: str, total: int | None) -> None:
        """Something new begins, of that many bytes if that is known."""

    def advance(self, size: int) -> None:
        """So many more bytes are done."""


class Silent:
    """Shows nothing."""

    def begin(self, what: str, total: int | None) -> None:
        """Shows nothing."""

    def advance(self, size: int) -> None:
        """Shows nothing."""


@contextmanager
def progress(*, show: bool, no_color: bool) -> Iterator[Progress]:
    """A bar on standard error with rate and remaining time, while the context lasts and if it is to be shown."""
    if not show:
        yield Silent()
        return

    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bar

    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True, no_color=no_color or None, highlight=False),
        transient=True,
        # Standard output is for the result alone, also while the bar stands on standard error.
        redirect_stdout=False,
        redirect_stderr=False,
    )

    class Shown:
        def __init__(self) -> None:
            self._task = bar.add_task("connecting", total=None)

        def begin(self, what: str, total: int | None) -> None:
            bar.remove_task(self._task)
            self._task = bar.add_task(what, total=total)

        def advance(self, size: int) -> None:
            bar.advance(self._task, size)

    with bar:
        yield Shown()
