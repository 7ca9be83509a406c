"""ListAdminService: checks what is asked, has it done, translates."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, TypeAlias, TypeVar

import grpc.aio

from hashmatch.ingest.entry_hashes import EntryHash
from hashmatch.ingest.feeds.feedback import Feedback, FeedbackOpinion
from hashmatch.ingest.publisher import Publisher
from hashmatch.ingest.staging import DeliveryHeader
from hashmatch.ingest.suppressor import Suppressor
from hashmatch.model.algorithms import SERVED_ALGORITHMS, Algorithm
from hashmatch.model.errors import ErrorReason, HashmatchError, invalid_field
from hashmatch.model.lists import ListDefinition, ListNature, check_list_id
from hashmatch.model.vetting import DeliveryMode
from hashmatch.service import admin_messages, messages
from hashmatch.service.calls import annotate, current_call
from hashmatch.service.feeds import Feeds
from hashmatch.service.importer import Importer
from hashmatch.service.list_servicer import definition_message
from hashmatch.service.metrics import Metrics
from hashmatch.service.paging import Page
from hashmatch.service.store_failures import store_errors
from hashmatch.store.manifest import ManifestStore
from hashmatch.v1 import common_pb2, list_admin_service_pb2, list_admin_service_pb2_grpc, list_service_pb2

MAXIMUM_CHUNK = 1 << 20
MAXIMUM_HASHES = 1_000
MAXIMUM_SOURCE_KEY = 1_024

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
T = TypeVar("T")


class ListAdminServicer(list_admin_service_pb2_grpc.ListAdminServiceServicer):
    """Has the acts of administration done, one after the other, on threads. `changed` is called after each."""

    def __init__(
        self,
        publisher: Publisher,
        suppressor: Suppressor,
        importer: Importer,
        feeds: Feeds,
        manifests: ManifestStore,
        metrics: Metrics,
        changed: Callable[[], None],
    ) -> None:
        self._publisher = publisher
        self._suppressor = suppressor
        self._importer = importer
        self._feeds = feeds
        self._manifests = manifests
        self._metrics = metrics
        self._changed = changed
        self._one_at_a_time = asyncio.Lock()

    async def _run(self, work: Callable[[], T]) -> T:
        with store_errors():
            return await asyncio.to_thread(work)

    async def _act(self, act: str, work: Callable[[], T], *, validate_only: bool = False) -> T:
        # An act goes on when its caller goes away: half of one must not be left to chance.
        async with self._one_at_a_time:
            outcome = await asyncio.shield(asyncio.ensure_future(self._run(work)))
        if not validate_only:
            self._metrics.publishes.labels(act).inc()
            self._changed()
        return outcome

    async def DefineList(  # noqa: N802
        self,
        request: list_admin_service_pb2.DefineListRequest,
        context: Context,  # noqa: ARG002
    ) -> list_admin_service_pb2.DefineListResponse:
        """Create or change a list."""
        definition = _definition(request.definition)
        actor = current_call().caller.name
        manifest = await self._act(
            "define-list",
            lambda: self._publisher.define_list(definition, actor, validate_only=request.validate_only),
            validate_only=request.validate_only,
        )
        state = manifest.lists[definition.list_id]
        return list_admin_service_pb2.DefineListResponse(definition=definition_message(state), epoch=manifest.epoch)

    async def Stage(  # noqa: N802
        self,
        request_iterator: AsyncIterator[list_admin_service_pb2.StageRequest],
        context: Context,  # noqa: ARG002
    ) -> list_admin_service_pb2.StageResponse:
        """Take in a delivery."""
        first = await anext(request_iterator, None)
        if first is None or first.WhichOneof("part") != "header":
            raise invalid_field("header", "the first message must be the header")
        header = _delivery_header(first.header, current_call().caller.name)
        try:
            with store_errors():
                staging = await self._importer.stage(header, _chunks(request_iterator))
        except HashmatchError as error:
            self._metrics.stagings.labels("refused" if error.reason is not ErrorReason.INTERNAL else "failed").inc()
            raise
        self._metrics.stagings.labels("validated" if header.validate_only else "staged").inc()
        for count in staging.report.quarantine:
            self._metrics.count_quarantined(header.list_id, count.reason, count.count)
        annotate(list_id=header.list_id, records=staging.report.records, quarantined=staging.report.quarantined)
        return list_admin_service_pb2.StageResponse(staging=admin_messages.staging(staging))

    async def GetStaging(  # noqa: N802
        self,
        request: list_admin_service_pb2.GetStagingRequest,
        context: Context,  # noqa: ARG002
    ) -> list_admin_service_pb2.GetStagingResponse:
        """A staged generation and its report."""
        found = await self._run(lambda: self._publisher.staging(request.staging_id))
        return list_admin_service_pb2.GetStagingResponse(staging=admin_messages.staging(found))

    async def ListStagings(  # noqa: N802
        self,
        request: list_admin_service_pb2.ListStagingsRequest,
        context: Context,  # noqa: ARG002
    ) -> list_admin_service_pb2.ListStagingsResponse:
        """A page of staged generations."""
        page = Page.asked(request.page_size, request.page_token)
        open_stagings = await self._run(lambda: self._publisher.stagings(request.list_id))
        found, token = page.cut(open_stagings, lambda staging: f"{staging.staged_at:020.6f}/{staging.staging_id}")
        return list_admin_service_pb2.ListStagingsResponse(
            stagings=map(admin_messages.staging, found), next_page_token=token
        )

    async def Approve(  # noqa: N802
        self,
        request: list_admin_service_pb2.ApproveRequest,
        context: Context,  # noqa: ARG002
    ) -> list_admin_service_pb2.ApproveResponse:
        """Record an approval."""
        approver = current_call().caller.name
        found = await self._act(
            "approve",
            lambda: self._publisher.approve(request.staging_id, approver, request.approval_digest, request.note),
        )
        return list_admin_service_pb2.ApproveResponse(staging=admin_messages.staging(found))

    async def Publish(  # noqa: N802
        self,
        request: list_admin_service_pb2.PublishRequest,
        context: Context,  # noqa: ARG002
    ) -> list_admin_service_pb2.PublishResponse:
        """Make a staged generation visible."""
        actor = current_call().caller.name
        generation, epoch = await self._act(
            "publish",
            lambda: self._publisher.publish(
                request.staging_id,
                actor,
                accept_gates=tuple(request.accept_gates),
                reason=request.reason,
                validate_only=request.validate_only,
            ),
            validate_only=request.validate_only,
        )
        annotate(epoch=epoch)
        return list_admin_service_pb2.PublishResponse(generation=messages.generation(generation), epoch=epoch)

    async def DiscardStaging(  # noqa: N802
        self,
        request: list_admin_service_pb2.DiscardStagingRequest,
        context: Context,  # noqa: ARG002
    ) -> list_admin_service_pb2.DiscardStagingResponse:
        """Drop a staged generation."""
        actor = current_call().caller.name
        found = await self._act("discard", lambda: self._publisher.discard(request.staging_id, actor, request.reason))
        return list_admin_service_pb2.DiscardStagingResponse(staging=admin_messages.staging(found))

    async def RollBack(  # noqa: N802
        self,
        request: list_admin_service_pb2.RollBackRequest,
        context: Context,  # noqa: ARG002
    ) -> list_admin_service_pb2.RollBackResponse:
        """Publish an earlier generation again."""
        actor = current_call().caller.name
        generation, epoch = await self._act(
            "roll-back",
            lambda: self._publisher.roll_back(
                request.list_id, request.generation, actor, request.reason, validate_only=request.validate_only
            ),
            validate_only=request.validate_only,
        )
        return list_admin_service_pb2.RollBackResponse(generation=messages.generation(generation), epoch=epoch)

    async def Suppress(  # noqa: N802
        self,
        request: list_admin_service_pb2.SuppressRequest,
        context: Context,  # noqa: ARG002
    ) -> list_admin_service_pb2.SuppressResponse:
        """Leave hashes out of every answer."""
        actor, hashes = current_call().caller.name, _hashes(request.hashes)
        for list_id in request.list_ids:
            check_list_id(list_id)
        epoch, fresh = await self._act(
            "suppress",
            lambda: self._suppressor.suppress(
                hashes, tuple(request.list_ids), actor, request.reason, validate_only=request.validate_only
            ),
            validate_only=request.validate_only,
        )
        return list_admin_service_pb2.SuppressResponse(epoch=epoch, newly_suppressed=fresh)

    async def LiftSuppression(  # noqa: N802
        self,
        request: list_admin_service_pb2.LiftSuppressionRequest,
        context: Context,  # noqa: ARG002
    ) -> list_admin_service_pb2.LiftSuppressionResponse:
        """End suppressions."""
        actor, hashes = current_call().caller.name, _hashes(request.hashes)
        epoch, lifted = await self._act(
            "lift-suppression",
            lambda: self._suppressor.lift_suppression(
                hashes, actor, request.reason, validate_only=request.validate_only
            ),
            validate_only=request.validate_only,
        )
        return list_admin_service_pb2.LiftSuppressionResponse(epoch=epoch, lifted=lifted)

    async def WithdrawEntries(  # noqa: N802
        self,
        request: list_admin_service_pb2.WithdrawEntriesRequest,
        context: Context,  # noqa: ARG002
    ) -> list_admin_service_pb2.WithdrawEntriesResponse:
        """Remove entries at the body's word."""
        actor, hashes = current_call().caller.name, _hashes(request.hashes)
        if len(request.source_keys) > MAXIMUM_HASHES:
            raise invalid_field("source_keys", f"at most {MAXIMUM_HASHES}")
        if any(not 1 <= len(key) <= MAXIMUM_SOURCE_KEY for key in request.source_keys):
            raise invalid_field("source_keys", f"1 to {MAXIMUM_SOURCE_KEY} characters each")
        generation, epoch, removed, missing = await self._act(
            "withdraw-entries",
            lambda: self._publisher.withdraw_entries(
                request.list_id,
                hashes,
                tuple(request.source_keys),
                actor,
                request.reason,
                validate_only=request.validate_only,
            ),
            validate_only=request.validate_only,
        )
        return list_admin_service_pb2.WithdrawEntriesResponse(
            epoch=epoch, generation=generation.number, removed=removed, not_listed=missing
        )

    async def WithdrawList(  # noqa: N802
        self,
        request: list_admin_service_pb2.WithdrawListRequest,
        context: Context,  # noqa: ARG002
    ) -> list_admin_service_pb2.WithdrawListResponse:
        """Stop serving a list."""
        actor = current_call().caller.name
        epoch = await self._act(
            "withdraw-list",
            lambda: self._publisher.withdraw_list(
                request.list_id, actor, request.reason, validate_only=request.validate_only
            ),
            validate_only=request.validate_only,
        )
        return list_admin_service_pb2.WithdrawListResponse(epoch=epoch)

    async def GetHistory(  # noqa: N802
        self,
        request: list_admin_service_pb2.GetHistoryRequest,
        context: Context,  # noqa: ARG002
    ) -> list_admin_service_pb2.GetHistoryResponse:
        """A page of what was done."""
        page = Page.asked(request.page_size, request.page_token)
        sealed = await self._run(self._manifests.load)
        if sealed is None:
            return list_admin_service_pb2.GetHistoryResponse()
        manifest = sealed.manifest
        retained = manifest.state(request.list_id).retained if request.list_id else ()
        events = [record for record in reversed(manifest.history) if request.list_id in ("", record.list_id)]
        # Newest first, so that the keys ascend with the distance from the newest possible epoch.
        found, token = page.cut(events, lambda record: f"{(1 << 64) - record.epoch:020d}")
        return list_admin_service_pb2.GetHistoryResponse(
            events=map(admin_messages.history_event, found),
            next_page_token=token,
            retained=map(messages.generation, retained),
        )

    async def GetFeeds(  # noqa: N802
        self,
        request: list_admin_service_pb2.GetFeedsRequest,
        context: Context,  # noqa: ARG002
    ) -> list_admin_service_pb2.GetFeedsResponse:
        """How the feeds stand."""
        found = [await self._feeds.report(request.name)] if request.name else await self._feeds.reports()
        return list_admin_service_pb2.GetFeedsResponse(feeds=map(admin_messages.feed, found))

    async def RunFeed(  # noqa: N802
        self,
        request: list_admin_service_pb2.RunFeedRequest,
        context: Context,  # noqa: ARG002
    ) -> list_admin_service_pb2.RunFeedResponse:
        """Run a round."""
        found = await self._feeds.run_now(request.name, full=request.full, again=request.drop_waiting)
        annotate(list_id=found.feed.list, records=found.status.records)
        return list_admin_service_pb2.RunFeedResponse(feed=admin_messages.feed(found))

    async def SendFeedFeedback(  # noqa: N802
        self,
        request: list_admin_service_pb2.SendFeedFeedbackRequest,
        context: Context,  # noqa: ARG002
    ) -> list_admin_service_pb2.SendFeedFeedbackResponse:
        """Tell a body what we think of an entry."""
        await self._feeds.send_feedback(request.name, _feedback(request))
        return list_admin_service_pb2.SendFeedFeedbackResponse()


async def _chunks(requests: AsyncIterator[list_admin_service_pb2.StageRequest]) -> AsyncIterator[bytes]:
    async for request in requests:
        if request.WhichOneof("part") != "chunk":
            raise invalid_field("chunk", "only chunks may follow the header")
        if len(request.chunk) > MAXIMUM_CHUNK:
            raise invalid_field("chunk", f"at most {MAXIMUM_CHUNK} bytes")
        yield request.chunk


def _delivery_header(message: list_admin_service_pb2.StageHeader, staged_by: str) -> DeliveryHeader:
    check_list_id(message.list_id)
    try:
        mode = DeliveryMode(message.mode)
    except ValueError:
        raise invalid_field("header.mode", "say whether the delivery is full or incremental") from None
    return DeliveryHeader(
        list_id=message.list_id,
        format=message.format,
        mode=mode,
        staged_by=staged_by,
        as_of=messages.seconds_of(message.as_of) if message.HasField("as_of") else 0.0,
        label=message.label,
        scheme=message.scheme,
        jurisdiction=message.jurisdiction,
        profile=message.profile,
        file_name=message.file_name,
        declared_records=message.declared_records if message.HasField("declared_records") else None,
        validate_only=message.validate_only,
        request_id=message.request_id,
        delivery_sha256=message.delivery_sha256,
    )


def _definition(message: list_service_pb2.ListDefinition) -> ListDefinition:
    try:
        nature = ListNature(message.nature)
    except ValueError:
        raise invalid_field("definition.nature", "say what the list is about") from None
    return ListDefinition(
        list_id=message.list_id,
        body=message.body,
        title=message.title,
        nature=nature,
        scheme=message.scheme,
        jurisdiction=message.jurisdiction,
        max_age=messages.seconds_of(message.max_age),
        maximum_distance=message.maximum_distance if message.HasField("maximum_distance") else None,
    )


def _feedback(request: list_admin_service_pb2.SendFeedFeedbackRequest) -> Feedback:
    try:
        opinion = FeedbackOpinion(request.opinion)
    except ValueError:
        raise invalid_field("opinion", "say whether the body is right") from None
    algorithm = None
    if request.HasField("hash"):
        try:
            algorithm = Algorithm(request.hash.algorithm)
        except ValueError:
            raise invalid_field("hash.algorithm", "unspecified or unknown") from None
    if len(request.source_key) > MAXIMUM_SOURCE_KEY:
        raise invalid_field("source_key", f"at most {MAXIMUM_SOURCE_KEY} characters")
    return Feedback(opinion, request.source_key, algorithm, request.hash.value, request.reason_id, tuple(request.tags))


def _hashes(found: Iterable[common_pb2.Hash]) -> list[EntryHash]:
    hashes = []
    for index, each in enumerate(found):
        if index >= MAXIMUM_HASHES:
            raise invalid_field("hashes", f"at most {MAXIMUM_HASHES}")
        try:
            algorithm = Algorithm(each.algorithm)
        except ValueError:
            raise invalid_field(f"hashes[{index}].algorithm", "unspecified or unknown") from None
        if algorithm not in SERVED_ALGORITHMS:
            raise HashmatchError(ErrorReason.ALGORITHM_NOT_SERVED, f"{algorithm.title} is not searched by this server")
        if len(each.value) != algorithm.digest_size:
            raise invalid_field(f"hashes[{index}].value", f"{algorithm.title} has {algorithm.digest_size} bytes")
        hashes.append((int(algorithm), each.value))
    return hashes
