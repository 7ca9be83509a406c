"""Questions at a steady rate while something else goes on, and the longest that an answer took to come."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import grpc
import numpy as np

from bench.data import Digests, item
from bench.load import BatchMatch, said
from hashmatch.v1 import common_pb2

# Questions a second that each server is asked.
PER_SECOND = 100.0
_SHOWN_PROBLEMS = 5
# How many questions are made beforehand.
_QUESTIONS = 4_096

# The request of the n-th question, and whether what it asks about is listed.
Ask = Callable[[int], tuple[bytes, bool]]


def listed_and_not(listed: Digests) -> Ask:
    """Questions about listed and unlisted SHA-256 in turn."""
    rng = np.random.default_rng(7)
    made = [
        item(sha256=listed[rng.integers(len(listed))].tobytes() if number % 2 == 0 else rng.bytes(32))
        for number in range(_QUESTIONS)
    ]
    return lambda number: (made[number % _QUESTIONS], number % 2 == 0)


@dataclass(slots=True)
class Flow:
    """Questions to one server at moments that do not depend on the answers; every answer is checked.

    Times are in seconds. `slowest` is from when a question was sent to its answer; `gap` is the longest time in which
    no answer came at all; `late` is by how much the asking process itself missed a moment, which `gap` includes.
    """

    ask: BatchMatch
    question: Ask
    asked: int = 0
    failed: int = 0
    slowest: float = 0.0
    gap: float = 0.0
    late: float = 0.0
    problems: set[str] = field(default_factory=set)
    _epoch: int = 0
    _answered: float = 0.0

    @contextlib.asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Ask for as long as the context lasts, and wait for the last answers."""
        self._answered = time.perf_counter()
        asking = asyncio.create_task(self._run())
        try:
            yield
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    def forget_times(self) -> None:
        """Begin anew with the longest of each kind."""
        self.slowest = self.gap = self.late = 0.0

    async def _run(self) -> None:
        start, moment = time.perf_counter(), 0.0
        calls: set[asyncio.Task[None]] = set()
        try:
            for number in range(1 << 62):
                await asyncio.sleep(start + moment - time.perf_counter())
                self.late = max(self.late, time.perf_counter() - start - moment)
                call = asyncio.create_task(self._one(*self.question(number)))
                calls.add(call)
                call.add_done_callback(calls.discard)
                self.asked += 1
                moment += 1 / PER_SECOND
        finally:
            await asyncio.gather(*calls)

    async def _one(self, request: bytes, listed: bool) -> None:
        epoch, sent = self._epoch, time.perf_counter()
        try:
            response = await self.ask(request)
        except grpc.RpcError as error:
            self._fail(f"{error.code().name}: {error.details()}")
            return
        answered = time.perf_counter()
        self.slowest = max(self.slowest, answered - sent)
        self.gap = max(self.gap, answered - self._answered)
        self._answered = answered
        right = common_pb2.VERDICT_MATCH if listed else common_pb2.VERDICT_NO_KNOWN_MATCH
        if response.results[0].verdict != right:
            self._fail(f"{said(response)} for a {'listed' if listed else 'unlisted'} value")
        if response.snapshot.epoch < epoch:
            self._fail("the epoch went backwards")
        self._epoch = max(self._epoch, response.snapshot.epoch)

    def _fail(self, problem: str) -> None:
        self.failed += 1
        if len(self.problems) < _SHOWN_PROBLEMS:
            self.problems.add(problem)
