"""Runs the feeds: on a schedule, and when an operator asks.

Any number of servers may have the same feeds. A lease in the store lets one of them run a feed at a time, and the
status there tells all when it ran last. Neither is what keeps a list right: a round counts only on top of the
generation that it continued from (see `hashmatch.ingest.feeds.round`).

A round that is staged waits for its approvals, and as long as it waits the feed rests: another round would be another
report to read, and whoever approved the first would have done so in vain.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import msgspec

from hashmatch.ingest.feeds.bodies import BODIES
from hashmatch.ingest.feeds.client import FeedClient
from hashmatch.ingest.feeds.definition import FeedDefinition, FeedDefinitionError, load_definitions
from hashmatch.ingest.feeds.errors import FeedError, FeedFailure
from hashmatch.ingest.feeds.feedback import Feedback, send_feedback
from hashmatch.ingest.feeds.round import FeedRound
from hashmatch.ingest.publisher import Publisher
from hashmatch.model.clock import Clock
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.model.feeds import FeedCheckpoint, FeedOutcome, FeedStatus
from hashmatch.model.vetting import DeliveryMode
from hashmatch.service.config import Config
from hashmatch.service.importer import Importer
from hashmatch.service.logs import Event, get_logger
from hashmatch.service.metrics import Metrics
from hashmatch.store.archive import ArchiveError
from hashmatch.store.connection import StoreUnavailableError
from hashmatch.store.feeds import FeedLease
from hashmatch.store.manifest import ListState, list_not_found
from hashmatch.store.segments import StoreDamagedError
from hashmatch.store.stagings import Staging
from hashmatch.store.store import Store
from hashmatch.trust.audit import AuditError

_STORE_ERRORS = (StoreUnavailableError, StoreDamagedError, ArchiveError, AuditError)

# A lease outlives its holder by at most this long, and is renewed three times as often.
_LEASE_SECONDS = 10.0
# How often the status of a feed is looked at, in seconds: another server may have run it, or somebody published it.
_LOOK_INTERVAL = 5.0
# The first pause after a round that failed; it doubles with every further one, up to the feed's interval.
_FIRST_PAUSE = 30.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FeedReport:
    """How a feed stands. `checkpoint` is that of what is published, `waiting` the id of a round that is staged.

    `left_behind` says that this round is the feed's own to publish: whoever staged it died before.
    """

    feed: FeedDefinition
    status: FeedStatus
    checkpoint: FeedCheckpoint | None
    waiting: str
    left_behind: bool
    running: bool
    due_at: float


class Feeds:
    """The feeds of one server. Methods raise `HashmatchError`."""

    def __init__(
        self,
        feeds: Sequence[FeedDefinition],
        store: Store,
        importer: Importer,
        publisher: Publisher,
        metrics: Metrics,
        clock: Clock,
        changed: Callable[[], None],
    ) -> None:
        """`changed` is called after something was published."""
        self._feeds = {feed.name: feed for feed in feeds}
        self._store = store
        self._importer = importer
        self._publisher = publisher
        self._metrics = metrics
        self._clock = clock
        self._changed = changed
        self._logger = get_logger("feeds")
        self._rounds: set[asyncio.Task[FeedStatus]] = set()

    async def run(self) -> None:
        """Keep to the schedule until cancelled; then no round goes on."""
        followers = [asyncio.create_task(self._follow(feed)) for feed in self._feeds.values()]
        try:
            await asyncio.gather(*followers)
            # Without feeds there is nobody to wait for.
            await asyncio.Event().wait()
        finally:
            ending = [*followers, *self._rounds]
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)

    async def reports(self) -> list[FeedReport]:
        """How every feed stands, in the order of their names."""
        return [await self.report(name) for name in sorted(self._feeds)]

    async def report(self, name: str) -> FeedReport:
        """How one feed stands. Raises `HashmatchError` FEED_NOT_FOUND."""
        feed = self._feed(name)
        try:
            return await asyncio.to_thread(self._report, feed)
        except _STORE_ERRORS as error:
            raise _told(error) from error

    async def run_now(self, name: str, *, full: bool = False, again: bool = False) -> FeedReport:
        """Run a round; it goes on if the caller goes away. Returns how the feed stands then.

        `full` reads everything; `again` drops a round that waits for approvals. Raises `HashmatchError` FEED_NOT_FOUND,
        and CONFLICT if the feed is being run.
        """
        feed = self._feed(name)
        task = asyncio.create_task(self._run(feed, full=full, again=again))
        self._rounds.add(task)
        task.add_done_callback(self._rounds.discard)
        status = await asyncio.shield(task)
        return replace(await self.report(name), status=status)

    async def send_feedback(self, name: str, feedback: Feedback) -> None:
        """Tell a body what we think of an entry. Raises `HashmatchError` FEED_NOT_FOUND, FEED_FAILED, INVALID_FIELD."""
        try:
            await send_feedback(self._feed(name), self._clock, feedback)
        except FeedError as error:
            raise HashmatchError(
                ErrorReason.FEED_FAILED, error.detail, metadata={"feed": name, "failure": str(error.reason)}
            ) from error

    def _feed(self, name: str) -> FeedDefinition:
        feed = self._feeds.get(name)
        if feed is None:
            known = ", ".join(sorted(self._feeds)) or "none"
            raise HashmatchError(ErrorReason.FEED_NOT_FOUND, f"there is no such feed; there are: {known}")
        return feed

    # ---- the schedule

    async def _follow(self, feed: FeedDefinition) -> None:
        """Look after one feed for ever: whatever happens to it, it goes on, and so do the others."""
        told = ""
        while True:
            try:
                await self._look_after(feed)
                told = ""
            except Exception as error:  # noqa: BLE001  whoever let it out would end all feeds of the server
                if isinstance(error, HashmatchError):
                    reason, why = str(error.reason), error.message
                else:
                    reason, why = str(FeedFailure.INTERNAL), type(error).__name__
                # The store is away, which others say too: once is enough.
                if why != told:
                    told = why
                    self._logger.warning(Event.FEED_FAILED, feed=feed.name, reason=reason, why=why)
            await asyncio.sleep(_LOOK_INTERVAL)

    async def _look_after(self, feed: FeedDefinition) -> None:
        report = await self.report(feed.name)
        self._metrics.show_feed(feed.name, report.status, report.checkpoint, waiting=bool(report.waiting))
        due = report.left_behind if report.waiting else self._clock.now() >= report.due_at
        if due and not report.running:
            with contextlib.suppress(HashmatchError):
                # Somebody else may have been faster.
                await self._run(feed)

    def _due_at(self, feed: FeedDefinition, status: FeedStatus) -> float:
        if not status.failures:
            return status.started_at + feed.interval
        return status.ended_at + min(feed.interval, _FIRST_PAUSE * 2.0 ** min(status.failures - 1, 30))

    def _report(self, feed: FeedDefinition) -> FeedReport:
        status = self._store.feeds.get(feed.name)
        sealed = self._store.manifests.load()
        state = None if sealed is None else sealed.manifest.lists.get(feed.list)
        generation = None if state is None else state.generation
        checkpoint = None if generation is None else generation.checkpoint
        waiting = None if state is None else self._waiting(feed, state)
        return FeedReport(
            feed=feed,
            status=status,
            checkpoint=checkpoint if checkpoint is not None and checkpoint.feed == feed.name else None,
            waiting="" if waiting is None else waiting.staging_id,
            left_behind=waiting is not None and _is_own_to_publish(feed, waiting),
            running=self._store.feeds.is_running(feed.name),
            due_at=self._due_at(feed, status),
        )

    def _waiting(self, feed: FeedDefinition, state: ListState) -> Staging | None:
        """The newest round that can still be published."""
        found = [
            staging
            for staging in self._publisher.stagings(feed.list)
            if staging.staged_by == feed.actor and staging.base_number == state.last_number
        ]
        return found[-1] if found else None

    # ---- one round

    async def _run(self, feed: FeedDefinition, *, full: bool = False, again: bool = False) -> FeedStatus:
        """One round. What goes wrong is in the status; raises `HashmatchError` CONFLICT if the feed is being run."""
        lease = self._store.feeds.lease(feed.name)
        try:
            if not await asyncio.to_thread(lease.take, _LEASE_SECONDS):
                raise HashmatchError(ErrorReason.CONFLICT, "the feed is being run at the moment", retry_after=5.0)
            before = await asyncio.to_thread(self._store.feeds.get, feed.name)
        except _STORE_ERRORS as error:
            raise _told(error) from error
        try:
            async with _kept(lease):
                status = await self._attempt(feed, before, full=full, again=again)
        finally:
            with contextlib.suppress(StoreUnavailableError):
                await asyncio.to_thread(lease.release)
        return status

    async def _attempt(self, feed: FeedDefinition, before: FeedStatus, *, full: bool, again: bool) -> FeedStatus:
        started = self._clock.now()
        status = FeedStatus(feed=feed.name, started_at=started, succeeded_at=before.succeeded_at)
        try:
            status = await self._pull(feed, before, status, full=full, again=again)
        except FeedError as error:
            status = self._failed(before, status, error)
        except TimeoutError:
            late = FeedError(FeedFailure.TIMED_OUT, f"the round took more than {feed.maximum_round:g} s")
            status = self._failed(before, status, late)
        except HashmatchError as refused:
            status = self._failed(before, status, FeedError(FeedFailure.NOT_STAGED, refused.message))
        except _STORE_ERRORS as unavailable:
            status = self._failed(before, status, FeedError(FeedFailure.STORE, str(unavailable)))
        except Exception as unforeseen:  # noqa: BLE001  whatever ends a round is told, and the next one comes
            # By its name alone: a message that nobody foresaw may quote what the body sent.
            what = f"an error that was not foreseen: {type(unforeseen).__name__}"
            status = self._failed(before, status, FeedError(FeedFailure.INTERNAL, what))
        self._tell(status)
        if status.outcome is FeedOutcome.WAITING:
            return status
        # Without it the round is run again too early, and nothing else.
        with contextlib.suppress(*_STORE_ERRORS):
            await asyncio.to_thread(self._store.feeds.put, status)
        return status

    async def _pull(
        self, feed: FeedDefinition, before: FeedStatus, status: FeedStatus, *, full: bool, again: bool
    ) -> FeedStatus:
        state = await asyncio.to_thread(self._state, feed)
        waiting = await asyncio.to_thread(self._waiting, feed, state)
        if waiting is not None and not (again or full):
            published = await self._publish(feed, waiting)
            return msgspec.structs.replace(
                before if before.staging_id == waiting.staging_id else _left_behind(waiting, status),
                outcome=FeedOutcome.PUBLISHED if published else FeedOutcome.WAITING,
                reason="",
                detail=_unmet(waiting),
                failures=0,
            )
        body = BODIES[feed.kind]
        async with body.connect(feed, self._clock) as client:
            current = FeedRound(feed, body, client, state, now=status.started_at, full=full)
            try:
                async with asyncio.timeout(feed.maximum_round), aclosing(current.chunks()) as chunks:
                    staging = await self._importer.stage(current.header, chunks, current.checkpoint)
            finally:
                self._count(feed, client, current)
        try:
            current.check_parsed(staging.report.records)
        except FeedError as lost:
            await asyncio.to_thread(self._publisher.discard, staging.staging_id, feed.actor, lost.detail)
            raise
        await asyncio.to_thread(self._discard_others, feed, staging)
        self._metrics.stagings.labels("staged").inc()
        for count in staging.report.quarantine:
            self._metrics.count_quarantined(feed.list, count.reason, count.count)
        published = await self._publish(feed, staging)
        ended = self._clock.now()
        return msgspec.structs.replace(
            status,
            ended_at=ended,
            succeeded_at=ended,
            outcome=FeedOutcome.PUBLISHED if published else FeedOutcome.STAGED,
            detail="" if published else _unmet(staging),
            full=current.full,
            pages=current.pages,
            records=current.records,
            staging_id=staging.staging_id,
        )

    def _state(self, feed: FeedDefinition) -> ListState:
        sealed = self._store.manifests.load()
        if sealed is None:
            raise list_not_found(feed.list)
        return sealed.manifest.state(feed.list)

    def _discard_others(self, feed: FeedDefinition, newest: Staging) -> None:
        """Discard the rounds in whose place another one is: those that are not wanted, or cannot be published."""
        for staging in self._publisher.stagings(feed.list):
            if staging.staged_by == feed.actor and staging.staging_id != newest.staging_id:
                self._publisher.discard(staging.staging_id, feed.actor, "another round takes its place")

    async def _publish(self, feed: FeedDefinition, staging: Staging) -> bool:
        """Publish a round if the policy leaves that to the feed; whether it did."""
        if not _is_own_to_publish(feed, staging):
            return False
        await asyncio.to_thread(self._publisher.publish, staging.staging_id, feed.actor)
        self._metrics.publishes.labels("publish").inc()
        self._changed()
        return True

    def _failed(self, before: FeedStatus, status: FeedStatus, error: FeedError) -> FeedStatus:
        return msgspec.structs.replace(
            status,
            ended_at=self._clock.now(),
            outcome=FeedOutcome.FAILED,
            reason=str(error.reason),
            detail=error.detail,
            failures=before.failures + 1,
        )

    def _count(self, feed: FeedDefinition, client: FeedClient, current: FeedRound) -> None:
        self._metrics.feed_requests.labels(feed.name).inc(client.requests)
        self._metrics.feed_retries.labels(feed.name).inc(client.retries)
        self._metrics.feed_records.labels(feed.name).inc(current.records)

    def _tell(self, status: FeedStatus) -> None:
        assert status.outcome is not None
        outcome = status.outcome.name.lower()
        self._metrics.feed_rounds.labels(status.feed, outcome).inc()
        if status.outcome is FeedOutcome.FAILED:
            self._logger.warning(
                Event.FEED_FAILED,
                feed=status.feed,
                reason=status.reason,
                why=status.detail,
                failures=status.failures,
            )
            return
        self._logger.info(
            Event.FEED_ROUND,
            feed=status.feed,
            outcome=outcome,
            full=status.full,
            pages=status.pages,
            records=status.records,
            staging_id=status.staging_id,
        )


def feed_definitions(config: Config) -> tuple[FeedDefinition, ...]:
    """The feeds that the configuration names. Raises `FeedDefinitionError`."""
    if not config.feeds.file:
        return ()
    feeds = load_definitions(Path(config.feeds.file))
    if config.vetting.approvals_required:
        problems = [
            f"{config.feeds.file}: feed.{feed.name}: publish_automatically: vetting.approvals_required is not 0"
            for feed in feeds
            if feed.publish_automatically
        ]
        if problems:
            raise FeedDefinitionError(problems)
    return feeds


@contextlib.asynccontextmanager
async def _kept(lease: FeedLease) -> AsyncIterator[None]:
    """Renews a lease meanwhile, and ends what is done under it with `FeedError` LEASE_LOST if somebody else has it."""
    work = asyncio.current_task()
    assert work is not None
    lost = False

    async def renew() -> None:
        nonlocal lost
        while True:
            await asyncio.sleep(_LEASE_SECONDS / 3)
            # A store that does not answer takes no lease away.
            with contextlib.suppress(StoreUnavailableError):
                if not await asyncio.to_thread(lease.take, _LEASE_SECONDS):
                    lost = True
                    work.cancel()
                    return

    renewing = asyncio.create_task(renew())
    try:
        yield
    except asyncio.CancelledError:
        if not lost:
            raise
        work.uncancel()
        raise HashmatchError(ErrorReason.CONFLICT, "another server runs the feed now", retry_after=5.0) from None
    finally:
        renewing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await renewing


def _is_own_to_publish(feed: FeedDefinition, staging: Staging) -> bool:
    """Whether a round needs nobody: the operator and the policy leave it to the feed, and every gate is met."""
    return feed.publish_automatically and not staging.approvals_required and not staging.report.unmet


def _left_behind(staging: Staging, status: FeedStatus) -> FeedStatus:
    """How a round went whose server died before it could say so, as far as what it staged tells."""
    return msgspec.structs.replace(
        status,
        started_at=staging.as_of,
        ended_at=staging.staged_at,
        succeeded_at=staging.staged_at,
        full=staging.mode is DeliveryMode.FULL,
        records=staging.report.records,
        staging_id=staging.staging_id,
    )


def _unmet(staging: Staging) -> str:
    """Which gates keep a round from being published by itself."""
    unmet = ", ".join(gate.name for gate in staging.report.unmet)
    return f"gates not met: {unmet}" if unmet else ""


def _told(error: Exception) -> HashmatchError:
    reason = ErrorReason.STORE_DAMAGED if isinstance(error, StoreDamagedError) else ErrorReason.STORE_UNAVAILABLE
    return HashmatchError(reason, str(error), retry_after=1.0)
