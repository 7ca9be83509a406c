"""`hashmatch-admin audit`: what was done and answered, from the logs themselves, and whether they are whole."""

from __future__ import annotations

from argparse import Namespace
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hashmatch_client import ConfigurationError, HashmatchClientError
from hashmatch_client.cli.text import counted, moment

from hashmatch.admin.documents import Document
from hashmatch.admin.exits import Exit
from hashmatch.admin.locally import operations
from hashmatch.admin.output import print_result, print_rows

_COLUMNS = ("log", "sequence", "at", "act", "actor", "details")


def keygen(arguments: Namespace) -> Exit:
    """`audit keygen`."""
    with _reading() as log:
        public = log.make_key(Path(arguments.file), arguments.name)
    document = {"key_file": arguments.file, "public_key": public}
    print_result(
        arguments,
        document,
        f"Wrote {arguments.file}, which stays on the server: set proof.key_file, and proof.name to {arguments.name}.",
        "Give this to whoever is to verify receipts and checkpoints:",
        f"  {public}",
    )
    return Exit.DONE


def verify(arguments: Namespace) -> Exit:
    """`audit verify`."""
    path = Path(arguments.log)
    with _reading() as audit:
        logs = audit.logs_in(path) if path.is_dir() else {}
        if logs:
            return _verify_all(arguments, audit, path, logs)
        if bool(arguments.checkpoint) != bool(arguments.key_of_server):
            raise ConfigurationError("--checkpoint and --key-of-server go together")
        mark = audit.Mark.parse(arguments.mark) if arguments.mark else None
        checkpoint = None
        if arguments.checkpoint:
            checkpoint = audit.read_checkpoint(Path(arguments.checkpoint), arguments.key_of_server)
        found = audit.verify(path, mark, checkpoint)
    print_result(arguments, _verified(found, checkpoint), *_told(arguments.log, found, checkpoint))
    return Exit.DONE


def _verify_all(arguments: Namespace, audit: Any, data_dir: Path, logs: Mapping[str, Path]) -> Exit:
    """Verify every log in a data directory, and with a key hold each against what was signed of it."""
    if arguments.mark:
        raise ConfigurationError("--mark is of one log: name that, and not the data directory")
    if arguments.checkpoint and not arguments.key_of_server:
        raise ConfigurationError("--checkpoint needs --key-of-server")
    checkpoints = {}
    if arguments.key_of_server:
        kept = Path(arguments.checkpoint or data_dir / audit.CHECKPOINTS)
        checkpoints = audit.read_checkpoints(kept, arguments.key_of_server, logs)
    rows: list[Document] = []
    sentences: list[str] = []
    for name, path in logs.items():
        checkpoint = checkpoints.get(name)
        try:
            found = audit.verify(path, None, checkpoint)
        except audit.AuditError as error:
            rows.append({"log": name, "verified": False, "problem": str(error)})
            sentences.append(f"NOT VERIFIED: {error}")
        else:
            rows.append({"log": name, "verified": True, "problem": "", **_verified(found, checkpoint)})
            sentences += _told(str(path), found, checkpoint)
    print_result(arguments, {"logs": rows}, *sentences)
    return Exit.DONE if all(row["verified"] for row in rows) else Exit.FAILED


def _verified(found: Any, checkpoint: Any) -> Document:
    return {
        "records": found.records,
        "first": found.first,
        "first_at": _instant(found.first_at) if found.records else None,
        "last_at": _instant(found.last_at) if found.records else None,
        "mark": None if found.last is None else str(found.last),
        "signed_for": None if checkpoint is None else checkpoint.size,
        "unfinished_line": None if found.unfinished is None else str(found.unfinished),
    }


def _told(name: str, found: Any, checkpoint: Any) -> Iterator[str]:
    """What is said of a log that verifies."""
    if not found.records:
        yield f"{name}: no records."
    else:
        span = f"{_instant(found.first_at)} to {_instant(found.last_at)}"
        yield f"{name}: {counted(found.records, 'record')}, each follows from the one before, {span}."
    if found.first > 1:
        yield f"Records up to {found.first - 1:,} were deleted in time."
    if found.unfinished is not None:
        yield f"{found.unfinished}, has no end and is no record: being written, left by a crash, or cut."
    if checkpoint is not None:
        yield f"It has what {checkpoint.origin} signed for: {checkpoint.size:,} records."
    if found.last is not None:
        yield f"To notice later that its end was cut off, keep this elsewhere: {found.last}"


def show(arguments: Namespace) -> Exit:
    """`audit show`."""
    path = Path(arguments.log)
    with _reading() as audit:
        logs = (audit.logs_in(path) if path.is_dir() else {}) or {path.name: path}
        chosen = (
            _document(name, record)
            for name, record in audit.records(logs)
            if arguments.act in ("", record.act) and arguments.actor in ("", record.actor)
        )
        rows = list(deque(chosen, arguments.limit))
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

    cells = [(*(str(row[name]) for name in _COLUMNS[:-1]), _details(row)) for row in rows]
    print_table(_COLUMNS, cells, no_color=no_color, numbers=("sequence",))


def _document(log: str, record: Any) -> Document:
    return {
        "log": log,
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
    except (audit.AuditError, audit.KeyFileError, audit.NoteError) as error:
        raise HashmatchClientError(str(error)) from None
