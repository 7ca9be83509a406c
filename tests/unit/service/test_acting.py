"""Acts are done one after the other, to their end, whoever still waits for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from hashmatch.service.acting import Acting
from hashmatch.service.metrics import Metrics
from tests.support.clock import ManualClock


@pytest.fixture
def done() -> list[str]:
    return []


@pytest.fixture
def acting(done: list[str]) -> Acting:
    return Acting(
        Metrics(CollectorRegistry(), clock=ManualClock(), version="0"), lambda: done.append("changed"), lambda _: None
    )


def held(done: list[str], begun: threading.Event, goes_on: threading.Event) -> Callable[[], None]:
    """Work that waits for `goes_on`."""

    def work() -> None:
        done.append("one begins")
        begun.set()
        assert goes_on.wait(30.0)
        done.append("one ends")

    return work


async def test_an_act_whose_caller_went_away_is_ended_before_the_next_begins(acting: Acting, done: list[str]):
    begun, goes_on = threading.Event(), threading.Event()
    one = asyncio.ensure_future(acting.act("approve", held(done, begun, goes_on)))
    await asyncio.to_thread(begun.wait, 30.0)
    one.cancel()
    two = asyncio.ensure_future(acting.act("discard", lambda: done.append("two")))
    with pytest.raises(asyncio.CancelledError):
        await one
    # As often as the next one would need to begin.
    for _ in range(100):
        await asyncio.sleep(0)
    assert done == ["one begins"]
    goes_on.set()
    await two
    assert done == ["one begins", "one ends", "changed", "two", "changed"]


async def test_an_act_whose_caller_went_away_before_it_began_is_not_done(acting: Acting, done: list[str]):
    begun, goes_on = threading.Event(), threading.Event()
    one = asyncio.ensure_future(acting.act("approve", held(done, begun, goes_on)))
    await asyncio.to_thread(begun.wait, 30.0)
    two = asyncio.ensure_future(acting.act("discard", lambda: done.append("two")))
    await asyncio.sleep(0)
    two.cancel()
    goes_on.set()
    await one
    with pytest.raises(asyncio.CancelledError):
        await two
    await acting.act("check", lambda: done.append("three"), validate_only=True)
    assert done == ["one begins", "one ends", "changed", "three"]


async def test_the_next_act_begins_after_one_that_failed(acting: Acting, done: list[str]):
    def fail() -> None:
        raise ValueError("a defect")

    with pytest.raises(ValueError, match="a defect"):
        await acting.act("approve", fail)
    await acting.act("discard", lambda: done.append("two"))
    assert done == ["two", "changed"]
