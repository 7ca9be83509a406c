"""Between the messages of ApprovalService and the model: translation, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable

from hashmatch.model.approvals import ApprovalRecord, ApprovalTerms, Approver
from hashmatch.service import messages
from hashmatch.store.proposals import CARRIED_OUT, DISCARDED, OPEN, Proposal
from hashmatch.v1 import approval_service_pb2, list_admin_service_pb2

_STATES = {
    OPEN: approval_service_pb2.PROPOSAL_STATE_OPEN,
    CARRIED_OUT: approval_service_pb2.PROPOSAL_STATE_CARRIED_OUT,
    DISCARDED: approval_service_pb2.PROPOSAL_STATE_DISCARDED,
}


def approver(found: Approver, now: float) -> approval_service_pb2.Approver:
    """An approver, as things stand now."""
    key = found.key
    return approval_service_pb2.Approver(
        name=key.name,
        identity=key.identity,
        public_key=key.public_key,
        not_before=None if key.not_before is None else messages.timestamp(key.not_before),
        not_after=None if key.not_after is None else messages.timestamp(key.not_after),
        enrolled_epoch=found.enrolled_epoch,
        revoked_epoch=found.revoked_epoch,
        valid=found.counts(now),
    )


def approvals(found: Iterable[ApprovalRecord]) -> list[list_admin_service_pb2.Approval]:
    """Approvals, without what was signed."""
    return [
        list_admin_service_pb2.Approval(
            approver=each.approver,
            approved_at=messages.timestamp(each.approved_at),
            note=each.note,
            signed=bool(each.envelope),
        )
        for each in found
    ]


def terms(found: ApprovalTerms) -> list_admin_service_pb2.ApprovalTerms:
    """What an approval is for."""
    return list_admin_service_pb2.ApprovalTerms(
        act=found.act,
        subject=found.subject,
        store=found.store,
        list_id=found.list_id,
        generation=found.generation,
        base_sha256=found.base_sha256,
        content_sha256=found.content_sha256,
        report_sha256=found.report_sha256,
        expires_at=found.expires_at,
    )


def proposal(found: Proposal) -> approval_service_pb2.Proposal:
    """A proposal."""
    return approval_service_pb2.Proposal(
        proposal_id=found.proposal_id,
        act=found.content,
        state=_STATES[found.state],
        proposed_by=found.proposed_by,
        proposed_at=messages.timestamp(found.proposed_at),
        expires_at=messages.timestamp(found.terms.expires_at),
        terms=terms(found.terms),
        approvals=approvals(found.approvals),
        approvals_required=found.approvals_required,
        epoch=found.epoch,
    )
