"""`hashmatch-admin approver`: who can approve."""

from __future__ import annotations

import time
from argparse import Namespace
from pathlib import Path

from hashmatch_client import ConfigurationError
from hashmatch_client.cli.text import Cell, counted

from hashmatch.admin.connection import connect
from hashmatch.admin.documents import Document, instant
from hashmatch.admin.exits import Exit
from hashmatch.admin.locally import operations
from hashmatch.admin.output import print_result, print_rows
from hashmatch.admin.proposing import propose
from hashmatch.v1 import approval_service_pb2 as pb
from hashmatch.v1 import approval_service_pb2_grpc

_DAY = 86_400
_COLUMNS = ("name", "identity", "state", "not_before", "not_after", "enrolled_epoch", "revoked_epoch", "key")


def keygen(arguments: Namespace) -> Exit:
    """`approver keygen`."""
    approving = operations("approving")
    now = int(time.time())
    try:
        made = approving.make_approver(
            Path(arguments.directory),
            arguments.name,
            arguments.identity,
            not_before=now,
            not_after=now + arguments.days * _DAY,
            passphrase_file=Path(arguments.passphrase_file) if arguments.passphrase_file else None,
        )
    except (approving.KeyFileError, approving.EnvelopeError) as error:
        raise ConfigurationError(str(error)) from None
    document = {
        "name": arguments.name,
        "identity": arguments.identity,
        "key_file": str(made.key_file),
        "enrolment_file": str(made.enrolment_file),
    }
    print_result(
        arguments,
        document,
        f"Wrote {made.key_file}, which stays with {arguments.name}, and {made.enrolment_file}, to be enrolled.",
        "Among the first approvers name it in approvals.first_approvers; later:",
        f"  hashmatch-admin approver enrol {made.enrolment_file} --reason TEXT",
    )
    return Exit.DONE


def enrol(arguments: Namespace) -> Exit:
    """`approver enrol`."""
    enrolment = Path(arguments.file).read_bytes()
    with connect(arguments) as client:
        request = pb.EnrolApproverRequest(enrolment=enrolment, reason=arguments.reason)
        propose(arguments, client, pb.ProposedAct(enrol_approver=request))
    return Exit.PROPOSED


def revoke(arguments: Namespace) -> Exit:
    """`approver revoke`."""
    with connect(arguments) as client:
        request = pb.RevokeApproverRequest(name=arguments.name, reason=arguments.reason)
        propose(arguments, client, pb.ProposedAct(revoke_approver=request))
    return Exit.PROPOSED


def show_all(arguments: Namespace) -> Exit:
    """`approver list`."""
    with connect(arguments) as client:
        service = approval_service_pb2_grpc.ApprovalServiceStub(client.channel)
        response = client.ask(service.GetApprovers, pb.GetApproversRequest())
    found = list(response.approvers)
    rows = [_document(each) for each in found]

    def table() -> None:
        from hashmatch_client.cli.tables import print_table

        columns = ("Name", "Identity", "State", "Until", "Enrolled", "Key")
        print_table(columns, map(_row, found), no_color=arguments.no_color, numbers=("Enrolled",))
        how = "signed" if response.signatures_required else "not signed: callers are believed"
        print(f"\n{counted(response.approvals_required, 'approval')} required, {how}.")

    print_rows(arguments, "approvers", rows, table=table, columns=_COLUMNS)
    return Exit.DONE


def _state(approver: pb.Approver) -> str:
    if approver.revoked_epoch:
        return "revoked"
    return "valid" if approver.valid else "not at this time"


def _document(approver: pb.Approver) -> Document:
    return {
        "name": approver.name,
        "identity": approver.identity,
        "state": _state(approver),
        "not_before": instant(approver, "not_before") or None,
        "not_after": instant(approver, "not_after") or None,
        "enrolled_epoch": approver.enrolled_epoch,
        "revoked_epoch": approver.revoked_epoch or None,
        "key": _fingerprint(approver),
    }


def _row(approver: pb.Approver) -> tuple[Cell, ...]:
    return (
        approver.name,
        approver.identity,
        _state(approver) if approver.valid else (_state(approver), "stale"),
        instant(approver, "not_after"),
        str(approver.enrolled_epoch),
        _fingerprint(approver),
    )


def _fingerprint(approver: pb.Approver) -> str:
    # Half of it tells two keys apart, and cannot be taken for a hash of a file.
    return approver.public_key.hex()[:16]
