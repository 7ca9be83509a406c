"""ListAdminService: checks what is asked, has it done, translates."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc.aio

from hashmatch.ingest.publisher import Publisher
from hashmatch.ingest.suppressor import Suppressor
from hashmatch.model.errors import ErrorReason, HashmatchError, invalid_field
from hashmatch.service import admin_messages, admin_requests, messages
from hashmatch.service.acting import Acting
from hashmatch.service.calls import annotate, current_call
from hashmatch.service.feeds import Feeds
from hashmatch.service.importer import Importer
from hashmatch.service.list_servicer import definition_message
from hashmatch.service.metrics import Metrics
from hashmatch.service.paging import Page
from hashmatch.store.manifest import ManifestStore
from hashmatch.v1 import list_admin_service_pb2, list_admin_service_pb2_grpc

MAXIMUM_CHUNK = 1 << 20

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class ListAdminServicer(list_admin_service_pb2_grpc.ListAdminServiceServicer):
    """Has the acts of administration done."""

    def __init__(
        self,
        publisher: Publisher,
        suppressor: Suppressor,
        importer: Importer,
        feeds: Feeds,
        manifests: ManifestStore,
        metrics: Metrics,
        acting: Acting,
    ) -> None:
        self._publisher = publisher
        self._suppressor = suppressor
        self._importer = importer
        self._feeds = feeds
        self._manifests = manifests
        self._metrics = metrics
        self._acting = acting

    async def DefineList(  # noqa: N802
        self,
        request: list_admin_service_pb2.DefineListRequest,
        context: Context,  # noqa: ARG002
    ) -> list_admin_service_pb2.DefineListResponse:
        """Create or change a list."""
        definition = admin_requests.definition(request.definition)
        actor = current_call().caller.name
        manifest = await self._acting.act(
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
        header = admin_requests.delivery_header(first.header, current_call().caller.name)
        try:
            with self._acting.errors():
                staging = await self._importer.stage(header, _chunks(request_iterator, bool(header.delivery_sha256)))
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
        found = await self._acting.run(lambda: self._publisher.staging(request.staging_id))
        return list_admin_service_pb2.GetStagingResponse(staging=admin_messages.staging(found))

    async def ListStagings(  # noqa: N802
        self,
        request: list_admin_service_pb2.ListStagingsRequest,
        context: Context,  # noqa: ARG002
    ) -> list_admin_service_pb2.ListStagingsResponse:
        """A page of staged generations."""
        page = Page.asked(request.page_size, request.page_token)
        open_stagings = await self._acting.run(lambda: self._publisher.stagings(request.list_id))
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
        caller = current_call().caller.name
        found = await self._acting.act(
            "approve",
            lambda: self._publisher.approve(
                request.staging_id, caller, request.approval_digest, request.note, envelope=request.envelope
            ),
        )
        return list_admin_service_pb2.ApproveResponse(staging=admin_messages.staging(found))

    async def Publish(  # noqa: N802
        self,
        request: list_admin_service_pb2.PublishRequest,
        context: Context,  # noqa: ARG002
    ) -> list_admin_service_pb2.PublishResponse:
        """Make a staged generation visible."""
        actor = current_call().caller.name
        generation, epoch = await self._acting.act(
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
        found = await self._acting.act(
            "discard", lambda: self._publisher.discard(request.staging_id, actor, request.reason)
        )
        return list_admin_service_pb2.DiscardStagingResponse(staging=admin_messages.staging(found))

    async def RollBack(  # noqa: N802
        self,
        request: list_admin_service_pb2.RollBackRequest,
        context: Context,  # noqa: ARG002
    ) -> list_admin_service_pb2.RollBackResponse:
        """Publish an earlier generation again."""
        actor = current_call().caller.name
        generation, epoch = await self._acting.act(
            "roll-back",
            lambda: self._publisher.roll_back(
                request.list_id,
                request.generation,
                actor,
                request.reason,
                accept_gates=tuple(request.accept_gates),
                validate_only=request.validate_only,
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
        actor, found = current_call().caller.name, admin_requests.hashes(request.hashes)
        concerned = admin_requests.list_ids(request.list_ids)
        epoch, fresh = await self._acting.act(
            "suppress",
            lambda: self._suppressor.suppress(
                found, concerned, actor, request.reason, validate_only=request.validate_only
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
        actor, found = current_call().caller.name, admin_requests.hashes(request.hashes)
        epoch, lifted = await self._acting.act(
            "lift-suppression",
            lambda: self._suppressor.lift_suppression(
                found, actor, request.reason, validate_only=request.validate_only
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
        actor, found = current_call().caller.name, admin_requests.withdrawn_hashes(request.hashes)
        keys = admin_requests.source_keys(request.source_keys)
        generation, epoch, removed, missing = await self._acting.act(
            "withdraw-entries",
            lambda: self._publisher.withdraw_entries(
                request.list_id,
                found,
                keys,
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
        epoch = await self._acting.act(
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
        sealed = await self._acting.run(self._manifests.load)
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
        await self._feeds.send_feedback(request.name, admin_requests.feedback(request))
        return list_admin_service_pb2.SendFeedFeedbackResponse()


async def _chunks(
    requests: AsyncIterator[list_admin_service_pb2.StageRequest], digest_is_stated: bool
) -> AsyncIterator[bytes]:
    """The bytes of a delivery.

    gRPC ends the requests of a call that the caller gave up, or whose connection broke, as it ends those of one that is
    whole, and only a moment later cancels it: what was on its way may be half a list, and would remove the other half.

    Raises:
        HashmatchError: with DELIVERY_INCOMPLETE if neither a SHA-256 nor an end says that this is all.

    """
    ended = False
    async for request in requests:
        part = request.WhichOneof("part")
        if ended or part not in ("chunk", "end"):
            raise invalid_field("chunk", "only chunks may follow the header, and nothing the end")
        if part == "end":
            ended = True
            continue
        if len(request.chunk) > MAXIMUM_CHUNK:
            raise invalid_field("chunk", f"at most {MAXIMUM_CHUNK} bytes")
        yield request.chunk
    if not (ended or digest_is_stated):
        raise HashmatchError(
            ErrorReason.DELIVERY_INCOMPLETE,
            "the delivery ended without a word: state its SHA-256 in the header, or send an end after its last chunk",
        )
