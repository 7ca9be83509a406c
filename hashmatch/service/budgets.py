"""Holds clients to their budgets, all servers together, without asking the store at every batch.

A server has an allotment of each client's rate and spends it on its own; what it spent, it settles with the store in
the background, or when an allotment is used up. Distinct hashes and hits of the day are known as of the last
settlement, two intervals ago at most, and this server's own since then. So a client may overshoot by what other servers
answered within two intervals, and its rate by one batch on each server. See `docs/adr/0014-who-may-ask.md`.

While the store is away each server goes by the client's limits on its own, and settles once it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hashmatch.columns.placement import Words, as_words, packed_digests, placed_by
from hashmatch.model.access import DISTINCT, HITS, PROBING, RATE, Budget, Client
from hashmatch.model.algorithms import PERCEPTUAL_ALGORITHMS, Algorithm
from hashmatch.model.clock import Clock
from hashmatch.model.counts import day_of, seconds_left_of_day
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.service.logs import Event, get_logger
from hashmatch.service.metrics import Metrics
from hashmatch.store.budgets import BudgetStore, Settled, Settlement
from hashmatch.store.connection import StoreUnavailableError
from hashmatch.trust.counting import REGISTERS, CountingKey, DistinctSketch, NearDuplicates

# A client that probes is not answered about perceptual values for this long, by any server.
PROBING_PAUSE = 3_600.0
# How much of a burst a server may hold where the rate alone would make an allotment tiny.
_BURST_SHARE = 1 / 16
# How many registers are told at a time, so that the store is not held up.
_MOST_RAISED = 1_024
# How soon a client may come back whose allotment another server holds.
_SHORTEST_WAIT = 0.05


@dataclass(slots=True)
class _Account:
    """What this server knows of one client's budget."""

    budget: Budget
    day: str
    sketch: DistinctSketch
    tokens: float = 0.0
    wait: float = 0.0
    # When the store was last asked, and when the tokens were last filled up here because it was away.
    settled_at: float = -math.inf
    filled_at: float | None = None
    version: int = 0
    hits: int = 0
    unsettled_hits: int = 0
    paused_until: float = 0.0
    pause_to_tell: float = 0.0
    near: NearDuplicates | None = None
    known: bool = False
    dirty: bool = False
    told_of: set[str] = field(default_factory=set)
    settling: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def rate(self) -> float:
        return self.budget.hashes_per_second or 0.0

    @property
    def burst(self) -> float:
        return float(self.budget.burst or max(1.0, self.rate))


class Budgets:
    """The accounts of one server. Used from the event loop alone; the store is asked on threads."""

    def __init__(
        self, store: BudgetStore, key: CountingKey, clock: Clock, metrics: Metrics, *, settle_interval: float
    ) -> None:
        """`settle_interval` is in seconds."""
        self._store = store
        self._key = key
        self._clock = clock
        self._metrics = metrics
        self._interval = settle_interval
        self._logger = get_logger("budgets")
        self._accounts: dict[str, _Account] = {}
        self._away = False

    async def admit(
        self, client: Client | None, asked: Mapping[Algorithm, bytes | memoryview], frames: bytes = b""
    ) -> None:
        """Take what a batch asks for, packed by algorithm, out of the client's budget.

        `frames` are codes that stand for the videos in it, one for each: those of one video are like one another, and
        whoever probes with videos does so with many.

        Raises `HashmatchError` BUDGET_EXHAUSTED if there is not enough.
        """
        if client is None or client.budget.is_unlimited:
            return
        account = self._account(client)
        amount = sum(len(packed) // algorithm.digest_size for algorithm, packed in asked.items())
        if self._is_blind(account) or (account.rate and account.tokens < 1):
            # It goes on when the caller goes away: what was counted must not be lost on the way to the store.
            await asyncio.shield(asyncio.ensure_future(self._settle(client.name, account)))
        # What is spent from here on is in no settlement yet.
        account.dirty = True
        if account.rate and account.tokens < 1:
            raise self._exhausted(client.name, account, RATE, max(account.wait, _SHORTEST_WAIT))
        self._check_day(client.name, account)
        for algorithm, packed in asked.items():
            hashes = packed_digests(packed, algorithm.digest_size)
            if account.budget.distinct_hashes_per_day is not None:
                account.sketch.add(as_words(placed_by(algorithm, hashes)))
        if account.budget.near_duplicates is not None and not PERCEPTUAL_ALGORITHMS.isdisjoint(asked):
            codes = packed_digests(bytes(asked.get(Algorithm.PDQ, b"")) + frames, Algorithm.PDQ.digest_size)
            self._look_for_probing(client.name, account, as_words(codes))
        limit = account.budget.distinct_hashes_per_day
        if limit is not None and account.sketch.estimate > limit:
            raise self._exhausted(client.name, account, DISTINCT, self._left_of_day())
        if account.rate:
            # At the end: what another budget refuses is not asked.
            account.tokens -= amount

    def spend_hits(self, client: Client | None, hits: int) -> None:
        """Take the hits of an answer out of the budget before it is given.

        Raises `HashmatchError` BUDGET_EXHAUSTED if they are more than what is left, and takes that: whoever asks about
        one more than is left, and is refused, has learnt that all of them match.
        """
        if client is None or not hits or client.budget.hits_per_day is None:
            return
        account = self._account(client)
        left = max(0, client.budget.hits_per_day - account.hits - account.unsettled_hits)
        account.unsettled_hits += min(hits, left)
        account.dirty = True
        if hits > left:
            raise self._exhausted(client.name, account, HITS, self._left_of_day())

    def return_hits(self, client: Client | None, hits: int) -> None:
        """Give back the hits of an answer that was not given in the end, for a reason that is not the client's."""
        if client is None or not hits or client.budget.hits_per_day is None:
            return
        account = self._account(client)
        # Below zero where they were told to the store by now, which then takes them off.
        account.unsettled_hits -= hits
        account.dirty = True

    async def run(self) -> None:
        """Settle in the background until cancelled; then settle once more, and give back what was not spent."""
        try:
            while True:
                await asyncio.sleep(self._interval)
                await self._settle_all()
        finally:
            await asyncio.shield(self._give_back())

    async def _settle_all(self) -> None:
        dirty = [(name, account) for name, account in self._accounts.items() if account.dirty]
        if not dirty and self._away:
            # Somebody has to find out that the store is back.
            dirty = list(self._accounts.items())[:1]
        for name, account in dirty:
            # Cancelled on the way, it would be told once more at the end.
            await asyncio.shield(asyncio.ensure_future(self._settle(name, account)))

    async def _give_back(self) -> None:
        for name, account in self._accounts.items():
            async with account.settling:
                told = self._settlement(account, -account.tokens, 0.0, account.sketch.take_raised(REGISTERS))
                with contextlib.suppress(StoreUnavailableError):
                    await asyncio.to_thread(self._store.settle, name, told)

    async def _settle(self, name: str, account: _Account) -> None:
        """Tell the store what was spent, and be told what others did. Whoever comes meanwhile waits for the same."""
        if account.settling.locked():
            async with account.settling:
                return
        async with account.settling:
            account.dirty = False
            owed = max(0.0, -account.tokens)
            wanted = max(0.0, self._allotment(account) - max(0.0, account.tokens))
            raised = account.sketch.take_raised(_MOST_RAISED)
            told = self._settlement(account, owed, wanted, raised)
            account.settled_at = self._clock.monotonic()
            try:
                settled = await asyncio.to_thread(self._store.settle, name, told)
            except StoreUnavailableError:
                account.sketch.put_back(raised)
                account.dirty = True
                self._go_on_alone(account)
                return
            self._away = False
            self._metrics.budgets_settled.set(self._clock.now())
            self._take_over(name, account, told, settled)

    def _settlement(self, account: _Account, owed: float, wanted: float, raised: npt.NDArray[np.int64]) -> Settlement:
        ranks = account.sketch.registers[raised]
        return Settlement(
            day=account.day,
            rate=account.rate,
            burst=account.burst,
            owed=owed,
            wanted=wanted,
            hits=account.unsettled_hits,
            raised=tuple(zip(raised.tolist(), ranks.tolist(), strict=True)),
            version=account.version,
            pause_seconds=account.pause_to_tell,
        )

    def _take_over(self, name: str, account: _Account, told: Settlement, settled: Settled) -> None:
        # Batches went on meanwhile: what they spent is not in what was told.
        account.tokens += told.owed + settled.allotted
        account.wait = settled.wait
        account.filled_at = None
        account.unsettled_hits -= told.hits
        # Where the day has turned meanwhile, the rest is of the day before.
        if told.day == account.day:
            account.version = settled.version
            account.hits = settled.hits
            if settled.sketch is not None:
                others = np.zeros(REGISTERS, np.uint8)
                found = np.frombuffer(settled.sketch[:REGISTERS], np.uint8)
                others[: len(found)] = found
                account.sketch.merge(others)
        account.pause_to_tell = max(0.0, account.pause_to_tell - told.pause_seconds)
        if settled.pause:
            account.paused_until = max(account.paused_until, self._clock.monotonic() + settled.pause)
        account.known = True
        account.dirty = account.dirty or account.sketch.has_raised
        self._show(name, account)

    def _go_on_alone(self, account: _Account) -> None:
        """Fill the local bucket as if this were the only server."""
        if not self._away:
            self._away = True
            self._logger.warning(Event.BUDGETS_UNSETTLED)
        now = self._clock.monotonic()
        if not account.known:
            account.tokens, account.known = account.burst, True
        elif account.filled_at is not None:
            account.tokens = min(account.burst, account.tokens + (now - account.filled_at) * account.rate)
        account.filled_at = now
        account.wait = max(0.0, 1 - account.tokens) / account.rate if account.rate else 0.0

    def _is_blind(self, account: _Account) -> bool:
        """Whether what others spent was not looked at for too long."""
        return not account.known or self._clock.monotonic() - account.settled_at > 2 * self._interval

    def _allotment(self, account: _Account) -> float:
        """How many tokens this server wants to hold: what it may spend until the next settlement."""
        return max(1.0, account.rate * self._interval, account.burst * _BURST_SHARE)

    def _account(self, client: Client) -> _Account:
        today = day_of(self._clock.now())
        account = self._accounts.get(client.name)
        if account is None:
            account = _Account(client.budget, today, DistinctSketch(self._key))
            self._accounts[client.name] = account
        account.budget = client.budget
        if account.day != today:
            account.day, account.version, account.hits = today, 0, 0
            account.sketch = DistinctSketch(self._key)
            account.told_of.clear()
        return account

    def _check_day(self, name: str, account: _Account) -> None:
        """Refuse at once what is spent for the day, so that more is not even looked up."""
        limit = account.budget.hits_per_day
        if limit is not None and account.hits + account.unsettled_hits >= limit:
            raise self._exhausted(name, account, HITS, self._left_of_day())

    def _look_for_probing(self, name: str, account: _Account, codes: Words) -> None:
        now = self._clock.monotonic()
        if now < account.paused_until:
            raise self._exhausted(name, account, PROBING, account.paused_until - now)
        if account.near is None:
            account.near = NearDuplicates(self._key)
        limit = account.budget.near_duplicates
        if limit is not None and account.near.add(codes) >= limit:
            account.paused_until = now + PROBING_PAUSE
            account.pause_to_tell = PROBING_PAUSE
            account.near = None
            account.told_of.discard(PROBING)
            self._metrics.probing.labels(name).inc()
            raise self._exhausted(name, account, PROBING, PROBING_PAUSE)

    def _left_of_day(self) -> float:
        return seconds_left_of_day(self._clock.now())

    def _exhausted(self, name: str, account: _Account, budget: str, retry_after: float) -> HashmatchError:
        self._metrics.budget_exhausted.labels(name, budget).inc()
        # A rate is exceeded many times a second; the others stay exhausted for long, and once is enough.
        if budget != RATE and budget not in account.told_of:
            account.told_of.add(budget)
            self._logger.warning(Event.BUDGET_EXHAUSTED, client=name, budget=budget)
        return HashmatchError(
            ErrorReason.BUDGET_EXHAUSTED,
            f"the budget of {budget} is spent; this is no answer",
            metadata={"budget": budget},
            retry_after=retry_after,
        )

    def _show(self, name: str, account: _Account) -> None:
        budget = account.budget
        if budget.distinct_hashes_per_day is not None:
            spent = account.sketch.estimate / budget.distinct_hashes_per_day
            self._metrics.budget_spent.labels(name, DISTINCT).set(spent)
        if budget.hits_per_day is not None:
            spent = (account.hits + account.unsettled_hits) / budget.hits_per_day
            self._metrics.budget_spent.labels(name, HITS).set(spent)
