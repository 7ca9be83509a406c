"""Budgets: of all servers together, across restarts, without the store at every batch, and never spent in silence."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import redis
from prometheus_client import CollectorRegistry

from hashmatch.columns.placement import as_words, packed_digests, placed_by
from hashmatch.model.access import DISTINCT, HITS, PROBING, RATE, Budget, Client, Permission
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.counts import day_of
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.service.budgets import PROBING_PAUSE, Budgets
from hashmatch.service.metrics import Metrics
from hashmatch.store.budgets import BudgetStore, Settled, Settlement
from hashmatch.store.connection import Connection, StoreUnavailableError
from hashmatch.store.keys import Keys
from hashmatch.trust.counting import CountingKey, DistinctSketch
from hashmatch.trust.sealing import SealingKey
from tests.support.clock import ManualClock

SHA256, PDQ = Algorithm.SHA256, Algorithm.PDQ
# So slow that nothing comes back while a test runs: a hash in three years.
SLOW = 1e-8
DAY = "2027-01-15"


def digests(*numbers: int) -> bytes:
    return b"".join(hashlib.sha256(b"%d" % number).digest() for number in numbers)


def client(name: str = "uploads", **limits: Any) -> Client:
    return Client(name, (name,), Permission(), budget=Budget(**limits))


class Flaky:
    """A store that can be away."""

    def __init__(self, store: BudgetStore) -> None:
        self.store = store
        self.away = False
        self.settlements = 0

    def settle(self, name: str, told: Settlement) -> Any:
        self.settlements += 1
        if self.away:
            raise StoreUnavailableError("away")
        return self.store.settle(name, told)


@pytest.fixture
def shared(connection: Connection, sealing_key: SealingKey) -> Flaky:
    return Flaky(BudgetStore(connection, Keys("hashmatch"), sealing_key))


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


Start = Callable[[], Budgets]


@pytest.fixture
def start(shared: Flaky, sealing_key: SealingKey, clock: ManualClock) -> Start:
    """Starts servers on one store."""

    def start(registry: CollectorRegistry | None = None) -> Budgets:
        metrics = Metrics(registry or CollectorRegistry(), clock=clock, version="1")
        return Budgets(shared, CountingKey(sealing_key), clock, metrics, settle_interval=0.05)  # type: ignore[arg-type]

    return start


async def admitted(server: Budgets, who: Client, packed: bytes, algorithm: Algorithm = SHA256) -> bool:
    try:
        await server.admit(who, {algorithm: packed})
    except HashmatchError as error:
        if error.reason is not ErrorReason.BUDGET_EXHAUSTED or not error.retry_after:
            raise
        return False
    return True


async def refusal(server: Budgets, who: Client, packed: bytes, algorithm: Algorithm = SHA256) -> HashmatchError:
    with pytest.raises(HashmatchError) as caught:
        await server.admit(who, {algorithm: packed})
    assert caught.value.reason is ErrorReason.BUDGET_EXHAUSTED
    return caught.value


async def settle(*servers: Budgets) -> None:
    for server in servers:
        await server._settle_all()


async def stop(server: Budgets) -> None:
    """End it as the runner does."""
    running = asyncio.create_task(server.run())
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_two_servers_spend_one_burst_across_restarts(start: Start) -> None:
    who = client(hashes_per_second=SLOW, burst=100)
    servers = [start(), start()]
    spent = 0
    for number in range(40):
        spent += await admitted(servers[number % 2], who, digests(number))
    await stop(servers[0])
    servers[0] = start()
    for number in range(200):
        spent += await admitted(servers[number % 2], who, digests(number))
    for server in servers:
        await stop(server)
    servers = [start(), start()]
    for number in range(50):
        spent += await admitted(servers[number % 2], who, digests(number))
    assert spent == 100


async def test_a_batch_beyond_the_burst_is_owed_and_the_next_waits_for_it(start: Start, shared: Flaky) -> None:
    one, two = start(), start()
    who = client(hashes_per_second=100.0, burst=50)
    assert await admitted(one, who, digests(*range(1_050)))
    error = await refusal(one, who, digests(1))
    assert error.metadata == {"budget": RATE}
    assert error.retry_after == pytest.approx(10, abs=1)
    assert not await admitted(two, who, digests(1))


async def test_the_store_is_not_asked_at_every_batch(start: Start, shared: Flaky) -> None:
    server = start()
    who = client(hashes_per_second=1_000_000.0, burst=1_000_000, distinct_hashes_per_day=10**9, hits_per_day=10**9)
    for number in range(500):
        await server.admit(who, {SHA256: digests(number)})
        server.spend_hits(who, 1)
    assert shared.settlements == 1
    await settle(server)
    assert shared.settlements == 2


async def test_what_was_allotted_and_not_spent_is_given_back(start: Start) -> None:
    who = client(hashes_per_second=SLOW, burst=160)
    one, two = start(), start()
    assert await admitted(one, who, digests(1))
    await stop(one)
    spent = 0
    for number in range(200):
        spent += await admitted(two, who, digests(number))
    assert spent == 159


async def test_distinct_hashes_count_once_and_for_all_servers_together(start: Start, clock: ManualClock) -> None:
    who = client(distinct_hashes_per_day=1_000)
    one, two = start(), start()
    for _ in range(10):
        assert await admitted(one, who, digests(*range(600)))
    await settle(one)
    assert await admitted(two, who, digests(*range(600)))
    await settle(two)
    assert not await admitted(two, who, digests(*range(600, 1_200)))
    await settle(two)
    # After a while without a word a server asks before it answers.
    clock.advance(1.0)
    error = await refusal(one, who, digests(1))
    assert error.metadata == {"budget": DISTINCT}
    assert error.retry_after is not None
    assert error.retry_after <= 86_400
    assert not await admitted(start(), who, digests(1))


async def test_a_day_begins_anew(start: Start, clock: ManualClock) -> None:
    who = client(distinct_hashes_per_day=100, hits_per_day=5)
    one = start()
    assert not await admitted(one, who, digests(*range(300)))
    clock.advance(86_400.0)
    assert await admitted(one, who, digests(*range(50)))
    await settle(one)
    assert await admitted(start(), who, digests(1))


async def test_an_answer_with_more_hits_than_are_left_is_not_given_and_ends_the_day(start: Start) -> None:
    """Else whoever asks about one more than is left would learn, as often as they like, that all of them match."""
    who = client(hits_per_day=10)
    one, two = start(), start()
    assert await admitted(one, who, digests(1))
    one.spend_hits(who, 7)
    with pytest.raises(HashmatchError) as caught:
        one.spend_hits(who, 4)
    assert caught.value.metadata == {"budget": HITS}
    with pytest.raises(HashmatchError):
        one.spend_hits(who, 1)
    assert not await admitted(one, who, digests(1))
    await settle(one)
    assert (await refusal(two, who, digests(2))).metadata == {"budget": HITS}
    assert not await admitted(start(), who, digests(2))


async def test_hits_that_are_given_back_are_not_spent_also_where_the_store_was_told(start: Start) -> None:
    who = client(hits_per_day=10)
    one = start()
    assert await admitted(one, who, digests(1))
    one.spend_hits(who, 7)
    await settle(one)
    one.return_hits(who, 7)
    one.spend_hits(who, 4)
    await settle(one)
    other = start()
    assert await admitted(other, who, digests(1))
    other.spend_hits(who, 6)
    with pytest.raises(HashmatchError):
        other.spend_hits(who, 1)


@pytest.mark.parametrize("limits", [{"hits_per_day": 5}, {"distinct_hashes_per_day": 150}])
async def test_what_one_budget_refuses_is_not_charged_to_another(start: Start, limits: dict[str, int]) -> None:
    one = start()
    limited = client(hashes_per_second=SLOW, burst=1_000, **limits)
    assert await admitted(one, limited, digests(*range(100)))
    if limited.budget.hits_per_day is not None:
        with pytest.raises(HashmatchError):
            one.spend_hits(limited, 6)
    for _ in range(20):
        assert not await admitted(one, limited, digests(*range(100, 200)))
    # The same client as of a policy that limits nothing else: all but the first hundred are there.
    generous = client(hashes_per_second=SLOW, burst=1_000)
    for _ in range(9):
        assert await admitted(one, generous, digests(*range(100)))
    assert not await admitted(one, generous, digests(1))


async def test_what_is_spent_right_after_a_settlement_is_told_by_the_next_one(start: Start) -> None:
    who = client(distinct_hashes_per_day=100)
    one = start()
    # The first batch of a client waits for a settlement; nobody asks here after it.
    assert not await admitted(one, who, digests(*range(300)))
    await one._settle_all()
    assert not await admitted(start(), who, digests(1))


async def test_what_is_being_told_when_a_server_stops_is_told_once(
    start: Start, clock: ManualClock, shared: Flaky
) -> None:
    who = client(hits_per_day=1_000)
    one = start()
    await one.admit(who, {SHA256: digests(1)})
    one.spend_hits(who, 7)
    settle_in_store = shared.settle
    in_store, goes_on = threading.Event(), threading.Event()

    def slowly(name: str, told: Settlement) -> Settled:
        settled = settle_in_store(name, told)
        in_store.set()
        assert goes_on.wait(30.0)
        return settled

    with pytest.MonkeyPatch.context() as stopping:
        stopping.setattr(shared, "settle", slowly)
        running = asyncio.create_task(one.run())
        await asyncio.to_thread(in_store.wait, 30.0)
        running.cancel()
        await asyncio.sleep(0)
        goes_on.set()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert settle_in_store(who.name, Settlement(day=day_of(clock.now()), rate=0.0)).hits == 7


async def test_what_was_settled_while_the_day_turned_is_not_of_the_new_day(
    start: Start, clock: ManualClock, shared: Flaky
) -> None:
    who = client(distinct_hashes_per_day=100, hits_per_day=5)
    one = start()
    assert not await admitted(one, who, digests(*range(300)))
    settle_in_store = shared.settle

    def slowly(name: str, told: Settlement) -> Settled:
        settled = settle_in_store(name, told)
        clock.advance(86_400.0)
        one._account(who)
        return settled

    with pytest.MonkeyPatch.context() as turning:
        turning.setattr(shared, "settle", slowly)
        one._account(who).dirty = True
        await one._settle_all()
    assert await admitted(one, who, digests(1))


def neighbours(count: int, distance: int) -> bytes:
    random = np.random.default_rng(7)
    bits = np.repeat(random.integers(0, 2, (1, 256), np.uint8), count, axis=0)
    for row in bits:
        row[random.choice(256, distance, replace=False)] ^= 1
    return np.packbits(bits).tobytes()


@pytest.mark.parametrize("distance", [2, 16, 31])
async def test_probing_with_ten_thousand_neighbours_pauses_a_client_on_every_server(
    start: Start, clock: ManualClock, valkey: redis.Redis, distance: int
) -> None:
    who = client(near_duplicates=100)
    one, two = start(), start()
    probes = neighbours(10_000, distance)
    answered = 0
    for low in range(0, len(probes), 32 * 50):
        if not await admitted(one, who, probes[low : low + 32 * 50], PDQ):
            break
        answered += 50
    assert answered < 5_000
    error = await refusal(one, who, neighbours(1, 3), PDQ)
    assert error.metadata == {"budget": PROBING}
    assert error.retry_after == pytest.approx(PROBING_PAUSE, abs=5)
    assert await admitted(one, who, digests(1))
    await settle(one)
    assert not await admitted(two, who, neighbours(1, 3), PDQ)
    # The store goes by its own clock, which cannot be moved.
    valkey.flushall()
    clock.advance(PROBING_PAUSE + 1)
    assert await admitted(one, who, neighbours(1, 3), PDQ)


async def test_while_the_store_is_away_each_server_goes_by_the_limits_alone(start: Start, shared: Flaky) -> None:
    who = client(hashes_per_second=SLOW, burst=20, hits_per_day=5)
    one, two = start(), start()
    shared.away = True
    spent = [0, 0]
    for number in range(60):
        for index, server in enumerate((one, two)):
            spent[index] += await admitted(server, who, digests(number))
    assert spent == [20, 20]
    one.spend_hits(who, 5)
    assert not await admitted(one, who, digests(1))
    shared.away = False
    await settle(one, two)
    late = start()
    assert not await admitted(late, who, digests(1))


async def test_clients_have_budgets_of_their_own(start: Start) -> None:
    one = start()
    for name in ("uploads", "rescan"):
        who = client(name, hashes_per_second=SLOW, burst=3)
        assert [await admitted(one, who, digests(number)) for number in range(5)] == [True] * 3 + [False] * 2
    unlimited = client("analysts")
    assert all([await admitted(one, unlimited, digests(number)) for number in range(50)])


async def test_what_is_refused_is_counted(start: Callable[..., Budgets], registry: CollectorRegistry) -> None:
    one = start(registry)
    who = client(hits_per_day=1)
    await one.admit(who, {SHA256: digests(1)})
    one.spend_hits(who, 1)
    await refusal(one, who, digests(2))
    await settle(one)
    value = registry.get_sample_value
    assert value("hashmatch_budget_exhausted_total", {"client": "uploads", "budget": HITS}) == 1
    assert value("hashmatch_budget_spent_ratio", {"client": "uploads", "budget": HITS}) == 1


async def test_the_store_learns_no_hash(start: Start, valkey: redis.Redis) -> None:
    one = start()
    who = client(distinct_hashes_per_day=10**6)
    asked = digests(*range(100))
    await one.admit(who, {SHA256: asked})
    await settle(one)
    everything = b""
    for key in valkey.keys("*"):
        kind = valkey.type(key)
        everything += key + (valkey.get(key) if kind == b"string" else b"".join(valkey.hvals(key)))
    assert b"uploads" not in everything
    for number in range(100):
        digest = digests(number)
        assert not any(digest[at : at + 4] in everything for at in range(0, 32, 4))


async def test_the_sketch_in_the_store_is_the_union_of_what_servers_raised(
    shared: Flaky, sealing_key: SealingKey
) -> None:
    key = CountingKey(sealing_key)
    sketches = [DistinctSketch(key), DistinctSketch(key)]
    for number, sketch in enumerate(sketches):
        hashes = packed_digests(digests(*range(number * 400, number * 400 + 700)), 32)
        sketch.add(as_words(placed_by(SHA256, hashes)))
        raised = sketch.take_raised(4_096)
        told = zip(raised.tolist(), sketch.registers[raised].tolist(), strict=True)
        settled = shared.settle("uploads", Settlement(day=DAY, raised=tuple(told), version=0))
    assert settled.sketch is not None
    found = np.zeros(4_096, np.uint8)
    kept = np.frombuffer(settled.sketch, np.uint8)
    found[: len(kept)] = kept
    assert np.array_equal(found, np.maximum(sketches[0].registers, sketches[1].registers))
