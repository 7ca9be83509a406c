"""`hashmatch-admin feedback`: what callers said of matches."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from hashmatch_client.cli.text import Cell, counted, words

from hashmatch.admin.connection import connect
from hashmatch.admin.documents import instant
from hashmatch.admin.exits import Exit
from hashmatch.admin.output import print_result, print_rows
from hashmatch.v1 import common_pb2, feedback_admin_service_pb2_grpc, match_service_pb2
from hashmatch.v1 import feedback_admin_service_pb2 as pb

_COLUMNS = (
    "feedback_id", "list", "generation", "algorithm", "judgement", "reason", "near", "source_keys", "client", "said_at",
    "note",
)  # fmt: skip
_HEADINGS = ("Id", "List", "Algorithm", "Said", "Entries", "By", "On", "Note")


def show(arguments: Namespace) -> Exit:
    """`feedback list`."""
    with connect(arguments) as client:
        service = feedback_admin_service_pb2_grpc.FeedbackAdminServiceStub(client.channel)
        request = pb.ListFeedbackRequest(
            list_id=arguments.list_id, disputes_only=arguments.disputes, limit=arguments.limit
        )
        response = client.ask(service.ListFeedback, request)
    rows = [_document(each) for each in response.feedback]

    def table() -> None:
        from hashmatch_client.cli.tables import print_table

        print_table(_HEADINGS, map(_row, rows), no_color=arguments.no_color)
        more = response.total - len(rows)
        print(f"\n{counted(response.total, 'record')}" + (f", {more:,} of them not shown" if more else ""))

    print_rows(arguments, "feedback", rows, table=table, columns=_COLUMNS, flat=_flat)
    return Exit.DONE


def settle(arguments: Namespace) -> Exit:
    """`feedback settle`."""
    with connect(arguments) as client:
        service = feedback_admin_service_pb2_grpc.FeedbackAdminServiceStub(client.channel)
        request = pb.SettleFeedbackRequest(feedback_ids=arguments.ids, reason=arguments.reason)
        response = client.act(service.SettleFeedback, request)
    print_result(arguments, {"settled": response.settled}, f"Settled {response.settled:,} of {len(arguments.ids):,}.")
    return Exit.DONE


def _document(said: pb.RecordedFeedback) -> dict[str, Any]:
    reason = match_service_pb2.DisputeReason.Name(said.reason).removeprefix("DISPUTE_REASON_")
    return {
        "feedback_id": said.feedback_id,
        "list": said.list_id,
        "algorithm": common_pb2.Algorithm.Name(said.algorithm).removeprefix("ALGORITHM_"),
        "judgement": match_service_pb2.FeedbackJudgement.Name(said.judgement).removeprefix("FEEDBACK_JUDGEMENT_"),
        "reason": "" if reason == "UNSPECIFIED" else reason,
        "near": said.near,
        "source_keys": list(said.source_keys),
        "client": said.client,
        "said_at": instant(said, "said_at"),
        "note": said.note,
        "generation": said.generation,
    }


def _flat(document: dict[str, Any]) -> dict[str, object]:
    return {**document, "source_keys": " ".join(document["source_keys"])}


def _row(document: dict[str, Any]) -> tuple[Cell, ...]:
    said = words(document["judgement"])
    reason = f": {words(document['reason'])}" if document["reason"] else ""
    near = " (near)" if document["near"] else ""
    return (
        document["feedback_id"],
        document["list"],
        document["algorithm"] + near,
        said + reason,
        ", ".join(document["source_keys"]),
        document["client"],
        document["said_at"],
        document["note"],
    )
