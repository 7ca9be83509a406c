"""Gathers questions that are asked at the same time into few calls.

A question waits until the event loop comes round again, so that everything that is ready to be asked by then goes
along; while as many calls are under way as are allowed, it waits for one of them to end, and batches grow instead of
calls. Questions of different scope never share a call.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from hashmatch_client._batch import MAX_BATCH_FRAMES
from hashmatch_client._errors import HashmatchClientError
from hashmatch_client._hashes import Item, Scope
from hashmatch_client._options import Limits
from hashmatch_client._results import ItemAnswer


@dataclass(frozen=True, slots=True)
class Terms:
    """What questions must have in common to share a call."""

    scope: Scope
    timeout: float


Ask = Callable[[Sequence[Item], Terms], Awaitable[list[ItemAnswer]]]


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    item: Item
    answer: asyncio.Future[ItemAnswer]


class Batcher:
    """Asks by way of `ask`, at most `limits.batch_items` questions at a time and `limits.in_flight` times at once."""

    def __init__(self, ask: Ask, limits: Limits) -> None:
        self._ask = ask
        self._limits = limits
        self._waiting: dict[Terms, deque[_Question]] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._send_is_due = False
        self._is_closed = False

    async def answer(self, item: Item, terms: Terms) -> ItemAnswer:
        """The answer for `item`. Whoever stops waiting for it disturbs nobody who shares the call."""
        if self._is_closed:
            raise HashmatchClientError("the client is closed")
        loop = asyncio.get_running_loop()
        question = _Question(item, loop.create_future())
        self._waiting.setdefault(terms, deque()).append(question)
        if not self._send_is_due:
            self._send_is_due = True
            loop.call_soon(self._send)
        return await question.answer

    async def close(self) -> None:
        """Gives up what is under way; those who wait are told so."""
        self._is_closed = True
        waiting, self._waiting = self._waiting, {}
        for questions in waiting.values():
            _fail(questions, HashmatchClientError("the client was closed"))
        calls = list(self._calls)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    def _send(self) -> None:
        self._send_is_due = False
        while self._waiting and len(self._calls) < self._limits.in_flight:
            # The terms that were served go to the end, so that a flood under one scope does not starve the others.
            terms = next(iter(self._waiting))
            questions = self._waiting.pop(terms)
            batch = _take(questions, self._limits.batch_items)
            if questions:
                self._waiting[terms] = questions
            if batch:
                call = asyncio.get_running_loop().create_task(self._call(batch, terms))
                self._calls.add(call)
                call.add_done_callback(partial(self._ended, batch))

    def _ended(self, batch: Sequence[_Question], call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if call.cancelled():
            # Here and not in the call, which may have been cancelled before it began.
            _fail(batch, HashmatchClientError("the client was closed"))
        if not self._is_closed:
            self._send()

    async def _call(self, batch: list[_Question], terms: Terms) -> None:
        try:
            answers = await self._ask([question.item for question in batch], terms)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to those who wait
            _fail(batch, error)
        else:
            for question, answer in zip(batch, answers, strict=True):
                if not question.answer.done():
                    question.answer.set_result(answer)


def _take(questions: deque[_Question], most: int) -> list[_Question]:
    """Removes up to `most` questions that somebody still waits for, and all before them that nobody does."""
    taken: list[_Question] = []
    frames = 0
    while questions and len(taken) < most:
        frames += questions[0].item.frames
        if taken and frames > MAX_BATCH_FRAMES:
            break
        question = questions.popleft()
        if not question.answer.done():
            taken.append(question)
    return taken


def _fail(questions: Sequence[_Question] | deque[_Question], error: Exception) -> None:
    """Delivers `error` to each: a copy, for an exception that several tasks raise gathers the tracebacks of all."""
    for question in questions:
        if not question.answer.done():
            question.answer.set_exception(_copy_of(error))


def _copy_of(error: Exception) -> Exception:
    try:
        own = copy.copy(error)
    except Exception:  # noqa: BLE001 - not every class of errors can be copied, and somebody waits for this one
        return error
    own.__cause__ = error.__cause__
    return own
