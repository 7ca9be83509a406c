"""Answers saved with their receipts, and `hashmatch verify-receipt`."""

from __future__ import annotations

import json
import os
import sys
import uuid
from argparse import Namespace
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from hashmatch_client._answers import SaveAnswer, SavedAnswer
from hashmatch_client._errors import ConfigurationError, ReceiptError
from hashmatch_client._receipts import ServerKey, VerifiedAnswer, verify_receipt
from hashmatch_client.cli.exits import Exit
from hashmatch_client.cli.sheets import Sheet
from hashmatch_client.cli.text import Cell, moment, printable

_SUFFIX = ".answer"
# An answer and what it answers fit into a message each, with room to spare.
_MAXIMUM_FILE = 1 << 26
_COLUMNS = (
    "file", "valid", "problem", "server", "key_id", "method", "caller", "request_id", "epoch", "answered_at", "asked",
    "matches", "not_determined",
)  # fmt: skip


def saving_to(directory: str) -> SaveAnswer:
    """Saves answers in a directory, which is made if it is missing: each in a file that only its owner can read.

    They hold the hashes that were asked about.
    """
    place = Path(directory)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)

    def save(answer: SavedAnswer) -> None:
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        path = place / f"{now}-{uuid.uuid4().hex[:12]}{_SUFFIX}"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(answer.to_bytes())

    return save


def verify_receipt_command(arguments: Namespace) -> Exit:
    """`verify-receipt`."""
    keys = _keys(arguments.key_of_server)
    rows = []
    for file in arguments.files:
        try:
            found = verify_receipt(_read(file), keys)
            rows.append({"file": file, "valid": True, "problem": "", **_document(found)})
        except ReceiptError as error:
            rows.append({"file": file, "valid": False, "problem": str(error)})
    _print(arguments, rows)
    return Exit.NOTHING_KNOWN if all(row["valid"] for row in rows) else Exit.FAILED


def _read(file: str) -> SavedAnswer:
    with Path(file).open("rb") as opened:
        data = opened.read(_MAXIMUM_FILE + 1)
    if len(data) > _MAXIMUM_FILE:
        raise ReceiptError("this is no saved answer")
    return SavedAnswer.from_bytes(data)


def _keys(stated: str) -> list[ServerKey]:
    if "+" in stated and not Path(stated).exists():
        return [ServerKey.parse(stated)]
    try:
        lines = Path(stated).read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        lines = []
    keys = [ServerKey.parse(line) for line in lines if line.strip()]
    if not keys:
        raise ConfigurationError("no key of a server was given")
    return keys


def _document(found: VerifiedAnswer) -> dict[str, object]:
    return {**asdict(found), "answered_at": moment(found.answered_at)}


def _print(arguments: Namespace, rows: list[dict[str, object]]) -> None:
    match arguments.output:
        case "json":
            print(json.dumps({"answers": rows}, indent=2))
        case "jsonl":
            for row in rows:
                print(json.dumps(row))
        case "csv":
            sheet = Sheet(_COLUMNS)
            for row in rows:
                sheet.add(row)
        case _:
            _print_table(arguments, rows)


def _print_table(arguments: Namespace, rows: list[dict[str, object]]) -> None:
    from hashmatch_client.cli.tables import print_table

    columns = ("File", "Receipt", "Server", "Answered", "To", "Epoch", "Asked", "Matches", "Not determined")
    print_table(columns, map(_row, rows), no_color=arguments.no_color, numbers=columns[-4:])
    for row in rows:
        if row["problem"]:
            print(f"hashmatch: {printable(str(row['file']))}: {row['problem']}", file=sys.stderr)


def _row(row: dict[str, object]) -> tuple[Cell, ...]:
    if not row["valid"]:
        return (str(row["file"]), ("NOT VALID", "match"), "", "", "", "", "", "", "")
    names = ("server", "answered_at", "caller", "epoch", "asked", "matches", "not_determined")
    return (str(row["file"]), "valid", *(str(row[name]) for name in names))
