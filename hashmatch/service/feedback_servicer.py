"""FeedbackAdminService: shows what callers said of matches, and has it settled."""

from __future__ import annotations

import asyncio
from typing import Any, TypeAlias

import grpc.aio

from hashmatch.ingest.acts import Audit
from hashmatch.model.errors import invalid_field
from hashmatch.model.feedback import Judgement
from hashmatch.model.lists import check_list_id, check_reason
from hashmatch.service.acting import Acting
from hashmatch.service.calls import annotate, current_call
from hashmatch.service.feedback import FeedbackDesk
from hashmatch.service.feedback_messages import recorded
from hashmatch.v1 import feedback_admin_service_pb2, feedback_admin_service_pb2_grpc

_USUAL, _MOST = 100, 1_000
_MAXIMUM_IDS = 100
_MAXIMUM_ID = 64

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class FeedbackAdminServicer(feedback_admin_service_pb2_grpc.FeedbackAdminServiceServicer):
    """Tells operators what callers said."""

    def __init__(self, desk: FeedbackDesk, audit: Audit, acting: Acting) -> None:
        self._desk = desk
        self._audit = audit
        self._acting = acting

    async def ListFeedback(  # noqa: N802
        self,
        request: feedback_admin_service_pb2.ListFeedbackRequest,
        context: Context,  # noqa: ARG002
    ) -> feedback_admin_service_pb2.ListFeedbackResponse:
        """What callers said."""
        if request.list_id:
            check_list_id(request.list_id)
        if request.limit > _MOST:
            raise invalid_field("limit", f"at most {_MOST}")
        await self._desk.look()
        wanted = [
            (feedback_id, said)
            for feedback_id, said in self._desk.known.items()
            if request.list_id in ("", said.list_id)
            and (said.judgement is Judgement.DISPUTED or not request.disputes_only)
        ]
        wanted.sort(key=lambda each: (each[1].judgement is not Judgement.DISPUTED, -each[1].said_at, each[0]))
        told = [recorded(*each) for each in wanted[: request.limit or _USUAL]]
        return feedback_admin_service_pb2.ListFeedbackResponse(feedback=told, total=len(wanted))

    async def SettleFeedback(  # noqa: N802
        self,
        request: feedback_admin_service_pb2.SettleFeedbackRequest,
        context: Context,  # noqa: ARG002
    ) -> feedback_admin_service_pb2.SettleFeedbackResponse:
        """Keep some of it no longer."""
        if not 1 <= len(request.feedback_ids) <= _MAXIMUM_IDS:
            raise invalid_field("feedback_ids", f"1 to {_MAXIMUM_IDS}")
        if any(not 1 <= len(each) <= _MAXIMUM_ID for each in request.feedback_ids):
            raise invalid_field("feedback_ids", f"1 to {_MAXIMUM_ID} characters each")
        check_reason(request.reason)
        actor, wanted = current_call().caller.name, set(request.feedback_ids)
        # It goes on when the caller goes away: what is on the record has to take effect.
        settled = await asyncio.shield(asyncio.ensure_future(self._settle(wanted, actor, request.reason)))
        annotate(feedback=settled)
        return feedback_admin_service_pb2.SettleFeedbackResponse(settled=settled)

    async def _settle(self, wanted: set[str], actor: str, reason: str) -> int:
        await self._desk.look()
        there = wanted & self._desk.known.keys()
        # On the record before it takes effect, like every act.
        await self._acting.run(lambda: self._audit.append("settle-feedback", actor, feedback=len(there), reason=reason))
        return await self._desk.forget(there)
