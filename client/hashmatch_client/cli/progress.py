"""What is said on standard error while a run goes on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from hashmatch_client.cli.text import counted, printable


class Progress(Protocol):
    """Hears of what was done, and says what went wrong."""

    def advance(self, items: int, weight: int) -> None:
        """So many more items are answered, of that weight in bytes."""

    def warn(self, text: str) -> None:
        """Says `text` on standard error."""


class Silent:
    """No bar; warnings are still said."""

    def advance(self, items: int, weight: int) -> None:
        """Shows nothing."""

    def warn(self, text: str) -> None:
        """Says `text`."""
        print(f"hashmatch: {printable(text)}", file=sys.stderr)


@contextmanager
def progress(*, show: bool, no_color: bool, total: Callable[[], int] | None) -> Iterator[Progress]:
    """A bar with rate and remaining time while the context lasts, if it is to be shown.

    `total` tells how many bytes there will be. It may take long: it is asked in a thread of its own, and the remaining
    time shows once it has answered.
    """
    if not show:
        yield Silent()
        return

    import threading

    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bar
    from rich.text import Text

    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True, no_color=no_color or None, highlight=False),
        transient=True,
        # Standard output is for the result alone, also while the bar stands on standard error.
        redirect_stdout=False,
        redirect_stderr=False,
    )
    task = bar.add_task("0 items", total=None)

    class Shown:
        def __init__(self) -> None:
            self._items = 0

        def advance(self, items: int, weight: int) -> None:
            self._items += items
            bar.update(task, advance=weight, description=counted(self._items, "item"))

        def warn(self, text: str) -> None:
            bar.console.print(Text(f"hashmatch: {printable(text)}"))

    if total is not None:
        threading.Thread(target=lambda: bar.update(task, total=total()), name="total", daemon=True).start()
    with bar:
        yield Shown()
