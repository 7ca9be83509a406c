"""The server as one thing that starts and stops: `main` and the tests run the same.

Starting goes from the leaves to the edge: data directory, store, key, tables, services, listeners. Stopping goes the
other way, and first of all says that it is not serving.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
from prometheus_client import CollectorRegistry
from structlog.typing import FilteringBoundLogger

from hashmatch.index.loader import SnapshotLoader
from hashmatch.index.mapped import MappedRefresher
from hashmatch.index.perceptual import indexes
from hashmatch.index.refresher import Look, Refresher, SnapshotFollower
from hashmatch.index.sharing import Pieces
from hashmatch.ingest.acts import Acts
from hashmatch.ingest.approvers import Approvers
from hashmatch.ingest.compaction import Collector, Compactor
from hashmatch.ingest.expiring import StagingExpiry
from hashmatch.ingest.policies import Policies
from hashmatch.ingest.proposals import Proposals
from hashmatch.ingest.publisher import Publisher
from hashmatch.ingest.resealing import Resealer
from hashmatch.ingest.restoring import Restorer
from hashmatch.ingest.staging import Stager
from hashmatch.ingest.suppressor import Suppressor
from hashmatch.ingest.sweeping import ArchiveSweeper
from hashmatch.ingest.worker import StoreAccess
from hashmatch.model.clock import Clock, SystemClock
from hashmatch.model.vetting import VettingPolicy
from hashmatch.service.acting import Acting
from hashmatch.service.addresses import parse_address
from hashmatch.service.admin_servicer import ListAdminServicer
from hashmatch.service.answering import Answering
from hashmatch.service.approval_servicer import ApprovalServicer
from hashmatch.service.background import Background
from hashmatch.service.budgets import Budgets
from hashmatch.service.changes import Changes
from hashmatch.service.channel import BuilderLook, DamageFound, PageRendered, PageWanted, Report, Started
from hashmatch.service.checkpointing import ACTS_LOG
from hashmatch.service.config import Config
from hashmatch.service.counted_audit import CountedAudit
from hashmatch.service.daily_counts import CountKeeper, DailyCounts
from hashmatch.service.data_directory import data_directory
from hashmatch.service.feedback import FeedbackDesk
from hashmatch.service.feedback_servicer import FeedbackAdminServicer
from hashmatch.service.feeds import Feeds, feed_definitions
from hashmatch.service.first_approvers import FirstApprovers
from hashmatch.service.flood_servicer import FloodAdminServicer
from hashmatch.service.floods import FloodGuard
from hashmatch.service.health import Health
from hashmatch.service.importer import Importer
from hashmatch.service.link import Link
from hashmatch.service.list_servicer import ListServicer
from hashmatch.service.listeners import (
    ADMIN_SERVICE,
    APPROVAL_SERVICE,
    FEEDBACK_SERVICE,
    FLOOD_SERVICE,
    LIST_SERVICE,
    MATCH_SERVICE,
    POLICY_SERVICE,
    Listeners,
)
from hashmatch.service.logs import Event, get_logger
from hashmatch.service.match_servicer import MatchServicer
from hashmatch.service.merged_metrics import families
from hashmatch.service.metrics import Metrics
from hashmatch.service.monitoring import Heartbeat, Monitoring
from hashmatch.service.planned_acts import ActPlanner
from hashmatch.service.policy_servicer import PolicyAdminServicer
from hashmatch.service.proving import Proving
from hashmatch.service.recent_rates import RecentRates, counters_of
from hashmatch.service.searching import Searching, search_limits
from hashmatch.service.secrets import sealing_secrets
from hashmatch.service.status_page import StatusPage
from hashmatch.service.store_access import store_access
from hashmatch.service.store_rights import StoreRights
from hashmatch.service.upkeep import Following, Maintenance
from hashmatch.service.warm_up import warm_up
from hashmatch.store.counts import CountFiles
from hashmatch.store.embedded import EmbeddedValkey
from hashmatch.store.floor import EpochFloor
from hashmatch.store.sources import BlockCache
from hashmatch.store.store import Store
from hashmatch.trust.audit import ACTS, AuditLog
from hashmatch.trust.counting import CountingKey
from hashmatch.trust.floods import FloodLimits
from hashmatch.version import VERSION

# Threads that confirm matches. They share the interpreter's lock: more would only get in each other's way.
_MATCHING_THREADS = 4
# How often, in seconds, a child tells its supervisor how it is.
REPORT_INTERVAL = 1.0
# Store operations of an importer carry a megabyte each, and nobody waits for an answer meanwhile.
_IMPORTER_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a running server listens, with the ports that a port of 0 became; empty where it does not."""

    matching: str
    administration: str
    metrics: str


@dataclass(frozen=True, slots=True)
class _Core:
    """What all parts of one process stand on."""

    data_dir: Path
    access: StoreAccess
    store: Store
    floor: EpochFloor
    refresher: SnapshotFollower
    cache: BlockCache
    changes: Changes
    following: Following
    daily: DailyCounts
    feedback: FeedbackDesk
    proving: Proving


class Runner:
    """One process: a server of its own, or with a link to a supervisor the keeper or a worker of one."""

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock | None = None,
        registry: CollectorRegistry | None = None,
        link: Link | None = None,
        lost: Callable[[], object] = lambda: None,
    ) -> None:
        """Nothing is opened yet. Every runner needs a registry of its own.

        `lost` is called, in some thread, when the supervisor at the other end of the link is gone.
        """
        self._config = config
        self._link = link
        self._lost = lost
        self._keeps = link is None or link.role.is_keeper
        self._matches = link is None or not link.role.is_keeper
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
                APPROVAL_SERVICE: ("store",),
                FEEDBACK_SERVICE: ("store",),
                FLOOD_SERVICE: ("store",),
            },
            gauge=self.metrics.ready,
            component_gauge=self.metrics.components,
            logger=self._logger,
        )
        self._ending = contextlib.AsyncExitStack()
        self._background = Background(self._ending, self._logger)
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
        store = access.open(maximum_connections=config.store.maximum_connections)
        self._ending.callback(store.close)
        rights = StoreRights(config, store, self.metrics.store_rights_excessive, get_logger("store"))
        await asyncio.to_thread(rights.check_at_start)
        core = self._core(data_dir, access, store, rights)
        if config.counts.enabled:
            files = CountFiles(data_dir / "counts") if config.server.admin_listen and self._keeps else None
            # Before the listeners, so that what is answered while they stop is counted.
            self._background.run(
                CountKeeper(core.daily, store.counts, files, config.counts, self._clock, self.metrics.counts_kept).run()
            )
        if self._link is not None:
            await self._join(self._link, core)
        await self._listen(core)
        await core.following.look()
        self._background.run(core.following.run())
        # Entered last, so that it is the first thing that stopping does.
        self._ending.callback(self.health.shutdown)
        if self._link is not None:
            self._background.run(self._report(self._link, core))
            self._link.send(Started(self.addresses.matching, self.addresses.administration))
            return
        say_started(config, self.addresses, self._logger)

    def _core(self, data_dir: Path, access: StoreAccess, store: Store, rights: StoreRights) -> _Core:
        config = self._config
        # What is said of the cache is said of all workers together.
        cache = BlockCache(config.matching.block_cache_bytes // config.server.workers)
        floor = EpochFloor(data_dir / "epoch.json")
        refresher = self._refresher(store, cache, floor)
        changes = Changes(lambda: refresher.served)
        following = Following(
            refresher,
            store,
            cache,
            changes,
            self.health,
            self.metrics,
            self._clock,
            floor,
            rights,
            poll_interval=config.store.poll_interval,
        )
        daily = DailyCounts(self._clock)
        feedback = FeedbackDesk(store.feedback, daily, self.metrics)
        self._background.run(feedback.run())
        proving = Proving(config, data_dir, self._clock, self.metrics, self._background.run)
        return _Core(data_dir, access, store, floor, refresher, cache, changes, following, daily, feedback, proving)

    def _refresher(self, store: Store, cache: BlockCache, floor: EpochFloor) -> SnapshotFollower:
        """What keeps this process on the current snapshot: it builds, for itself or for all, or takes over."""
        matching, link = self._config.matching, self._link
        longest = matching.maximum_unconfirmed_seconds
        pieces = Pieces(store.segments, cache)
        if link is not None and not self._keeps:
            mapped = MappedRefresher(store.manifests, floor, self._clock, maximum_unconfirmed_seconds=longest)
            link.take_images(pieces, mapped.offer)
            link.on(BuilderLook, lambda told: mapped.tell(Look(told.outcome, told.why, told.reason)))
            return mapped
        loader = SnapshotLoader(
            store.segments,
            store.suppressions,
            cache,
            resident=matching.blocks == "resident",
            nearness=indexes(photodna=matching.photodna_maximum_distance > 0),
        )
        refresher = Refresher(
            store.manifests,
            loader,
            floor,
            self._clock,
            maximum_unconfirmed_seconds=longest,
            sharing=None if link is None else link.sharing(pieces),
        )
        if link is not None:
            link.take_images(pieces, refresher.adopt)
        return refresher

    async def _join(self, link: Link, core: _Core) -> None:
        """Begin to listen to the supervisor, and take over what it has at hand."""
        loop = asyncio.get_running_loop()
        link.on(DamageFound, lambda told: core.cache.damaged.update(told.segment_ids))
        page = self._status_page(core)
        link.on(PageWanted, lambda wanted: link.send(PageRendered(page.render(wanted.components, wanted.intervals))))
        link.listen(self._lost, lambda: loop.call_soon_threadsafe(core.following.wake))
        await asyncio.to_thread(link.wait_for_image)
        if self._matches:
            # Nobody comes to a worker that has listened before it can answer.
            await core.following.look()

    async def _report(self, link: Link, core: _Core) -> None:
        while True:
            last = core.following.last
            link.report(
                Report(
                    components=self.health.readiness()[1],
                    families=families(self.metrics.registry),
                    damaged=tuple(core.following.damaged_segments),
                    look=BuilderLook(last.outcome, last.why, last.reason) if self._keeps else None,
                )
            )
            await asyncio.sleep(REPORT_INTERVAL)

    def _open_store_access(self, data_dir: Path) -> StoreAccess:
        store, link = self._config.store, self._link
        url = store.url
        if store.embedded and link is not None:
            url = link.store_url
        elif store.embedded:
            self.valkey = EmbeddedValkey(data_dir)
            self._ending.callback(self.valkey.stop)
            url = self.valkey.start()
        with_archive = store.archive and self._config.server.admin_listen and self._keeps
        archive = str(data_dir / "archive") if with_archive else ""
        return store_access(self._config, url, sealing_secrets(self._config, data_dir), archive)

    async def _listen(self, core: _Core) -> None:
        server = self._config.server
        listeners = Listeners(self._config, self.health, self.metrics, self._clock, get_logger("rpc"))
        matching = await self._matching(core) if self._matches else None
        administration = await self._administration(core) if server.admin_listen and self._keeps else None
        # Once all that calls stand on is there, so that it is there until the last of them has ended.
        self._ending.push_async_callback(listeners.stop)
        # Before the listeners stop, so that nobody watches a server that is about to go.
        self._ending.callback(core.changes.close)
        on_matching = on_administration = None
        if matching is not None:
            on_matching = await listeners.start_matching(*matching, shared_port=self._link is not None)
        if administration is not None:
            on_administration = await listeners.start_administration(*administration)
        self.addresses = Addresses(
            on_matching.address if on_matching else "",
            on_administration.address if on_administration else "",
            self._start_monitoring(core) if self._link is None else "",
        )

    async def _matching(self, core: _Core) -> tuple[MatchServicer, ListServicer]:
        config = self._config
        threads = min(_MATCHING_THREADS, config.store.maximum_connections)
        reads = core.store.connection.loop_reads()
        if reads is not None:
            self._ending.push_async_callback(reads.close)
            reads.start()
        answering = Answering(core.refresher, self._clock, self.metrics, core.daily, threads=threads, reads=reads)
        self._ending.callback(answering.close)
        counting = CountingKey(core.access.sealing.key())
        interval = config.budgets.settle_interval
        budgets = Budgets(core.store.budgets, counting, self._clock, self.metrics, settle_interval=interval)
        self._background.run(budgets.run())
        limits = FloodLimits(config.floods.window_seconds, config.floods.minimum, config.floods.ratio)
        floods = FloodGuard(core.store.floods, counting, limits, self._clock, self.metrics, get_logger("floods"))
        self._background.run(floods.run())
        searching = Searching(search_limits(config.matching), self._clock)
        self._ending.callback(searching.close)
        matching = MatchServicer(
            answering,
            searching,
            budgets,
            core.feedback,
            floods,
            core.changes,
            await core.proving.attesting(
                "server" if self._link is None else self._link.role.name, self._ending.callback
            ),
            maximum_items=config.server.maximum_batch_items,
            maximum_digests=config.server.maximum_bulk_digests,
        )
        return matching, ListServicer(core.refresher, answering.permissions, self._clock)

    async def _administration(
        self, core: _Core
    ) -> tuple[ListAdminServicer, PolicyAdminServicer, ApprovalServicer, FeedbackAdminServicer, FloodAdminServicer]:
        store, floor, following = core.store, core.floor, core.following
        vetting = self._config.vetting
        policy = VettingPolicy(
            approvals_required=vetting.approvals_required,
            signatures_required=self._config.signatures_required,
            maximum_removed_fraction=vetting.maximum_removed_fraction,
            maximum_added_fraction=vetting.maximum_added_fraction,
            maximum_quarantined_fraction=vetting.maximum_quarantined_fraction,
            maximum_superseded_fraction=vetting.maximum_superseded_fraction,
            maximum_known_good_hashes=vetting.maximum_known_good_hashes,
            maximum_suppressed_hashes=vetting.maximum_suppressed_hashes,
            maximum_returned_entries=vetting.maximum_returned_entries,
            maximum_disputed_fraction=vetting.maximum_disputed_fraction,
            maximum_near_duplicate_fraction=vetting.maximum_near_duplicate_fraction,
            maximum_open_stagings=vetting.maximum_open_stagings,
            maximum_open_stagings_of_list=vetting.maximum_open_stagings_of_list,
            retained_generations=vetting.retained_generations,
            clock_skew_seconds=vetting.clock_skew_seconds,
        )
        if policy.approvals_required < 2:
            self._logger.warning(Event.POLICY_RELAXED, approvals_required=policy.approvals_required)
        path = core.data_dir / ACTS
        audit = AuditLog(path, self._clock)
        self._ending.callback(audit.close)
        await core.proving.sign_checkpoints(ACTS_LOG, audit, path)
        counted = CountedAudit(audit, self.metrics.audit_write_failures)
        acts = Acts(store, self._clock, policy, counted, floor)
        publisher = Publisher(acts)
        patient = msgspec.structs.replace(core.access, operation_timeout=_IMPORTER_TIMEOUT)
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
        acting = Acting(self.metrics, following.wake, following.suspect)
        suppressor, policies, approvers = Suppressor(acts), Policies(acts), Approvers(acts)
        proposals = Proposals(acts, ActPlanner(publisher, suppressor, policies, approvers).plan)
        maintenance = Maintenance(
            acts,
            FirstApprovers(
                approvers,
                self._config.approvals.first_approvers,
                get_logger("approvals"),
                wanted=policy.signatures_required,
            ),
            proposals,
            Compactor(store, self._clock, publisher),
            Resealer(acts),
            self.metrics.under_old_keys,
            StagingExpiry(store, self._clock, publisher, maximum_days=vetting.discard_stagings_days),
            Collector(store, self._clock),
            Restorer(store, floor, store.archive, self._clock) if store.archive is not None else None,
            ArchiveSweeper(store, floor, store.archive, self._clock) if store.archive is not None else None,
            following,
        )
        self._background.run(maintenance.run())
        feeds = Feeds(
            feed_definitions(self._config),
            store,
            feed_importer,
            publisher,
            self.metrics,
            self._clock,
            following.wake,
        )
        self._background.run(feeds.run())
        lists = ListAdminServicer(publisher, suppressor, importer, feeds, store.manifests, self.metrics, acting)
        approvals = ApprovalServicer(
            proposals,
            approvers,
            policy,
            self._clock,
            acting,
        )
        return (
            lists,
            PolicyAdminServicer(policies, acting),
            approvals,
            FeedbackAdminServicer(core.feedback, counted, acting),
            FloodAdminServicer(store.floods, counted, self._clock, acting),
        )

    def _start_monitoring(self, core: _Core) -> str:
        if not self._config.metrics.listen:
            return ""
        heartbeat = Heartbeat(self._clock)
        heartbeat.start()
        self._ending.callback(heartbeat.stop)
        recent = RecentRates(counters_of(self.metrics, match_service=MATCH_SERVICE), self._clock)
        self._background.run(recent.run())
        page = self._status_page(core)
        monitoring = Monitoring(
            parse_address(self._config.metrics.listen),
            registry=self.metrics.registry,
            readiness=self.health.readiness,
            is_alive=heartbeat.is_alive,
            status=lambda: page.render(self.health.readiness()[1], recent.intervals()),
        )
        monitoring.start()
        self._ending.callback(monitoring.stop)
        return str(monitoring.address)

    def _status_page(self, core: _Core) -> StatusPage:
        return StatusPage(self._config, served=lambda: core.refresher.served, clock=self._clock, version=VERSION)

    async def stop(self) -> None:
        """Say that it is not serving, let calls finish, and stop everything."""
        await self._ending.aclose()
        if self._link is None:
            self._logger.info(Event.SERVER_STOPPED)


def say_started(config: Config, addresses: Addresses, logger: FilteringBoundLogger) -> None:
    """Log that a server is at work, and what is to be known of it."""
    if not config.tls.certificate_file:
        logger.warning(Event.NOBODY_AUTHENTICATED, why="no TLS: whoever reaches a port can take any name")
    logger.info(
        Event.SERVER_STARTED,
        matching=addresses.matching,
        administration=addresses.administration,
        metrics=addresses.metrics,
        store="embedded" if config.store.embedded else "external",
        workers=config.server.workers,
        version=VERSION,
    )
