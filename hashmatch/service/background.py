"""Work that goes on for as long as the server does, and is ended with it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from structlog.typing import FilteringBoundLogger

from hashmatch.service.logs import Event

# Starts such work.
InBackground = Callable[[Coroutine[Any, Any, None]], None]


class Background:
    """Runs work until `ending` is closed, and tells of what died before."""

    def __init__(self, ending: contextlib.AsyncExitStack, logger: FilteringBoundLogger) -> None:
        self._ending = ending
        self._logger = logger

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Start work; it is ended before what was entered into `ending` until now."""
        task = asyncio.create_task(work, name=getattr(work, "__qualname__", None))
        task.add_done_callback(self._tell_if_died)

        async def end() -> None:
            task.cancel()
            # What it died of was told when it did, and is none of those who stop.
            await asyncio.wait([task])

        self._ending.push_async_callback(end)

    def _tell_if_died(self, task: asyncio.Task[None]) -> None:
        """Log by what kind of error work ended, which nothing should have."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._logger.error(Event.TASK_DIED, task=task.get_name(), error=type(error).__name__)
