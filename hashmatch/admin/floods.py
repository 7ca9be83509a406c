"""`hashmatch-admin floods`: entries that suddenly match far more often than before."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterable
from typing import Any

from hashmatch_client import ConfigurationError
from hashmatch_client.cli.text import Cell, counted

from hashmatch.admin.connection import connect
from hashmatch.admin.documents import instant
from hashmatch.admin.exits import Exit
from hashmatch.admin.output import print_rows
from hashmatch.v1 import common_pb2, flood_admin_service_pb2_grpc
from hashmatch.v1 import flood_admin_service_pb2 as pb

_COLUMNS = (
    "flood_id", "list", "generation", "algorithm", "matches", "usual", "window_seconds", "seen_at", "source_keys",
)  # fmt: skip
_HEADINGS = ("Id", "List", "Algorithm", "Matches", "Usual", "Within", "Seen", "Entries")


def show(arguments: Namespace) -> Exit:
    """`floods list`."""
    if arguments.hashes_to is not None and os.path.lexists(arguments.hashes_to):
        raise ConfigurationError(f"{arguments.hashes_to} exists already")
    with connect(arguments) as client:
        service = flood_admin_service_pb2_grpc.FloodAdminServiceStub(client.channel)
        request = pb.ListFloodsRequest(
            list_id=arguments.list_id, limit=arguments.limit, include_hashes=arguments.hashes_to is not None
        )
        response = client.ask(service.ListFloods, request)
    rows = [_document(each) for each in response.floods]
    if arguments.hashes_to is not None:
        _write_hashes(arguments.hashes_to, response.floods)

    def table() -> None:
        from hashmatch_client.cli.tables import print_table

        print_table(_HEADINGS, map(_row, rows), no_color=arguments.no_color)
        more = response.total - len(rows)
        print(f"\n{counted(response.total, 'entry', 'entries')}" + (f", {more:,} of them not shown" if more else ""))

    print_rows(arguments, "floods", rows, table=table, columns=_COLUMNS, flat=_flat)
    return Exit.DONE


def _write_hashes(path: str, floods: Iterable[pb.MatchFlood]) -> None:
    """One hash a line, as `suppress --hashes` reads them. The file is for nobody else to read."""
    hashes = dict.fromkeys(flood.hash.value.hex() for flood in floods if flood.HasField("hash"))
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.writelines(f"{each}\n" for each in hashes)
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from None


def _document(flood: pb.MatchFlood) -> dict[str, Any]:
    return {
        "flood_id": flood.flood_id,
        "list": flood.list_id,
        "generation": flood.generation,
        "algorithm": common_pb2.Algorithm.Name(flood.algorithm).removeprefix("ALGORITHM_"),
        "matches": flood.matches,
        "usual": flood.usual,
        "window_seconds": flood.window.seconds + flood.window.nanos / 1e9,
        "seen_at": instant(flood, "seen_at"),
        "source_keys": list(flood.source_keys),
    }


def _flat(document: dict[str, Any]) -> dict[str, object]:
    return {**document, "source_keys": " ".join(document["source_keys"])}


def _row(document: dict[str, Any]) -> tuple[Cell, ...]:
    return (
        document["flood_id"],
        document["list"],
        document["algorithm"],
        f"{document['matches']:,}",
        f"{document['usual']:,}",
        f"{document['window_seconds']:g} s",
        document["seen_at"],
        ", ".join(document["source_keys"]),
    )
