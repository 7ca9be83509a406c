"""`hashmatch-admin stage`: from a delivered file to a vetting report."""

from __future__ import annotations

import json
import sys
from argparse import Namespace

from google.protobuf.timestamp_pb2 import Timestamp

from hashmatch.admin.connection import connect
from hashmatch.admin.delivery import open_delivery, send
from hashmatch.admin.documents import staging_document
from hashmatch.admin.exits import Exit
from hashmatch.admin.profile import profile_text
from hashmatch.admin.progress import progress
from hashmatch.admin.report import print_report
from hashmatch.v1 import list_admin_service_pb2 as pb


def stage(arguments: Namespace) -> Exit:
    """Runs the command."""
    header = _header(arguments)
    show = sys.stderr.isatty() and not arguments.quiet
    with (
        connect(arguments) as client,
        progress(show=show, no_color=arguments.no_color) as shown,
        open_delivery(arguments.file, shown) as delivery,
    ):
        staging = send(client, header, delivery, shown)
    if arguments.output == "json":
        print(json.dumps(staging_document(staging), indent=2))
    else:
        print_report(staging, no_color=arguments.no_color)
    return Exit.DONE


def _header(arguments: Namespace) -> pb.StageHeader:
    header = pb.StageHeader(
        list_id=arguments.list_id,
        format=arguments.format,
        mode=pb.DeliveryMode.Value(f"DELIVERY_MODE_{arguments.mode.upper()}"),
        label=arguments.label,
        scheme=arguments.scheme,
        jurisdiction=arguments.jurisdiction,
        profile=profile_text(arguments.format, arguments.profile),
        declared_records=arguments.declared_records,
        validate_only=arguments.dry_run,
        request_id=arguments.request_id,
    )
    if arguments.as_of is not None:
        as_of = Timestamp()
        as_of.FromDatetime(arguments.as_of)
        header.as_of.CopyFrom(as_of)
    return header
