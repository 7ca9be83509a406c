"""`hashmatch-admin inspect`: what a file is and what would come of it, without a server and without a store."""

from __future__ import annotations

import hashlib
import json
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from hashmatch_client import ConfigurationError
from hashmatch_client.cli.text import Cell, counted, printable, words

from hashmatch.admin.delivery import Delivery, open_delivery
from hashmatch.admin.documents import Document
from hashmatch.admin.exits import Exit
from hashmatch.admin.profile import profile_text
from hashmatch.admin.progress import progress
from hashmatch.admin.report import print_facts
from hashmatch.admin.values import without_hashes

if TYPE_CHECKING:
    from hashmatch.formats.delivery import Chunk, DeliveryParser

# As many flags as are worth reading; every label is shown.
_FLAGS_SHOWN = 20


def inspect(arguments: Namespace) -> Exit:
    """Runs the command."""
    try:
        from hashmatch.formats.delivery import DeliveryError
    except ImportError as error:
        raise ConfigurationError(
            f"inspect reads deliveries itself, as servers do, and lacks {error.name}: pip install 'hashmatch[server]'"
        ) from None
    with progress(show=False, no_color=True) as shown, open_delivery(arguments.file, shown) as delivery:
        try:
            document = _Inspection(arguments).read(delivery)
        except DeliveryError as error:
            print(f"hashmatch-admin: {printable(without_hashes(error.message))}", file=sys.stderr)
            return Exit.USAGE if error.reason == "INVALID_PROFILE" else Exit.REFUSED
    if arguments.output == "json":
        print(json.dumps(document, indent=2))
    else:
        _print_tables(document, no_color=arguments.no_color)
    return Exit.DONE


class _Inspection:
    """Reads a delivery with the parser of its format, and counts what it hands out."""

    def __init__(self, arguments: Namespace) -> None:
        self._arguments = arguments
        self._sha256 = hashlib.sha256()
        self._size = 0
        self._expanded = 0
        self._said: Counter[int] = Counter()
        self._hashes: Counter[str] = Counter()
        self._removed_hashes = 0
        self._keyed = 0
        self._removed_keys = 0

    def read(self, delivery: Delivery) -> Document:
        """What there is to say of it. Raises `DeliveryError` and `ConfigurationError`."""
        from hashmatch.formats.registry import HEAD_SIZE, format_named

        pieces = self._opened(delivery)
        head = b""
        for piece in pieces:
            head += piece
            if len(head) >= HEAD_SIZE:
                break
        name = self._format(head)
        parser = self._parser(name)
        for piece in _chain(head, pieces):
            for chunk in parser.feed(piece):
                self._count(chunk)
        for chunk in parser.finish():
            self._count(chunk)
        return self._document(name, format_named(name).known_good, parser)

    def _opened(self, delivery: Delivery) -> Iterator[bytes]:
        from hashmatch.formats.containers import Container

        container = Container()
        for data in delivery.chunks():
            self._sha256.update(data)
            self._size += len(data)
            for piece in container.feed(data):
                self._expanded += len(piece)
                yield piece
        for piece in container.finish():
            self._expanded += len(piece)
            yield piece

    def _format(self, head: bytes) -> str:
        if self._arguments.format is not None:
            return str(self._arguments.format)
        if self._arguments.profile is not None:
            return "columns"
        from hashmatch.formats.detection import detected_format

        found = detected_format(head)
        if found is None:
            raise ConfigurationError(
                "the format cannot be told from the file: state --format, or --profile for a table"
            )
        return found.name

    def _parser(self, name: str) -> DeliveryParser:
        from hashmatch.formats.delivery import ParserOptions
        from hashmatch.formats.registry import open_parser

        return open_parser(name, ParserOptions(profile=profile_text(name, self._arguments.profile)))

    def _count(self, chunk: Chunk) -> None:
        import numpy as np

        for column in chunk.columns:
            if column.removal:
                self._removed_hashes += len(column.digests)
                continue
            self._hashes[column.algorithm.name] += len(column.digests)
            if isinstance(column.statements, int):
                self._said[column.statements] += len(column.digests)
            else:
                numbers, counts = np.unique(column.statements, return_counts=True)
                self._said.update(dict(zip(numbers.tolist(), counts.tolist(), strict=True)))
        removed = sum(record.removed for record in chunk.keyed)
        self._removed_keys += removed
        self._keyed += len(chunk.keyed) - removed

    def _document(self, name: str, known_good: bool, parser: DeliveryParser) -> Document:
        tally = parser.tally
        labels: Counter[tuple[str, str]] = Counter()
        flags: Counter[str] = Counter()
        jurisdictions: Counter[str] = Counter()
        for number, count in self._said.items():
            statement = parser.statements[number]
            labels[statement.label, statement.scheme] += count
            jurisdictions[statement.jurisdiction] += count
            flags.update(dict.fromkeys(statement.flags, count))
        return {
            "format": name,
            "known_good": known_good,
            "sha256": self._sha256.hexdigest(),
            "bytes": self._size,
            "bytes_expanded": self._expanded,
            "records": tally.records,
            "declared_records": tally.declared_records,
            "declared_nature": None if tally.declared_nature is None else tally.declared_nature.name,
            "read": tally.read,
            "quarantined": tally.quarantined.total(),
            "removals": tally.removals,
            "hashes": dict(sorted(self._hashes.items())),
            "keyed_records": self._keyed,
            "removed_keys": self._removed_keys,
            "removed_hashes": self._removed_hashes,
            "labels": [{"label": label, "scheme": scheme, "count": n} for (label, scheme), n in labels.most_common()],
            "jurisdictions": [{"jurisdiction": text, "count": n} for text, n in jurisdictions.most_common() if text],
            "flags": [{"flag": flag, "count": n} for flag, n in flags.most_common()],
            "quarantine": [
                {"reason": reason, "count": count, "example_records": tally.examples[reason]}
                for reason, count in tally.quarantined.most_common()
            ],
        }


def _chain(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from rest


def _print_tables(document: Document, *, no_color: bool) -> None:
    from hashmatch_client.cli.tables import print_table

    print_facts(_facts(document))
    tables: list[tuple[tuple[str, ...], list[tuple[Cell, ...]]]] = [
        (
            ("Quarantined", "Count", "First records"),
            [
                (each["reason"], f"{each['count']:,}", ", ".join(map(str, each["example_records"])))
                for each in document["quarantine"]
            ],
        ),
        (
            ("Label", "Scheme", "Count"),
            [(each["label"] or "(none)", each["scheme"], f"{each['count']:,}") for each in document["labels"]],
        ),
        (
            ("Flag", "Count"),
            [(each["flag"], f"{each['count']:,}") for each in document["flags"][:_FLAGS_SHOWN]],
        ),
    ]
    for columns, rows in tables:
        if rows:
            print()
            print_table(columns, rows, no_color=no_color, numbers=("Count",))
    if len(document["flags"]) > _FLAGS_SHOWN:
        print(f"and {counted(len(document['flags']) - _FLAGS_SHOWN, 'more flag')}; --output json has them all")


def _facts(document: dict[str, Any]) -> Iterable[tuple[str, str]]:
    yield "format", document["format"] + (" (known good: never a list of illegal content)" * document["known_good"])
    expanded = document["bytes_expanded"]
    inside = f", {counted(expanded, 'byte')} expanded" if expanded != document["bytes"] else ""
    yield "file", counted(document["bytes"], "byte") + inside
    yield "SHA-256", document["sha256"]
    if document["declared_nature"] is not None:
        yield "nature", words(document["declared_nature"])
    declared = document["declared_records"]
    agrees = (
        ""
        if declared is None
        else f", {declared:,} declared" + ("" if declared == document["records"] else ": THEY DIFFER")
    )
    yield "records", f"{document['records']:,}{agrees}"
    added = sum(document["hashes"].values())
    yield (
        "fingerprints",
        f"{document['read']:,} read = {added:,} sound + {document['quarantined']:,} quarantined + "
        f"{counted(document['removals'], 'removal')}",
    )
    yield "hashes", ", ".join(f"{count:,} {name}" for name, count in document["hashes"].items()) or "none"
    if document["keyed_records"] or document["removed_keys"]:
        yield "entries", f"{document['keyed_records']:,} with a key, {document['removed_keys']:,} removed by key"
    if document["jurisdictions"]:
        yield (
            "jurisdictions",
            ", ".join(f"{each['jurisdiction']}: {each['count']:,}" for each in document["jurisdictions"]),
        )
