"""Tells watchers on the event loop that a new snapshot is served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from hashmatch.index.refresher import Served


class Changes:
    """Wakes watchers. A watcher that is slow misses epochs in between and never the last one."""

    def __init__(self, served: Callable[[], Served | None]) -> None:
        self._served = served
        self._changed = asyncio.Event()
        self._closed = False

    def announce(self) -> None:
        """Wake the watchers; from the event loop."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def close(self) -> None:
        """End every watch, so that watchers do not hold up the end of the server."""
        self._closed = True
        self.announce()

    async def watch(self) -> AsyncIterator[Served]:
        """What is served, now and whenever it changed."""
        while not self._closed:
            # Taken before looking, so that a change in between is not missed.
            changed = self._changed
            served = self._served()
            if served is not None:
                yield served
            await changed.wait()
