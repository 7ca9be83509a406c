"""`hashmatch-admin approve` and `proposal`: agreeing to what others propose or stage, signed on one's own machine."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hashmatch_client import ConfigurationError
from hashmatch_client.cli.text import Cell, counted, printable

from hashmatch.admin.connection import AdminClient, connect
from hashmatch.admin.documents import instant, staging_document
from hashmatch.admin.exits import Exit
from hashmatch.admin.locally import operations
from hashmatch.admin.output import in_epoch, outcome, print_result, print_rows
from hashmatch.admin.proposing import next_steps, proposal_document
from hashmatch.admin.report import approvals_text, print_facts, print_report
from hashmatch.admin.report import next_steps as staging_steps
from hashmatch.v1 import approval_service_pb2 as pb
from hashmatch.v1 import approval_service_pb2_grpc
from hashmatch.v1 import list_admin_service_pb2 as lists_pb

KEY_VARIABLE = "HASHMATCH_APPROVER_KEY"
_PROPOSAL_PREFIX = "p-"
_PAGE = 100
_COLUMNS = ("proposal_id", "act", "list", "proposed_by", "proposed_at", "expires_at", "given", "approvals_required")


def approve(arguments: Namespace) -> Exit:
    """`approve`: a staged generation or a proposal, by its id."""
    if not arguments.yes and not sys.stdin.isatty():
        raise ConfigurationError("there is no terminal to ask on: give --yes-i-read-it once you did")
    if arguments.output == "json" and not arguments.yes:
        raise ConfigurationError("--output json needs --yes-i-read-it: what is approved is shown as a table")
    with connect(arguments) as client:
        if arguments.id.startswith(_PROPOSAL_PREFIX):
            return _approve_proposal(arguments, client)
        return _approve_staging(arguments, client)


def has_key(arguments: Namespace) -> bool:
    """Whether there is a key to sign with."""
    return bool(arguments.approver_key or os.environ.get(KEY_VARIABLE))


def envelope_for(arguments: Namespace, client: AdminClient, terms: lists_pb.ApprovalTerms) -> bytes:
    """The approver's signature over the terms, made here; empty if no key is given. Raises `ConfigurationError`."""
    file = arguments.approver_key or os.environ.get(KEY_VARIABLE, "")
    if not file:
        return b""
    approving = operations("approving")
    passphrase = Path(arguments.passphrase_file) if arguments.passphrase_file else None
    try:
        signatory = approving.Signatory(Path(file), passphrase)
    except approving.KeyFileError as error:
        raise ConfigurationError(str(error)) from None
    name = _name_of(signatory.public_key, client)
    signed: bytes = signatory.sign(_terms(approving, terms), name, time.time())
    return signed


def show_all(arguments: Namespace) -> Exit:
    """`proposal list`."""
    with connect(arguments) as client:
        found = list(_open_proposals(client))
    print_rows(
        arguments,
        "proposals",
        [proposal_document(each) for each in found],
        table=lambda: _table(found, no_color=arguments.no_color),
        columns=_COLUMNS,
        flat=lambda row: row | {"given": len(row["approvals"])},
    )
    return Exit.DONE


def show(arguments: Namespace) -> Exit:
    """`proposal show`."""
    with connect(arguments) as client:
        proposal = _get(client, arguments.id)
    if arguments.hashes_to:
        _write_hashes(Path(arguments.hashes_to), _act_of(proposal))
    if arguments.output == "json":
        print(json.dumps(proposal_document(proposal) | {"says": dict(_said(_act_of(proposal)))}, indent=2))
        return Exit.DONE
    _print(proposal)
    print()
    for line in next_steps(proposal):
        print(printable(line))
    return Exit.DONE


def carry_out(arguments: Namespace) -> Exit:
    """`proposal carry-out`."""
    with connect(arguments) as client:
        request = pb.CarryOutProposalRequest(proposal_id=arguments.id, validate_only=arguments.dry_run)
        response = client.act(_service(client).CarryOutProposal, request)
    document = outcome(arguments, response.epoch) | {"proposal": proposal_document(response.proposal)}
    done = "Would carry out" if arguments.dry_run else "Carried out"
    sentence = f"{done} {arguments.id}, {response.proposal.terms.act}{in_epoch(arguments, response.epoch)}."
    print_result(arguments, document, sentence)
    return Exit.DONE


def discard(arguments: Namespace) -> Exit:
    """`proposal discard`."""
    with connect(arguments) as client:
        request = pb.DiscardProposalRequest(proposal_id=arguments.id, reason=arguments.reason)
        proposal = client.act(_service(client).DiscardProposal, request).proposal
    print_result(arguments, proposal_document(proposal), f"Discarded {proposal.proposal_id}.")
    return Exit.DONE


def _approve_proposal(arguments: Namespace, client: AdminClient) -> Exit:
    proposal = _get(client, arguments.id)
    terms = proposal.terms
    # What is shown is what is signed: the digest is of the bytes that are here, whatever the server says.
    if terms.content_sha256 != hashlib.sha256(proposal.act).digest() or terms.subject != arguments.id:
        raise ConfigurationError("the server's terms are not those of the proposal that it shows: nothing was signed")
    if arguments.output != "json":
        _print(proposal)
        print()
    if not _agreed(arguments):
        return Exit.FAILED
    request = pb.ApproveProposalRequest(
        proposal_id=arguments.id, envelope=envelope_for(arguments, client, terms), note=arguments.note
    )
    proposal = client.act(_service(client).ApproveProposal, request).proposal
    given = f"{len(proposal.approvals)} of {proposal.approvals_required}"
    print_result(arguments, proposal_document(proposal), f"Approved: {given}.", *next_steps(proposal))
    return Exit.DONE


def _approve_staging(arguments: Namespace, client: AdminClient) -> Exit:
    request = lists_pb.GetStagingRequest(staging_id=arguments.id)
    staging = client.ask(client.service.GetStaging, request).staging
    if arguments.output != "json":
        print_report(staging, no_color=arguments.no_color)
        print()
    check_terms(staging)
    if not _agreed(arguments):
        return Exit.FAILED
    approval = lists_pb.ApproveRequest(
        staging_id=arguments.id,
        approval_digest=staging.approval_digest,
        note=arguments.note,
        envelope=envelope_for(arguments, client, staging.terms),
    )
    staging = client.act(client.service.Approve, approval).staging
    sentences = f"Approved: {approvals_text(staging)}.", *staging_steps(staging)
    print_result(arguments, staging_document(staging), *sentences)
    return Exit.DONE


def check_terms(staging: lists_pb.Staging) -> None:
    """Raise `ConfigurationError` where the terms that would be signed are not those of what was shown."""
    terms = staging.terms
    shown = (staging.staging_id, staging.list_id, staging.base_generation + 1, staging.delivery_sha256)
    if staging.HasField("terms") and (
        (terms.subject, terms.list_id, terms.generation, terms.content_sha256) != shown
        or terms.report_sha256 != staging.approval_digest
        or terms.act != "publish"
    ):
        raise ConfigurationError("the server's terms are not those of the report that it shows: nothing was signed")


def _agreed(arguments: Namespace) -> bool:
    """Asks on the terminal; nothing but the word itself agrees."""
    if arguments.yes:
        return True
    print("Approve this? Type yes: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() == "yes":
        return True
    print("hashmatch-admin: not approved", file=sys.stderr)
    return False


def _name_of(public_key: bytes, client: AdminClient) -> str:
    found = client.ask(_service(client).GetApprovers, pb.GetApproversRequest()).approvers
    for approver in found:
        if approver.public_key == public_key:
            return approver.name
    raise ConfigurationError("nobody is enrolled with this key: `hashmatch-admin approver enrol` enrols it")


def _terms(approving: Any, terms: lists_pb.ApprovalTerms) -> Any:
    return approving.ApprovalTerms(
        act=terms.act,
        subject=terms.subject,
        store=terms.store,
        list_id=terms.list_id,
        generation=terms.generation,
        base_sha256=terms.base_sha256,
        content_sha256=terms.content_sha256,
        report_sha256=terms.report_sha256,
        expires_at=terms.expires_at,
    )


def _service(client: AdminClient) -> approval_service_pb2_grpc.ApprovalServiceStub:
    return approval_service_pb2_grpc.ApprovalServiceStub(client.channel)


def _get(client: AdminClient, proposal_id: str) -> pb.Proposal:
    return client.ask(_service(client).GetProposal, pb.GetProposalRequest(proposal_id=proposal_id)).proposal


def _open_proposals(client: AdminClient) -> Iterator[pb.Proposal]:
    token = ""
    while True:
        request = pb.ListProposalsRequest(page_size=_PAGE, page_token=token)
        page = client.ask(_service(client).ListProposals, request)
        yield from page.proposals
        token = page.next_page_token
        if not token:
            return


def _act_of(proposal: pb.Proposal) -> pb.ProposedAct:
    return pb.ProposedAct.FromString(proposal.act)


def _print(proposal: pb.Proposal) -> None:
    print_facts(
        [
            ("proposal", proposal.proposal_id),
            ("act", proposal.terms.act),
            *_said(_act_of(proposal)),
            ("proposed", f"{instant(proposal, 'proposed_at')} by {proposal.proposed_by}"),
            ("expires", instant(proposal, "expires_at")),
            ("approvals", f"{len(proposal.approvals)} of {proposal.approvals_required}"),
            *(
                ("", f"{instant(each, 'approved_at')} by {each.approver}{': ' + each.note if each.note else ''}")
                for each in proposal.approvals
            ),
            ("content SHA-256", hashlib.sha256(proposal.act).hexdigest()),
        ]
    )


def _said(act: pb.ProposedAct) -> Iterator[tuple[str, str]]:
    """What an act says, for people. Hashes are counted and never shown."""
    kind = act.WhichOneof("act")
    if kind is None:
        yield "says", "nothing that this command knows: do not approve it"
        return
    said = getattr(act, kind)
    match kind:
        case "define_list":
            text = str(said.definition).strip().replace("\n", "; ")
            yield "definition", text
        case "activate_policy":
            yield "document", "\n" + said.document
        case "enrol_approver":
            yield "approver", _enrolment_text(said.enrolment)
        case "revoke_approver":
            yield "approver", said.name
        case "suppress":
            yield "hashes", counted(len(said.hashes), "hash", "hashes")
            yield "lists", ", ".join(said.list_ids) or "every list"
        case "lift_suppression":
            yield "hashes", counted(len(said.hashes), "hash", "hashes")
        case "withdraw_entries":
            yield "list", said.list_id
            yield "hashes", counted(len(said.hashes), "hash", "hashes")
            yield "keys", ", ".join(said.source_keys)
        case "roll_back":
            yield "list", said.list_id
            yield "back to", f"generation {said.generation}"
            if said.accept_gates:
                yield "accepting", ", ".join(said.accept_gates)
        case "withdraw_list":
            yield "list", said.list_id
    if hasattr(said, "reason"):
        yield "reason", said.reason


def _enrolment_text(enrolment: bytes) -> str:
    approving = operations("approving")
    try:
        key = approving.read_enrolment(enrolment)
    except (approving.EnvelopeError, approving.SignatureError) as error:
        return f"not an enrolment: {error}"
    return f"{key.name}, {key.identity}, key {key.public_key.hex()[:16]}…"


def _write_hashes(path: Path, act: pb.ProposedAct) -> None:
    """Writes the hashes of an act, one a line, for whoever has to look them up before agreeing."""
    kind = act.WhichOneof("act")
    hashes = getattr(getattr(act, kind), "hashes", ()) if kind else ()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.writelines(f"{each.value.hex()}\n" for each in hashes)


def _table(found: list[pb.Proposal], *, no_color: bool) -> None:
    from hashmatch_client.cli.tables import print_table

    rows: list[tuple[Cell, ...]] = [
        (
            each.proposal_id,
            each.terms.act,
            each.terms.list_id,
            each.proposed_by,
            instant(each, "proposed_at"),
            instant(each, "expires_at"),
            f"{len(each.approvals)} of {each.approvals_required}",
        )
        for each in found
    ]
    print_table(("ID", "Act", "List", "By", "Proposed", "Expires", "Approvals"), rows, no_color=no_color)
