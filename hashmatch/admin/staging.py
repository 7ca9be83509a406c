"""`hashmatch-admin staging`: what was staged, on its way to being published or dropped."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterator

from hashmatch_client import ConfigurationError
from hashmatch_client.cli.text import Cell, counted, words

from hashmatch.admin import approvals
from hashmatch.admin.connection import AdminClient, connect
from hashmatch.admin.documents import Document, generation_document, instant, mode, staging_document
from hashmatch.admin.exits import Exit
from hashmatch.admin.output import in_epoch, outcome, print_result, print_rows
from hashmatch.admin.report import approvals_text, counts_text, next_steps, print_report, unmet_gates
from hashmatch.v1 import list_admin_service_pb2 as pb

# Reports are large: pages stay small enough for an answer.
_PAGE = 50

_COLUMNS = (
    "staging_id",
    "list",
    "mode",
    "staged_at",
    "staged_by",
    "file_name",
    "delivery_bytes",
    "records",
    "added",
    "removed",
    "quarantined",
    "gates_not_met",
    "approvals_given",
    "approvals_required",
)


def show_all(arguments: Namespace) -> Exit:
    """`staging list`."""
    with connect(arguments) as client:
        found = list(open_stagings(client, arguments.list_id))
    print_rows(
        arguments,
        "stagings",
        [staging_document(each) for each in found],
        table=lambda: print_stagings(found, no_color=arguments.no_color),
        columns=_COLUMNS,
        flat=_flat,
    )
    return Exit.DONE


def show(arguments: Namespace) -> Exit:
    """`staging show`."""
    with connect(arguments) as client:
        staging = _get(client, arguments.staging_id)
    if arguments.output == "json":
        print(json.dumps(staging_document(staging), indent=2))
    else:
        print_report(staging, no_color=arguments.no_color)
    return Exit.DONE


def approve(arguments: Namespace) -> Exit:
    """`staging approve`."""
    if arguments.digest is None and arguments.output == "json":
        raise ConfigurationError("--output json needs --digest HEX: a report is shown for reading as a table")
    if arguments.digest is None and not arguments.yes and not sys.stdin.isatty():
        raise ConfigurationError("there is no terminal to ask on: give --digest HEX of the report that you read")
    with connect(arguments) as client:
        digest = arguments.digest
        if digest is None:
            staging = _get(client, arguments.staging_id)
            print_report(staging, no_color=arguments.no_color)
            print()
            sys.stdout.flush()
            if not arguments.yes and not _agreed(staging):
                print("hashmatch-admin: not approved", file=sys.stderr)
                return Exit.FAILED
            digest = staging.approval_digest
        envelope = b""
        if approvals.has_key(arguments):
            # The digest that was read is signed together with the delivery, the list and its state.
            staging = _get(client, arguments.staging_id)
            staging.terms.report_sha256 = digest
            approvals.check_terms(staging)
            envelope = approvals.envelope_for(arguments, client, staging.terms)
        request = pb.ApproveRequest(
            staging_id=arguments.staging_id, approval_digest=digest, note=arguments.note, envelope=envelope
        )
        staging = client.act(client.service.Approve, request).staging
    sentences = f"Approved: {approvals_text(staging)}.", *next_steps(staging)
    print_result(arguments, staging_document(staging), *sentences)
    return Exit.DONE


def accepted_gates(arguments: Namespace) -> list[str]:
    """The gates that are accepted although they are not met. Raises `ConfigurationError` without a reason."""
    if arguments.gates and not arguments.reason:
        raise ConfigurationError("--accept-gate needs --reason TEXT: it goes into the record")
    gates: list[str] = arguments.gates
    return gates


def publish(arguments: Namespace) -> Exit:
    """`staging publish`."""
    gates = accepted_gates(arguments)
    with connect(arguments) as client:
        response = client.act(
            client.service.Publish,
            pb.PublishRequest(
                staging_id=arguments.staging_id,
                accept_gates=gates,
                reason=arguments.reason,
                validate_only=arguments.dry_run,
            ),
        )
    generation = response.generation
    document = outcome(arguments, response.epoch) | {"generation": generation_document(generation)}
    done = "Would publish" if arguments.dry_run else "Published"
    what = f"generation {generation.number} with {counts_text(generation.counts)}"
    print_result(arguments, document, f"{done} {what}{in_epoch(arguments, response.epoch)}.")
    return Exit.DONE


def discard(arguments: Namespace) -> Exit:
    """`staging discard`."""
    with connect(arguments) as client:
        request = pb.DiscardStagingRequest(staging_id=arguments.staging_id, reason=arguments.reason)
        staging = client.act(client.service.DiscardStaging, request).staging
    print_result(arguments, staging_document(staging), f"Discarded {staging.staging_id} of {staging.list_id}.")
    return Exit.DONE


def open_stagings(client: AdminClient, list_id: str) -> Iterator[pb.Staging]:
    """What is neither published nor discarded, oldest first."""
    token = ""
    while True:
        request = pb.ListStagingsRequest(list_id=list_id, page_size=_PAGE, page_token=token)
        page = client.ask(client.service.ListStagings, request)
        yield from page.stagings
        token = page.next_page_token
        if not token:
            return


def print_stagings(stagings: list[pb.Staging], *, no_color: bool) -> None:
    """Draws a table of them."""
    from hashmatch_client.cli.tables import print_table

    columns = ("ID", "List", "Mode", "Staged", "By", "Records", "Added", "Removed", "Gates", "Approvals")
    print_table(columns, map(_row, stagings), no_color=no_color, numbers=("Records", "Added", "Removed"))


def _get(client: AdminClient, staging_id: str) -> pb.Staging:
    return client.ask(client.service.GetStaging, pb.GetStagingRequest(staging_id=staging_id)).staging


def _agreed(staging: pb.Staging) -> bool:
    """Asks on the terminal; nothing but the word itself agrees."""
    unmet = len(unmet_gates(staging))
    warning = f" {counted(unmet, 'gate is', 'gates are')} not met." if unmet else ""
    print(f"Approve this report?{warning} Type yes: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() == "yes"


def _row(staging: pb.Staging) -> tuple[Cell, ...]:
    unmet = [gate.name for gate in unmet_gates(staging)]
    return (
        staging.staging_id,
        staging.list_id,
        words(mode(staging.mode)),
        instant(staging, "staged_at"),
        staging.staged_by,
        f"{staging.report.records:,}",
        f"{staging.report.added:,}",
        f"{staging.report.removed:,}",
        ("not met: " + ", ".join(unmet), "stale") if unmet else "met",
        approvals_text(staging),
    )


def _flat(row: Document) -> Document:
    report = row["report"]
    return row | {
        "records": report["records"],
        "added": report["added"],
        "removed": report["removed"],
        "quarantined": report["quarantined"],
        "gates_not_met": " ".join(gate["name"] for gate in report["gates"] if not gate["passed"]),
        "approvals_given": len(row["approvals"]),
    }
