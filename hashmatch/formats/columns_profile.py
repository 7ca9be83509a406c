"""The format `columns`: a table whose layout a profile describes, so that a new body needs no new code.

How a record is read:

* A record that cannot be read as a whole (its quoting, its width, a label that is too long) is refused as a whole; a
  fingerprint that cannot be read is refused alone.
* A record with a key becomes a `KeyedRecord` if it removes its entry or if at least one of its fingerprints is handed
  out. Otherwise it changes nothing: what its entry stated before still stands.
* Where the profile names a key, a record without one is refused, because no later record could withdraw it.
* A record that removes is read for its key alone or, without keys in the profile, for its fingerprints alone.
"""

from __future__ import annotations

import io
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from hashmatch.formats._text import Blocks, TextDecoder
from hashmatch.formats._values import Refused, algorithm_of, date_of, digest_of, truth_of
from hashmatch.formats.delivery import Chunk, Column, DeliveryError, KeyedRecord, ParserOptions, Tally
from hashmatch.formats.profile import ColumnReference, parse_profile
from hashmatch.formats.tables import Cell, Row, open_table
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.lists import MAXIMUM_TEXT
from hashmatch.model.opinions import Statement

# Between the parts of a key of several columns. No text that a body publishes has it.
KEY_SEPARATOR = "\x1f"
MAXIMUM_FLAGS = 64

_ENCODINGS = {"utf-8": "utf-8", "utf-16": "utf-16-le", "latin-1": "latin-1"}


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds the memory of one parser.

    `record_size` is in characters and at most 131,071, where `csv` has a limit of its own; `statements` counts distinct
    ones; `chunk_size` counts the fingerprints and keyed records after which a chunk is handed out.
    """

    record_size: int = 65_536
    statements: int = 1_000_000
    chunk_size: int = 65_536


@dataclass(slots=True)
class _Pile:
    """Fingerprints of one algorithm that wait to be handed out."""

    digests: bytearray = field(default_factory=bytearray)
    statements: array[int] = field(default_factory=lambda: array("I"))
    records: array[int] = field(default_factory=lambda: array("Q"))

    def column(self, algorithm: Algorithm, *, removal: bool) -> Column:
        return Column(
            algorithm,
            np.array(self.digests, np.uint8).reshape(-1, algorithm.digest_size),
            np.array(self.statements, np.uint32),
            np.array(self.records, np.uint64),
            removal,
        )


class ColumnsParser:
    """Reads one delivery by `options.profile`. `statements[0]` is what the importer states where a record is silent.

    Records are numbered by the line on which they begin. Raises `DeliveryError` INVALID_PROFILE if the profile is not
    valid.
    """

    def __init__(self, options: ParserOptions, limits: Limits | None = None) -> None:
        self.statements = [Statement(options.label, options.scheme, options.jurisdiction)]
        self.tally = Tally()
        self._default = self.statements[0]
        self._limits = limits or Limits()
        self._profile = parse_profile(options.profile)
        self._positions = {column: position for position, column in enumerate(self._profile.columns)}
        self._hashes = [(each, each.fixed_algorithm, each.algorithms_by_name) for each in self._profile.hashes]
        self._deleted_values = frozenset(
            value.casefold() for value in (self._profile.deleted.values if self._profile.deleted else ())
        )
        self._statement_numbers = {self._default: 0}
        self._blocks = Blocks()
        self._decoder = TextDecoder(_ENCODINGS[self._profile.encoding])
        self._newlines = io.IncrementalNewlineDecoder(None, translate=True)
        self._table = open_table(self._profile, self._limits.record_size)
        self._piles: dict[tuple[Algorithm, bool], _Pile] = {}
        self._keyed: list[KeyedRecord] = []
        self._waiting = 0

    def feed(self, data: bytes) -> Iterator[Chunk]:
        """Take the next bytes, of any number, cut anywhere."""
        if block := self._blocks.add(data):
            yield from self._read(self._decoder.decode(block))

    def finish(self) -> Iterator[Chunk]:
        """Take the end of the delivery. Raises `DeliveryError` if it is truncated."""
        yield from self._read(self._decoder.decode(self._blocks.rest()) + self._decoder.rest(), last=True)
        yield from self._take(self._table.finish())
        self._decoder.check_whole()
        if self._waiting:
            yield self._chunk()

    def _read(self, text: str, *, last: bool = False) -> Iterator[Chunk]:
        text, no_text, _ = text.partition("\0")
        yield from self._take(self._table.feed(self._newlines.decode(text, final=last or bool(no_text))))
        if no_text:
            raise DeliveryError("this is not text in the encoding of the profile", record=self._table.line + 1)

    def _take(self, rows: Iterator[Row]) -> Iterator[Chunk]:
        for row in rows:
            if row.refusal:
                self.tally.records += row.lines
                self._refuse(row.refusal, row.line, row.lines)
            else:
                self.tally.records += 1
                try:
                    self._take_record(row.line, row.cells)
                except Refused as refused:
                    self._refuse(refused.reason, row.line, max(1, self._count_fingerprints(row.cells)))
                if self._waiting >= self._limits.chunk_size:
                    yield self._chunk()

    def _take_record(self, record: int, cells: Sequence[Cell]) -> None:
        _check_encoding(cells)
        removal = self._is_removal(cells)
        key = self._key(cells)
        if removal and key:
            self._hand_out_key(KeyedRecord(record, key, removed=True))
            self.tally.read += 1
            self.tally.removals += 1
            return
        statement = 0 if removal else self._statement(record, cells)
        if self._take_fingerprints(record, cells, statement, removal=removal):
            if key:
                self._hand_out_key(KeyedRecord(record, key))
            if removal:
                self.tally.read += 1
                self.tally.removals += 1

    def _take_fingerprints(self, record: int, cells: Sequence[Cell], statement: int, *, removal: bool) -> int:
        """Hand out the fingerprints that can be read. Returns how many."""
        met = taken = 0
        for column, algorithm, names in self._hashes:
            if not cells[self._positions[column.column]]:
                continue
            met += 1
            try:
                if column.algorithm_column is not None:
                    algorithm = algorithm_of(self._text(cells, column.algorithm_column), names)
                assert algorithm is not None
                digest = digest_of(algorithm, self._text(cells, column.column), column.form)
            except Refused as refused:
                self._refuse(refused.reason, record, 1)
                continue
            pile = self._piles.setdefault((algorithm, removal), _Pile())
            pile.digests += digest
            pile.statements.append(statement)
            pile.records.append(record)
            taken += 1
        if not met:
            raise Refused("no-fingerprint")
        self._waiting += taken
        if not removal:
            self.tally.read += taken
        return taken

    def _is_removal(self, cells: Sequence[Cell]) -> bool:
        deleted = self._profile.deleted
        if deleted is None:
            return False
        text = self._text(cells, deleted.column)
        return text.casefold() in self._deleted_values if self._deleted_values else truth_of(text)

    def _key(self, cells: Sequence[Cell]) -> str:
        parts = [self._text(cells, column) for column in self._profile.key]
        if not all(parts):
            raise Refused("key-missing")
        return _at_most(KEY_SEPARATOR.join(parts), "key-too-long")

    def _statement(self, record: int, cells: Sequence[Cell]) -> int:
        """The number of the statement that a record makes."""
        profile = self._profile
        labels = [self._text(cells, column) for column in profile.label]
        statement = Statement(
            label=_at_most(profile.label_separator.join(labels), "label-too-long")
            if any(labels)
            else self._default.label,
            scheme=self._short_text(cells, profile.scheme) or self._default.scheme,
            jurisdiction=self._short_text(cells, profile.jurisdiction) or self._default.jurisdiction,
            flags=self._flags(cells) if profile.flags else (),
            updated_on=date_of(self._text(cells, profile.updated_on.column), profile.updated_on.formats)
            if profile.updated_on
            else "",
        )
        number = self._statement_numbers.get(statement)
        if number is None:
            number = len(self.statements)
            if number >= self._limits.statements:
                raise DeliveryError(f"more than {self._limits.statements} different statements", record=record)
            self.statements.append(statement)
            self._statement_numbers[statement] = number
        return number

    def _flags(self, cells: Sequence[Cell]) -> tuple[str, ...]:
        words: set[str] = set()
        for flag in self._profile.flags:
            if flag.word:
                if truth_of(self._text(cells, flag.column)):
                    words.add(flag.word)
                continue
            cell = cells[self._positions[flag.column]]
            listed = cell.split(flag.separator) if isinstance(cell, str) else cell
            words.update(_at_most(word.strip(), "value-too-long") for word in listed if word.strip())
        if len(words) > MAXIMUM_FLAGS:
            raise Refused("too-many-flags")
        return tuple(sorted(words))

    def _short_text(self, cells: Sequence[Cell], column: ColumnReference | None) -> str:
        return "" if column is None else _at_most(self._text(cells, column), "value-too-long")

    def _text(self, cells: Sequence[Cell], column: ColumnReference) -> str:
        cell = cells[self._positions[column]]
        if not isinstance(cell, str):
            raise Refused("bad-value")
        return cell

    def _count_fingerprints(self, cells: Sequence[Cell]) -> int:
        return sum(1 for column in self._profile.hashes if cells[self._positions[column.column]])

    def _refuse(self, reason: str, record: int, count: int) -> None:
        self.tally.read += count
        self.tally.quarantine(reason, record, count)

    def _hand_out_key(self, keyed: KeyedRecord) -> None:
        self._keyed.append(keyed)
        self._waiting += 1

    def _chunk(self) -> Chunk:
        columns = (pile.column(algorithm, removal=removal) for (algorithm, removal), pile in self._piles.items())
        chunk = Chunk(tuple(columns), tuple(self._keyed))
        self._piles.clear()
        self._keyed.clear()
        self._waiting = 0
        return chunk


def _check_encoding(cells: Sequence[Cell]) -> None:
    for cell in cells:
        if "\N{REPLACEMENT CHARACTER}" in (cell if isinstance(cell, str) else "".join(cell)):
            raise Refused("bad-encoding")


def _at_most(text: str, reason: str) -> str:
    if len(text) > MAXIMUM_TEXT:
        raise Refused(reason)
    return text
