"""How acts of administration are done: on threads, one after the other, and to their end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.service.metrics import Metrics
from hashmatch.service.store_failures import store_errors
from hashmatch.store.segments import StoreDamagedError

T = TypeVar("T")


class Acting:
    """Does the acts of one server. Raises `HashmatchError`.

    `changed` is called after each act that took effect, `damaged` where one missed what the store should have,
    with the segment that lacks something, if it is one.
    """

    def __init__(self, metrics: Metrics, changed: Callable[[], None], damaged: Callable[[str], None]) -> None:
        self._metrics = metrics
        self._changed = changed
        self._damaged = damaged
        self._one_at_a_time = asyncio.Lock()

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what goes wrong below into what a caller can be told, and say where the store lacks something."""
        try:
            with store_errors():
                yield
        except HashmatchError as error:
            if error.reason is ErrorReason.STORE_DAMAGED:
                self._damaged(error.__cause__.segment_id if isinstance(error.__cause__, StoreDamagedError) else "")
            raise

    async def run(self, work: Callable[[], T]) -> T:
        """Have something done that changes nothing."""
        with self.errors():
            return await asyncio.to_thread(work)

    async def act(self, act: str, work: Callable[[], T], *, validate_only: bool = False) -> T:
        """Have an act done, which goes on when its caller goes away: half of one must not be left to chance.

        The next one begins when this one has ended, whether or not somebody still waits for it.
        """
        await self._one_at_a_time.acquire()
        doing = asyncio.ensure_future(self._do(act, work, validate_only=validate_only))
        doing.add_done_callback(lambda _: self._one_at_a_time.release())
        return await asyncio.shield(doing)

    async def _do(self, act: str, work: Callable[[], T], *, validate_only: bool) -> T:
        outcome = await self.run(work)
        if not validate_only:
            self._metrics.publishes.labels(act).inc()
            self._changed()
        return outcome
