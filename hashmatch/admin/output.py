"""Results on standard output, in the form that was asked for."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence

from hashmatch_client.cli.sheets import Sheet
from hashmatch_client.cli.text import printable

from hashmatch.admin.documents import Document


def in_epoch(arguments: Namespace, epoch: int) -> str:
    """What a sentence about an act ends with: the epoch that it made, or nothing for a dry run."""
    return "" if arguments.dry_run else f", in epoch {epoch}"


def outcome(arguments: Namespace, epoch: int) -> Document:
    """What the document of every act begins with."""
    return {"dry_run": arguments.dry_run, "epoch": None if arguments.dry_run else epoch}


def print_result(arguments: Namespace, document: Document, *sentences: str) -> None:
    """The outcome of an act: its document, or sentences, each on a line of its own."""
    if arguments.output == "json":
        print(json.dumps(document, indent=2))
        return
    for sentence in sentences:
        print(printable(sentence))


def print_rows(
    arguments: Namespace,
    name: str,
    rows: Sequence[Document],
    *,
    table: Callable[[], None],
    columns: Sequence[str],
    flat: Callable[[Document], Mapping[str, object]] = lambda row: row,
) -> None:
    """Rows under `name`: drawn by `table`, as JSON, or as CSV with `columns` of what `flat` makes of a row."""
    match arguments.output:
        case "json":
            print(json.dumps({name: rows}, indent=2))
        case "jsonl":
            for row in rows:
                print(json.dumps(row))
        case "csv":
            sheet = Sheet(columns)
            for row in rows:
                sheet.add(flat(row))
        case _:
            table()
