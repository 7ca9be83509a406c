"""Questions asked together share calls; nobody suffers for another."""

import asyncio

import pytest
from hashmatch_client import Algorithm, ApiError, Hash, HashmatchClientError, Item, Limits
from hashmatch_client._batcher import Batcher, Terms
from hashmatch_client._hashes import Scope

TERMS = Terms(Scope(), 5.0)


def item(number):
    return Item((Hash(Algorithm.MD5, number.to_bytes(16)),), str(number))


class Calls:
    """Answers with the reference of each item once it is let."""

    def __init__(self):
        self.made = []
        self.under_way = self.most_under_way = 0
        self.gate = asyncio.Event()
        self.error = None

    async def __call__(self, items, terms):
        self.made.append(([each.reference for each in items], terms))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.gate.wait()
        finally:
            self.under_way -= 1
        if self.error is not None:
            raise self.error
        return [each.reference for each in items]


@pytest.fixture
def calls():
    return Calls()


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_is_asked_together_goes_together_and_each_gets_its_own_answer(calls):
    batcher = Batcher(calls, Limits(batch_items=10))
    calls.gate.set()
    answers = await asyncio.gather(*(batcher.answer(item(n), TERMS) for n in range(25)))
    assert answers == [str(n) for n in range(25)]
    assert [len(items) for items, _ in calls.made] == [10, 10, 5]


async def test_different_terms_never_share_a_call(calls):
    batcher = Batcher(calls, Limits())
    calls.gate.set()
    terms = [Terms(Scope((name,)), timeout) for name in ("a", "b") for timeout in (1.0, 2.0)]
    await asyncio.gather(*(batcher.answer(item(n), terms[n % 4]) for n in range(40)))
    assert len(calls.made) == 4
    for items, asked in calls.made:
        assert {int(each) % 4 for each in items} == {terms.index(asked)}


async def test_calls_under_way_are_bounded_and_batches_grow_meanwhile(calls):
    batcher = Batcher(calls, Limits(batch_items=100, in_flight=2))
    asked = []
    for n in range(20):
        asked.append(asyncio.ensure_future(batcher.answer(item(n), TERMS)))
        await settle()
    assert [len(items) for items, _ in calls.made] == [1, 1]
    calls.gate.set()
    await asyncio.gather(*asked)
    assert [len(items) for items, _ in calls.made] == [1, 1, 18]
    assert calls.most_under_way == 2


async def test_a_flood_under_one_scope_does_not_starve_another(calls):
    batcher = Batcher(calls, Limits(batch_items=1, in_flight=1))
    flood = [asyncio.ensure_future(batcher.answer(item(n), TERMS)) for n in range(50)]
    await settle()
    other = asyncio.ensure_future(batcher.answer(item(99), Terms(Scope(("b",)), 5.0)))
    await settle()
    calls.gate.set()
    await asyncio.gather(other, *flood)
    assert [items for items, _ in calls.made].index(["99"]) <= 2


async def test_who_stops_waiting_disturbs_nobody(calls):
    batcher = Batcher(calls, Limits())
    asked = [asyncio.ensure_future(batcher.answer(item(n), TERMS)) for n in range(5)]
    await settle()
    asked[2].cancel()
    await settle()
    calls.gate.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(answers.pop(2), asyncio.CancelledError)
    assert answers == ["0", "1", "3", "4"]


async def test_who_gives_up_before_the_call_is_not_asked_about(calls):
    batcher = Batcher(calls, Limits(in_flight=1))
    first = asyncio.ensure_future(batcher.answer(item(0), TERMS))
    await settle()
    waiting = [asyncio.ensure_future(batcher.answer(item(n), TERMS)) for n in (1, 2)]
    await settle()
    waiting[0].cancel()
    await settle()
    calls.gate.set()
    assert await asyncio.gather(first, waiting[1]) == ["0", "2"]
    assert [items for items, _ in calls.made] == [["0"], ["2"]]


async def test_a_failure_reaches_every_waiter_as_its_own_exception(calls):
    batcher = Batcher(calls, Limits())
    calls.error = ApiError("no", reason="OVERLOADED", retry_delay=2.0, request_id="id")
    calls.gate.set()
    failures = await asyncio.gather(*(batcher.answer(item(n), TERMS) for n in range(3)), return_exceptions=True)
    assert {type(failure) for failure in failures} == {ApiError}
    assert len({id(failure) for failure in failures}) == 3
    assert {(f.reason, f.retry_delay, f.request_id) for f in failures} == {("OVERLOADED", 2.0, "id")}


async def test_closing_tells_all_who_wait(calls):
    batcher = Batcher(calls, Limits(in_flight=1, batch_items=1))
    asked = [asyncio.ensure_future(batcher.answer(item(n), TERMS)) for n in range(3)]
    await settle()
    await batcher.close()
    failures = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(failure) for failure in failures} == {HashmatchClientError}
    with pytest.raises(HashmatchClientError, match="closed"):
        await batcher.answer(item(9), TERMS)
    assert calls.under_way == 0


@pytest.mark.parametrize("steps", range(5))
async def test_whoever_waits_is_told_of_the_end_however_early_it_comes(calls, steps):
    """A call may be given up before its task has taken a first step."""
    batcher = Batcher(calls, Limits())
    waiting = asyncio.ensure_future(batcher.answer(item(1), TERMS))
    for _ in range(steps):
        await asyncio.sleep(0)
    await batcher.close()
    with pytest.raises(HashmatchClientError, match="closed"):
        await asyncio.wait_for(waiting, 30)


class UncopiableError(Exception):
    """Cannot be made from what it says."""

    def __init__(self, one, another):
        super().__init__(f"{one} {another}")


async def test_an_error_that_cannot_be_copied_reaches_who_waits(calls):
    batcher = Batcher(calls, Limits())
    calls.error = UncopiableError("this", "that")
    calls.gate.set()
    with pytest.raises(UncopiableError, match="this that"):
        await asyncio.wait_for(batcher.answer(item(1), TERMS), 30)
