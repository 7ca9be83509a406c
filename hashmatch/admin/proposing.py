"""Acts that need the agreement of others: where the server says so, they are proposed instead of done."""

from __future__ import annotations

import shlex
from argparse import Namespace
from typing import Any, TypeVar

import grpc
from hashmatch_client._errors import ApiError
from hashmatch_client.cli.text import counted

from hashmatch.admin.connection import AdminClient
from hashmatch.admin.documents import Document, instant
from hashmatch.admin.output import print_result
from hashmatch.v1 import approval_service_pb2 as pb
from hashmatch.v1 import approval_service_pb2_grpc

Q = TypeVar("Q")
A = TypeVar("A")

_STATES = {
    pb.PROPOSAL_STATE_OPEN: "open",
    pb.PROPOSAL_STATE_CARRIED_OUT: "carried out",
    pb.PROPOSAL_STATE_DISCARDED: "discarded",
}


def act_or_propose(
    arguments: Namespace, client: AdminClient, method: grpc.UnaryUnaryMultiCallable[Q, A], request: Q, **proposed: Any
) -> A | None:
    """The answer of the act; None if it was proposed instead, which is printed then.

    `proposed` is the request under the name of its field in ProposedAct, or what makes it.
    """
    try:
        return client.act(method, request)
    except ApiError as error:
        if error.reason != "PROPOSAL_REQUIRED":
            raise
    act = {name: made() if callable(made) else made for name, made in proposed.items()}
    propose(arguments, client, pb.ProposedAct(**act))
    return None


def propose(arguments: Namespace, client: AdminClient, act: pb.ProposedAct) -> pb.Proposal:
    """Propose an act, and print what to do next."""
    service = approval_service_pb2_grpc.ApprovalServiceStub(client.channel)
    request = pb.ProposeRequest(act=act.SerializeToString(deterministic=True))
    proposal = client.act(service.Propose, request).proposal
    print_result(
        arguments,
        {"proposed": True} | proposal_document(proposal),
        f"Proposed: {proposal.terms.act}. Nothing has changed yet.",
        *next_steps(proposal),
    )
    return proposal


def proposal_document(proposal: pb.Proposal) -> Document:
    """A proposal, without the hashes in it."""
    return {
        "proposal_id": proposal.proposal_id,
        "act": proposal.terms.act,
        "list": proposal.terms.list_id or None,
        "state": _STATES.get(proposal.state, "unknown"),
        "proposed_by": proposal.proposed_by,
        "proposed_at": instant(proposal, "proposed_at") or None,
        "expires_at": instant(proposal, "expires_at") or None,
        "approvals": [
            {
                "approver": each.approver,
                "approved_at": instant(each, "approved_at") or None,
                "note": each.note,
                "signed": each.signed,
            }
            for each in proposal.approvals
        ],
        "approvals_required": proposal.approvals_required,
        "epoch": proposal.epoch or None,
    }


def next_steps(proposal: pb.Proposal) -> list[str]:
    """What is to be done with a proposal, as lines; commands are indented."""
    if proposal.state == pb.PROPOSAL_STATE_CARRIED_OUT:
        return ["Carried out."]
    if proposal.state == pb.PROPOSAL_STATE_DISCARDED:
        return ["Discarded."]
    missing = proposal.approvals_required - len(proposal.approvals)
    lines = []
    if missing > 0:
        lines = [
            f"It needs {counted(missing, 'approval')} by enrolled approvers other than {proposal.proposed_by}:",
            f"  hashmatch-admin approve {shlex.quote(proposal.proposal_id)} --approver-key FILE",
        ]
    return [
        *lines,
        f"It takes effect, until {instant(proposal, 'expires_at')}, with:",
        f"  hashmatch-admin proposal carry-out {shlex.quote(proposal.proposal_id)}",
    ]
