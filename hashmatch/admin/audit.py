"""`hashmatch-admin audit`: what was done, from the log itself, and whether the log is whole."""

from __future__ import annotations

from argparse import Namespace
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hashmatch_client import HashmatchClientError
from hashmatch_client.cli.text import counted, moment

from hashmatch.admin.documents import Document
from hashmatch.admin.exits import Exit
from hashmatch.admin.locally import operations
from hashmatch.admin.output import print_result, print_rows

_COLUMNS = ("sequence", "at", "act", "actor", "details")


def verify(arguments: Namespace) -> Exit:
    """`audit verify`."""
    with _reading() as log:
        mark = log.Mark.parse(arguments.mark) if arguments.mark else None
        found = log.verify(Path(arguments.file), mark)
    last = None if found.last is None else str(found.last)
    document = {
        "records": found.records,
        "first_at": _instant(found.first_at) if found.records else None,
        "last_at": _instant(found.last_at) if found.records else None,
        "mark": last,
    }
    what = f"{arguments.file}: {counted(found.records, 'record')}, each follows from the one before"
    if not found.records:
        print_result(arguments, document, f"{arguments.file}: no records.")
        return Exit.DONE
    print_result(
        arguments,
        document,
        f"{what}, {document['first_at']} to {document['last_at']}.",
        f"To notice later that its end was cut off, keep this elsewhere: {last}",
    )
    return Exit.DONE


def show(arguments: Namespace) -> Exit:
    """`audit show`."""
    with _reading() as log:
        chosen = (
            record
            for record in log.records(Path(arguments.file))
            if arguments.act in ("", record.act) and arguments.actor in ("", record.actor)
        )
        rows = [_document(record) for record in deque(chosen, arguments.limit)]
    rows.reverse()
    print_rows(
        arguments,
        "records",
        rows,
        table=lambda: _table(rows, no_color=arguments.no_color),
        columns=_COLUMNS,
        flat=lambda row: row | {"details": _details(row)},
    )
    return Exit.DONE


def _table(rows: Sequence[Document], *, no_color: bool) -> None:
    from hashmatch_client.cli.tables import print_table

    cells = [(str(row["sequence"]), *(str(row[name]) for name in _COLUMNS[1:-1]), _details(row)) for row in rows]
    print_table(_COLUMNS, cells, no_color=no_color, numbers=("sequence",))


def _document(record: Any) -> Document:
    return {
        "sequence": record.sequence,
        "at": _instant(record.at),
        "act": record.act,
        "actor": record.actor,
        "details": dict(record.details),
    }


def _details(row: Document) -> str:
    details = row["details"]
    assert isinstance(details, dict)
    return " ".join(f"{name}={value}" for name, value in details.items())


def _instant(seconds: float) -> str:
    return moment(datetime.fromtimestamp(seconds, UTC))


@contextmanager
def _reading() -> Iterator[Any]:
    audit = operations("audit")
    try:
        yield audit
    except audit.AuditError as error:
        raise HashmatchClientError(str(error)) from None
