"""ApprovalService: checks what is asked, has it done, translates."""

from __future__ import annotations

from typing import Any, TypeAlias

import grpc.aio

from hashmatch.ingest.approvers import Approvers
from hashmatch.ingest.proposals import Proposals
from hashmatch.model.clock import Clock
from hashmatch.model.vetting import VettingPolicy
from hashmatch.service import approval_messages
from hashmatch.service.acting import Acting
from hashmatch.service.calls import annotate, current_call
from hashmatch.service.paging import Page
from hashmatch.v1 import approval_service_pb2 as pb
from hashmatch.v1 import approval_service_pb2_grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class ApprovalServicer(approval_service_pb2_grpc.ApprovalServiceServicer):
    """Has acts proposed, approved and carried out."""

    def __init__(
        self, proposals: Proposals, approvers: Approvers, policy: VettingPolicy, clock: Clock, acting: Acting
    ) -> None:
        self._proposals = proposals
        self._approvers = approvers
        self._policy = policy
        self._clock = clock
        self._acting = acting

    async def GetApprovers(  # noqa: N802
        self,
        request: pb.GetApproversRequest,  # noqa: ARG002
        context: Context,  # noqa: ARG002
    ) -> pb.GetApproversResponse:
        """Who is enrolled."""
        found = await self._acting.run(self._approvers.enrolled)
        now = self._clock.now()
        return pb.GetApproversResponse(
            approvers=[approval_messages.approver(each, now) for each in found],
            approvals_required=self._policy.approvals_required,
            signatures_required=self._policy.signatures_required,
        )

    async def Propose(  # noqa: N802
        self,
        request: pb.ProposeRequest,
        context: Context,  # noqa: ARG002
    ) -> pb.ProposeResponse:
        """Propose an act."""
        actor = current_call().caller.name
        found = await self._acting.act("propose", lambda: self._proposals.propose(request.act, actor))
        annotate(act=found.terms.act, list_id=found.terms.list_id)
        return pb.ProposeResponse(proposal=approval_messages.proposal(found))

    async def GetProposal(  # noqa: N802
        self,
        request: pb.GetProposalRequest,
        context: Context,  # noqa: ARG002
    ) -> pb.GetProposalResponse:
        """A proposal."""
        found = await self._acting.run(lambda: self._proposals.get(request.proposal_id))
        return pb.GetProposalResponse(proposal=approval_messages.proposal(found))

    async def ListProposals(  # noqa: N802
        self,
        request: pb.ListProposalsRequest,
        context: Context,  # noqa: ARG002
    ) -> pb.ListProposalsResponse:
        """A page of open proposals."""
        page = Page.asked(request.page_size, request.page_token)
        open_proposals = await self._acting.run(self._proposals.open)
        found, token = page.cut(open_proposals, lambda each: f"{each.proposed_at:020.6f}/{each.proposal_id}")
        return pb.ListProposalsResponse(proposals=map(approval_messages.proposal, found), next_page_token=token)

    async def ApproveProposal(  # noqa: N802
        self,
        request: pb.ApproveProposalRequest,
        context: Context,  # noqa: ARG002
    ) -> pb.ApproveProposalResponse:
        """Record an approval."""
        caller = current_call().caller.name
        found = await self._acting.act(
            "approve",
            lambda: self._proposals.approve(request.proposal_id, caller, request.note, envelope=request.envelope),
        )
        annotate(act=found.terms.act)
        return pb.ApproveProposalResponse(proposal=approval_messages.proposal(found))

    async def CarryOutProposal(  # noqa: N802
        self,
        request: pb.CarryOutProposalRequest,
        context: Context,  # noqa: ARG002
    ) -> pb.CarryOutProposalResponse:
        """Have a proposal take effect."""
        actor = current_call().caller.name
        found, epoch = await self._acting.act(
            "carry-out",
            lambda: self._proposals.carry_out(request.proposal_id, actor, validate_only=request.validate_only),
            validate_only=request.validate_only,
        )
        annotate(act=found.terms.act, epoch=epoch)
        return pb.CarryOutProposalResponse(proposal=approval_messages.proposal(found), epoch=epoch)

    async def DiscardProposal(  # noqa: N802
        self,
        request: pb.DiscardProposalRequest,
        context: Context,  # noqa: ARG002
    ) -> pb.DiscardProposalResponse:
        """Drop a proposal."""
        actor = current_call().caller.name
        found = await self._acting.act(
            "discard-proposal", lambda: self._proposals.discard(request.proposal_id, actor, request.reason)
        )
        return pb.DiscardProposalResponse(proposal=approval_messages.proposal(found))
