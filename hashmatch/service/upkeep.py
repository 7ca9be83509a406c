"""What goes on in the background: following the manifest and, with administration, keeping the store tidy."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from prometheus_client import Gauge

from hashmatch.index.refresher import Look, Outcome, Served, SnapshotFollower
from hashmatch.ingest.acts import Acts
from hashmatch.ingest.compaction import Collector, Compactor
from hashmatch.ingest.expiring import StagingExpiry
from hashmatch.ingest.proposals import Proposals
from hashmatch.ingest.resealing import Resealer, left_under_old_keys
from hashmatch.ingest.restoring import Restorer
from hashmatch.ingest.sweeping import ArchiveSweeper
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.clock import Clock
from hashmatch.model.errors import HashmatchError
from hashmatch.service.changes import Changes
from hashmatch.service.first_approvers import FirstApprovers
from hashmatch.service.health import Health
from hashmatch.service.logs import Event, get_logger
from hashmatch.service.metrics import ListSeries, Metrics
from hashmatch.service.store_rights import StoreRights
from hashmatch.store.archive import ArchiveError
from hashmatch.store.connection import StoreMisconfiguredError, StoreUnavailableError, Subscription
from hashmatch.store.floor import EpochFloor
from hashmatch.store.segments import StoreDamagedError
from hashmatch.store.sources import BlockCache
from hashmatch.store.store import Store
from hashmatch.trust.audit import AuditError

# How often the settings of the store, which an administrator may change at any time, are looked at; in seconds.
_SETTINGS_INTERVAL = 5.0
# How often damaged segments are looked at again; in seconds.
_DAMAGE_INTERVAL = 1.0
_MAINTENANCE_INTERVAL = 10.0
_RESTORE_INTERVAL = 1.0
_DAMAGED = frozenset((Outcome.EMPTY, Outcome.DAMAGED, Outcome.REFUSED))

T = TypeVar("T")


class Following:
    """Keeps the server on the current manifest, and health and metrics true to what came of it."""

    def __init__(
        self,
        refresher: SnapshotFollower,
        store: Store,
        cache: BlockCache,
        changes: Changes,
        health: Health,
        metrics: Metrics,
        clock: Clock,
        floor: EpochFloor,
        rights: StoreRights,
        *,
        poll_interval: float,
    ) -> None:
        self._refresher = refresher
        self._store = store
        self._cache = cache
        self._changes = changes
        self._health = health
        self._metrics = metrics
        self._clock = clock
        self._floor = floor
        self._rights = rights
        self._poll_interval = poll_interval
        self._logger = get_logger("store")
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="refresher")
        self._listener = ThreadPoolExecutor(1, thread_name_prefix="listener")
        self._last = Look(Outcome.EMPTY, "starting")
        # Why the store is not fit to be served from: what it may drop, and what its user may do.
        self._may_evict = ""
        self._refusal = ""
        self._settings_due = 0.0
        self._damage_due = 0.0
        self._cache_counts = (0, 0)
        self._told_of: set[str] = set()
        self._suspected = False
        # Segments that were found damaged, until the store has been told so.
        self._untold: set[str] = set()

    @property
    def last(self) -> Look:
        """How the last look at the store went."""
        return self._last

    @property
    def damaged(self) -> bool:
        """Whether the store is known to lack something."""
        return bool(self._cache.damaged) or self._last.outcome in _DAMAGED

    @property
    def suspected(self) -> bool:
        """Whether the store may lack something that nobody who is answered would notice."""
        return self._suspected

    def suspect(self, segment_id: str = "") -> None:
        """Say that the store may lack something, or that this segment is damaged."""
        self._suspected = True
        if segment_id:
            self._untold.add(segment_id)

    def clear(self) -> None:
        """Say that what was suspected is being seen to."""
        self._suspected = False

    @property
    def damaged_segments(self) -> frozenset[str]:
        """The segments of which a block was found missing or wrong."""
        return frozenset(self._cache.damaged)

    def wake(self) -> None:
        """Look at the store at once; from the event loop."""
        self._wake.set()

    async def run(self) -> None:
        """Follow until cancelled."""
        loop = asyncio.get_running_loop()
        stopping = asyncio.Event()
        listening = loop.run_in_executor(self._listener, self._listen, loop, stopping)
        try:
            while True:
                # Not `wait_for`: it may swallow a cancellation that comes together with a wake (Python before 3.12).
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_interval):
                        await self._wake.wait()
                self._wake.clear()
                await self.look()
                if await self._on_thread(self._rebase):
                    self._publish_state()
        finally:
            stopping.set()
            await asyncio.shield(listening)
            self._thread.shutdown()
            self._listener.shutdown()

    async def look(self) -> None:
        """Look at the store once."""
        before = self._refresher.served
        look = await self._on_thread(self._look)
        self._account(look, before, self._refresher.served)
        self._publish_state()

    def _look(self) -> Look:
        try:
            return self._look_at_store()
        except Exception:
            # Whatever it is, the next look may go well. A follower that has ended would never look again, and all that
            # is seen of it is that the snapshot grows old.
            self._logger.exception(Event.STORE_STATE, outcome=str(Outcome.DAMAGED))
            return Look(Outcome.DAMAGED, "the look at the store failed; the log has more")

    def _look_at_store(self) -> Look:
        now = self._clock.monotonic()
        look = self._refresher.refresh()
        if now >= self._settings_due:
            self._settings_due = now + _SETTINGS_INTERVAL
            try:
                self._refusal = self._rights.problem()
                self._store.connection.check_settings()
                self._may_evict = ""
            except StoreMisconfiguredError as error:
                self._may_evict = str(error)
            except StoreUnavailableError:
                self._settings_due = now
        if look.segment_id:
            self._untold.add(look.segment_id)
        if self._cache.damaged and now >= self._damage_due:
            self._damage_due = now + _DAMAGE_INTERVAL
            self._look_at_damage()
        self._tell_of_damage()
        return look

    def _tell_of_damage(self) -> None:
        """Tell other servers: the one that can put it back is often not the one that finds it."""
        untold, self._untold = self._untold, set()
        try:
            self._store.damage.add(untold)
        except StoreUnavailableError:
            self._untold |= untold

    def _look_at_damage(self) -> None:
        served = self._refresher.served
        sources = {} if served is None else served.snapshot.sources()
        for segment_id in list(self._cache.damaged):
            if segment_id in sources:
                try:
                    self._store.segments.open(sources[segment_id].info).verify()
                except StoreUnavailableError:
                    continue
                except StoreDamagedError as error:
                    if segment_id not in self._told_of:
                        self._told_of.add(segment_id)
                        self._untold.add(segment_id)
                        self._logger.error(Event.STORE_STATE, outcome="damaged", why=str(error), segment=segment_id)
                    continue
                self._told_of.discard(segment_id)
            self._cache.damaged.discard(segment_id)

    def _rebase(self) -> bool:
        try:
            return self._refresher.rebase()
        except (StoreUnavailableError, StoreDamagedError):
            return False
        except Exception:
            self._logger.exception(Event.STORE_STATE, outcome=str(Outcome.DAMAGED))
            return False

    def _account(self, look: Look, before: Served | None, after: Served | None) -> None:
        if (look.outcome, look.reason) != (self._last.outcome, self._last.reason) and not look.current:
            self._logger.warning(Event.STORE_STATE, outcome=str(look.outcome), why=look.why, reason=look.reason)
        if look.outcome in _DAMAGED:
            # What is well at the next look may have been made so by another server, which has not all that is missing.
            self._suspected = True
        if look.outcome is Outcome.REFUSED:
            self._metrics.manifest_refused.labels(look.reason).inc()
        if look.outcome in (Outcome.UNAVAILABLE, Outcome.DAMAGED):
            self._metrics.store_errors.labels(str(look.outcome)).inc()
        if look.outcome is Outcome.LOADED and after is not None:
            self._metrics.snapshot_load.observe(look.seconds)
            if before is None or before.snapshot.epoch != after.snapshot.epoch:
                self._logger.info(Event.SNAPSHOT_LOADED, epoch=after.snapshot.epoch, seconds=round(look.seconds, 3))
                self._changes.announce()
        self._last = look

    def _publish_state(self) -> None:
        look, served = self._last, self._refresher.served
        # An empty store is as it should be only as long as nothing was ever published in it.
        fresh = look.outcome is Outcome.EMPTY and not self._floor.highest()
        self._metrics.store_may_evict.set(bool(self._may_evict))
        misconfigured = self._may_evict or self._refusal
        self._health.set("store", (look.current or fresh) and not misconfigured, misconfigured or look.why)
        doubts = self._refresher.doubts() if served is not None else ()
        self._health.set("snapshot", fresh or served is not None, look.why)
        self._health.set("confirmed", not doubts, ", ".join(cause.reason.name for cause in doubts))
        self._health.set("blocks", not self._cache.damaged, "blocks are missing or do not verify")
        hits, misses = self._cache.hits, self._cache.misses
        self._metrics.block_cache_hits.inc(hits - self._cache_counts[0])
        self._metrics.block_cache_misses.inc(misses - self._cache_counts[1])
        self._cache_counts = (hits, misses)
        self._metrics.block_cache.set(self._cache.size_bytes)
        if served is None:
            return
        manifest = served.snapshot.manifest
        self._metrics.epoch.set(manifest.epoch)
        self._metrics.snapshot_confirmed.set(served.confirmed_at)
        self._metrics.approvals_required.set(manifest.approvals_required)
        self._metrics.approvals_signed.set(manifest.approvals_signed)
        self._metrics.show_policy(served.snapshot.policy)
        self._metrics.show_tables(served.snapshot.table_sizes())
        self._metrics.show_lists(
            ListSeries(
                list_id,
                {Algorithm(algorithm): count for algorithm, count in loaded.generation.counts.items()},
                loaded.generation.as_of,
                loaded.state.definition.max_age,
                loaded.state.definition.nature,
            )
            for list_id, loaded in served.snapshot.lists.items()
        )

    def _listen(self, loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> None:
        """Wait for hints that the manifest changed. Polling is the guarantee; this only makes it sooner."""
        subscription: Subscription | None = None
        while not stopping.is_set():
            try:
                if subscription is None:
                    subscription = self._store.connection.subscribe(self._store.keys.changed)
                if subscription.wait(self._poll_interval):
                    loop.call_soon_threadsafe(self._wake.set)
            except StoreUnavailableError:
                if subscription is not None:
                    subscription.close()
                subscription = None
                # The next attempt after the next look, which comes at the latest in one interval.
                asyncio.run_coroutine_threadsafe(asyncio.sleep(self._poll_interval), loop).result()
        if subscription is not None:
            subscription.close()

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


class Maintenance:
    """Renews, compacts, collects and restores; several servers may do so at once, and the manifest decides."""

    def __init__(
        self,
        acts: Acts,
        first_approvers: FirstApprovers,
        proposals: Proposals,
        compactor: Compactor,
        resealer: Resealer,
        under_old_keys: Gauge,
        expiry: StagingExpiry,
        collector: Collector,
        restorer: Restorer | None,
        sweeper: ArchiveSweeper | None,
        following: Following,
    ) -> None:
        self._acts = acts
        self._first_approvers = first_approvers
        self._proposals = proposals
        self._compactor = compactor
        self._resealer = resealer
        self._under_old_keys = under_old_keys
        self._expiry = expiry
        self._collector = collector
        self._restorer = restorer
        self._sweeper = sweeper
        self._following = following
        self._logger = get_logger("maintenance")

    async def run(self) -> None:
        """Work until cancelled."""
        rounds = round(_MAINTENANCE_INTERVAL / _RESTORE_INTERVAL)
        turn = 0
        while True:
            if not self._first_approvers.settled:
                await self._do("enrol", self._first_approvers.enrol)
            await asyncio.sleep(_RESTORE_INTERVAL)
            turn += 1
            if self._restorer is not None:
                await self._do("heal", self._restorer.heal, quietly=True)
                if self._following.damaged or self._following.suspected:
                    await self._restore(self._restorer)
            if turn % rounds == 0 and self._following.last.current:
                await self._do("renew", lambda: int(self._acts.renew()))
                await self._do("compact", self._compactor.compact)
                await self._do("reseal", self._reseal)
                await self._do("expire", self._expiry.expire)
                await self._do("collect", self._collector.collect)
                if self._sweeper is not None:
                    await self._do("sweep", self._sweeper.sweep)
                await self._do("forget", self._proposals.forget)

    def _reseal(self) -> int:
        done = self._resealer.reseal()
        self._under_old_keys.set(left_under_old_keys(self._acts.store))
        return done

    async def _restore(self, restorer: Restorer) -> None:
        # What comes to be suspected meanwhile is looked for in the next round.
        self._following.clear()
        if not await self._do("restore", partial(restorer.restore, self._following.damaged_segments)):
            self._following.suspect()

    async def _do(self, name: str, work: Callable[[], int], *, quietly: bool = False) -> bool:
        """Whether it could be done. `quietly` says nothing of a store that does not answer: others say it."""
        try:
            count = await asyncio.to_thread(work)
        except StoreUnavailableError as error:
            if not quietly:
                self._logger.warning(Event.MAINTENANCE_FAILED, work=name, why=str(error))
            return False
        except (StoreDamagedError, ArchiveError, AuditError, HashmatchError) as error:
            self._logger.warning(Event.MAINTENANCE_FAILED, work=name, why=str(error))
            return False
        except Exception:
            self._logger.exception(Event.MAINTENANCE_FAILED, work=name)
            return False
        if count:
            self._logger.info(Event.MAINTENANCE_DONE, work=name, count=count)
            self._following.wake()
        return True
