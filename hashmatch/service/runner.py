"""The server as one thing that starts and stops: `main` and the tests run the same.

Starting goes from the leaves to the edge: data directory, store, key, tables, services, listeners. Stopping goes the
other way, and first of all says that it is not serving.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry

from hashmatch.index.loader import SnapshotLoader
from hashmatch.index.perceptual import indexes
from hashmatch.index.refresher import Refresher
from hashmatch.ingest.acts import Acts
from hashmatch.ingest.compaction import Collector, Compactor
from hashmatch.ingest.policies import Policies
from hashmatch.ingest.publisher import Publisher
from hashmatch.ingest.restoring import Restorer
from hashmatch.ingest.staging import Stager
from hashmatch.ingest.suppressor import Suppressor
from hashmatch.ingest.worker import StoreAccess
from hashmatch.matching.near import Nearness
from hashmatch.model.clock import Clock, SystemClock
from hashmatch.model.vetting import VettingPolicy
from hashmatch.service.addresses import parse_address
from hashmatch.service.admin_servicer import ListAdminServicer
from hashmatch.service.answering import Answering
from hashmatch.service.budgets import Budgets
from hashmatch.service.changes import Changes
from hashmatch.service.config import Config
from hashmatch.service.counted_audit import CountedAudit
from hashmatch.service.daily_counts import CountKeeper, DailyCounts
from hashmatch.service.data_directory import data_directory
from hashmatch.service.feeds import Feeds, feed_definitions
from hashmatch.service.health import Health
from hashmatch.service.importer import Importer
from hashmatch.service.list_servicer import ListServicer
from hashmatch.service.listeners import ADMIN_SERVICE, LIST_SERVICE, MATCH_SERVICE, POLICY_SERVICE, Listener, Listeners
from hashmatch.service.logs import Event, get_logger
from hashmatch.service.match_servicer import MatchServicer
from hashmatch.service.metrics import Metrics
from hashmatch.service.monitoring import Heartbeat, Monitoring
from hashmatch.service.policy_servicer import PolicyAdminServicer
from hashmatch.service.recent_rates import RecentRates
from hashmatch.service.searching import Searching
from hashmatch.service.secrets import sealing_secret
from hashmatch.service.status_page import StatusPage
from hashmatch.service.store_access import store_access
from hashmatch.service.upkeep import Following, Maintenance
from hashmatch.service.warm_up import warm_up
from hashmatch.store.archive import Archive
from hashmatch.store.counts import CountFiles
from hashmatch.store.embedded import EmbeddedValkey
from hashmatch.store.floor import EpochFloor
from hashmatch.store.sources import BlockCache
from hashmatch.store.store import Store
from hashmatch.trust.audit import AuditLog
from hashmatch.trust.counting import CountingKey
from hashmatch.trust.sealing import SealingKey
from hashmatch.version import VERSION

# Threads that confirm matches. They share the interpreter's lock: more would only get in each other's way.
_MATCHING_THREADS = 4
# Store operations of an importer carry a megabyte each, and nobody waits for an answer meanwhile.
_IMPORTER_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a running server listens, with the ports that a port of 0 became; empty where it does not."""

    matching: str
    administration: str
    metrics: str


class Runner:
    """One server."""

    def __init__(
        self, config: Config, *, clock: Clock | None = None, registry: CollectorRegistry | None = None
    ) -> None:
        """Nothing is opened yet. Every runner needs a registry of its own."""
        self._config = config
        self._clock = clock or SystemClock()
        self._logger = get_logger("server")
        self.metrics = Metrics(registry or CollectorRegistry(), clock=self._clock, version=VERSION)
        self.health = Health(
            ("store", "snapshot", "confirmed", "blocks"),
            {
                MATCH_SERVICE: ("snapshot",),
                LIST_SERVICE: ("snapshot",),
                ADMIN_SERVICE: ("store",),
                POLICY_SERVICE: ("store",),
            },
            gauge=self.metrics.ready,
            component_gauge=self.metrics.components,
            logger=self._logger,
        )
        self._ending = contextlib.AsyncExitStack()
        self.valkey: EmbeddedValkey | None = None
        self.addresses = Addresses("", "", "")

    async def start(self) -> None:
        """Start everything and listen. Whatever was started is stopped again if something fails."""
        try:
            await self._start()
        except BaseException:
            await self._ending.aclose()
            raise

    async def _start(self) -> None:
        config = self._config
        data_dir = data_directory(config)
        await asyncio.to_thread(warm_up)
        access = self._open_store_access(data_dir)
        archive = Archive(Path(access.archive)) if access.archive else None
        store = access.open(maximum_connections=config.store.maximum_connections)
        self._ending.callback(store.close)
        cache = BlockCache(config.matching.block_cache_bytes)
        floor = EpochFloor(data_dir / "epoch.json")
        resident = config.matching.blocks == "resident"
        refresher = Refresher(
            store.manifests,
            SnapshotLoader(
                store.segments,
                store.suppressions,
                cache,
                resident=resident,
                nearness=indexes(photodna=config.matching.photodna_maximum_distance > 0),
            ),
            floor,
            self._clock,
            maximum_unconfirmed_seconds=config.matching.maximum_unconfirmed_seconds,
        )
        changes = Changes(lambda: refresher.served)
        threads = min(_MATCHING_THREADS, config.store.maximum_connections)
        daily = DailyCounts(self._clock)
        answering = Answering(refresher, self._clock, self.metrics, daily, threads=threads)
        self._ending.callback(answering.close)
        if config.counts.enabled:
            files = CountFiles(data_dir / "counts") if config.server.admin_listen else None
            # Before the listeners, so that what is answered while they stop is counted.
            self._in_background(
                CountKeeper(daily, store.counts, files, config.counts, self._clock, self.metrics.counts_kept).run()
            )
        counting = CountingKey(SealingKey(access.sealing_key))
        interval = config.budgets.settle_interval
        budgets = Budgets(store.budgets, counting, self._clock, self.metrics, settle_interval=interval)
        self._in_background(budgets.run())
        searching = Searching(_limits(config), self._clock)
        self._ending.callback(searching.close)
        following = Following(
            refresher,
            store,
            cache,
            changes,
            self.health,
            self.metrics,
            self._clock,
            floor,
            poll_interval=config.store.poll_interval,
        )
        matching = MatchServicer(
            answering,
            searching,
            budgets,
            changes,
            maximum_items=config.server.maximum_batch_items,
            maximum_digests=config.server.maximum_bulk_digests,
        )
        lists = ListServicer(refresher, answering.permissions, self._clock)
        await self._listen(store, refresher, matching, lists, changes, following, floor, archive, access, data_dir)
        await following.look()
        self._in_background(following.run())
        if not config.tls.certificate_file:
            self._logger.warning(Event.NOBODY_AUTHENTICATED, why="no TLS: whoever reaches a port can take any name")
        # Entered last, so that it is the first thing that stopping does.
        self._ending.callback(self.health.shutdown)
        self._logger.info(
            Event.SERVER_STARTED,
            matching=self.addresses.matching,
            administration=self.addresses.administration,
            metrics=self.addresses.metrics,
            store="embedded" if config.store.embedded else "external",
            version=VERSION,
        )

    def _open_store_access(self, data_dir: Path) -> StoreAccess:
        store = self._config.store
        url = store.url
        if store.embedded:
            self.valkey = EmbeddedValkey(data_dir)
            self._ending.callback(self.valkey.stop)
            url = self.valkey.start()
        with_archive = store.archive and self._config.server.admin_listen
        archive = str(data_dir / "archive") if with_archive else ""
        return store_access(self._config, url, sealing_secret(self._config, data_dir), archive)

    async def _listen(
        self,
        store: Store,
        refresher: Refresher,
        matching: MatchServicer,
        lists: ListServicer,
        changes: Changes,
        following: Following,
        floor: EpochFloor,
        archive: Archive | None,
        access: StoreAccess,
        data_dir: Path,
    ) -> None:
        server = self._config.server
        listeners = Listeners(self._config, self.health, self.metrics, self._clock, get_logger("rpc"))
        self._ending.push_async_callback(listeners.stop)
        # Before the listeners stop, so that nobody watches a server that is about to go.
        self._ending.callback(changes.close)
        on_matching = await listeners.start_matching(matching, lists)
        on_administration: Listener | None = None
        if server.admin_listen:
            servicers = self._administration(store, floor, archive, access, data_dir, following)
            on_administration = await listeners.start_administration(*servicers)
        self.addresses = Addresses(
            on_matching.address,
            on_administration.address if on_administration else "",
            self._start_monitoring(refresher),
        )

    def _administration(
        self,
        store: Store,
        floor: EpochFloor,
        archive: Archive | None,
        access: StoreAccess,
        data_dir: Path,
        following: Following,
    ) -> tuple[ListAdminServicer, PolicyAdminServicer]:
        vetting = self._config.vetting
        policy = VettingPolicy(
            approvals_required=vetting.approvals_required,
            maximum_removed_fraction=vetting.maximum_removed_fraction,
            maximum_added_fraction=vetting.maximum_added_fraction,
            maximum_quarantined_fraction=vetting.maximum_quarantined_fraction,
            maximum_superseded_fraction=vetting.maximum_superseded_fraction,
            maximum_known_good_hashes=vetting.maximum_known_good_hashes,
            maximum_suppressed_hashes=vetting.maximum_suppressed_hashes,
            maximum_returned_entries=vetting.maximum_returned_entries,
            maximum_disputed_fraction=vetting.maximum_disputed_fraction,
            maximum_near_duplicate_fraction=vetting.maximum_near_duplicate_fraction,
            retained_generations=vetting.retained_generations,
            clock_skew_seconds=vetting.clock_skew_seconds,
        )
        if policy.approvals_required < 2:
            self._logger.warning(Event.POLICY_RELAXED, approvals_required=policy.approvals_required)
        audit = AuditLog(data_dir / "audit.jsonl", self._clock)
        self._ending.callback(audit.close)
        counted = CountedAudit(audit, self.metrics.audit_write_failures)
        acts = Acts(store, self._clock, policy, counted, floor)
        publisher = Publisher(acts)
        patient = msgspec.structs.replace(access, operation_timeout=_IMPORTER_TIMEOUT)
        # Feeds have an importer of their own: a first round takes hours, and must not keep operators out.
        importer, feed_importer = (
            Importer(
                Stager(store, self._clock, policy),
                patient,
                policy,
                get_logger("importer"),
                maximum_bytes=vetting.maximum_delivery_bytes,
            )
            for _ in range(2)
        )
        maintenance = Maintenance(
            acts,
            Compactor(store, self._clock, publisher),
            Collector(store, self._clock),
            Restorer(store, floor, archive) if archive is not None else None,
            following,
        )
        self._in_background(maintenance.run())
        feeds = Feeds(
            feed_definitions(self._config),
            store,
            feed_importer,
            publisher,
            self.metrics,
            self._clock,
            following.wake,
        )
        self._in_background(feeds.run())
        lists = ListAdminServicer(
            publisher, Suppressor(acts), importer, feeds, store.manifests, self.metrics, following.wake
        )
        return lists, PolicyAdminServicer(Policies(acts), self.metrics, following.wake)

    def _start_monitoring(self, refresher: Refresher) -> str:
        if not self._config.metrics.listen:
            return ""
        heartbeat = Heartbeat(self._clock)
        heartbeat.start()
        self._ending.callback(heartbeat.stop)
        recent = RecentRates(self.metrics, self._clock, match_service=MATCH_SERVICE)
        self._in_background(recent.run())
        page = StatusPage(
            self._config,
            readiness=self.health.readiness,
            served=lambda: refresher.served,
            recent=recent,
            clock=self._clock,
            version=VERSION,
        )
        monitoring = Monitoring(
            parse_address(self._config.metrics.listen),
            registry=self.metrics.registry,
            readiness=self.health.readiness,
            is_alive=heartbeat.is_alive,
            status=page.render,
        )
        monitoring.start()
        self._ending.callback(monitoring.stop)
        return str(monitoring.address)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)

        async def end() -> None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        self._ending.push_async_callback(end)

    async def stop(self) -> None:
        """Say that it is not serving, let calls finish, and stop everything."""
        await self._ending.aclose()
        self._logger.info(Event.SERVER_STOPPED)


def _limits(config: Config) -> Nearness:
    """How far and how long is searched."""
    matching = config.matching
    return Nearness(
        maximum_distance=matching.maximum_distance,
        photodna_distance=matching.photodna_maximum_distance,
        minimum_quality=matching.minimum_quality,
        work_limit=matching.search_work_limit,
        maximum_confirmed=matching.maximum_near_values,
    )
