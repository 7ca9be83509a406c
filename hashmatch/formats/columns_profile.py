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
from collections.abc import Iterator, Sequence

from hashmatch.formats._collector import Collector, Limits
from hashmatch.formats._text import Blocks, TextDecoder
from hashmatch.formats._values import Refused, algorithm_of, at_most, date_of, digest_of, truth_of
from hashmatch.formats.delivery import Chunk, DeliveryError, ParserOptions
from hashmatch.formats.profile import ColumnReference, parse_profile
from hashmatch.formats.tables import Cell, Row, open_table
from hashmatch.model.opinions import Statement

# Between the parts of a key of several columns. No text that a body publishes has it.
KEY_SEPARATOR = "\x1f"
MAXIMUM_FLAGS = 64

_ENCODINGS = {"utf-8": "utf-8", "utf-16": "utf-16-le", "latin-1": "latin-1"}


class ColumnsParser:
    """Reads one delivery by `options.profile`. `statements[0]` is what the importer states where a record is silent.

    Records are numbered by the line on which they begin. Raises `DeliveryError` INVALID_PROFILE if the profile is not
    valid.
    """

    def __init__(self, options: ParserOptions, limits: Limits | None = None) -> None:
        self._collector = Collector(options, limits)
        self.statements = self._collector.statements
        self.tally = self._collector.tally
        self._default = self._collector.default
        self._profile = parse_profile(options.profile)
        self._positions = {column: position for position, column in enumerate(self._profile.columns)}
        self._hashes = [(each, each.fixed_algorithm, each.algorithms_by_name) for each in self._profile.hashes]
        self._deleted_values = frozenset(
            value.casefold() for value in (self._profile.deleted.values if self._profile.deleted else ())
        )
        self._blocks = Blocks()
        self._decoder = TextDecoder(_ENCODINGS[self._profile.encoding])
        self._newlines = io.IncrementalNewlineDecoder(None, translate=True)
        self._table = open_table(self._profile, self._collector.limits.record_size)

    def feed(self, data: bytes) -> Iterator[Chunk]:
        """Take the next bytes, of any number, cut anywhere."""
        if block := self._blocks.add(data):
            yield from self._read(self._decoder.decode(block))

    def finish(self) -> Iterator[Chunk]:
        """Take the end of the delivery. Raises `DeliveryError` if it is truncated."""
        yield from self._read(self._decoder.decode(self._blocks.rest()) + self._decoder.rest(), last=True)
        yield from self._take(self._table.finish())
        self._decoder.check_whole()
        if not self._collector.is_empty:
            yield self._collector.take()

    def _read(self, text: str, *, last: bool = False) -> Iterator[Chunk]:
        text, no_text, _ = text.partition("\0")
        yield from self._take(self._table.feed(self._newlines.decode(text, final=last or bool(no_text))))
        if no_text:
            raise DeliveryError("this is not text in the encoding of the profile", record=self._table.line + 1)

    def _take(self, rows: Iterator[Row]) -> Iterator[Chunk]:
        for row in rows:
            if row.refusal:
                self.tally.records += row.lines
                self._collector.refuse(row.refusal, row.line, row.lines)
            else:
                self.tally.records += 1
                try:
                    self._take_record(row.line, row.cells)
                except Refused as refused:
                    self._collector.refuse(refused.reason, row.line, max(1, self._count_fingerprints(row.cells)))
                if self._collector.is_full:
                    yield self._collector.take()

    def _take_record(self, record: int, cells: Sequence[Cell]) -> None:
        _check_encoding(cells)
        removal = self._is_removal(cells)
        key = self._key(cells)
        if removal and key:
            self._collector.add_key(record, key, removed=True)
            return
        statement = 0 if removal else self._statement(record, cells)
        if self._take_fingerprints(record, cells, statement, removal=removal):
            if key:
                self._collector.add_key(record, key)
            if removal:
                self._collector.count_removal()

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
                self._collector.refuse(refused.reason, record)
                continue
            self._collector.add(algorithm, digest, statement, record, removal=removal)
            taken += 1
        if not met:
            raise Refused("no-fingerprint")
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
        return at_most(KEY_SEPARATOR.join(parts), "key-too-long")

    def _statement(self, record: int, cells: Sequence[Cell]) -> int:
        """The number of the statement that a record makes."""
        profile = self._profile
        labels = [self._text(cells, column) for column in profile.label]
        statement = Statement(
            label=at_most(profile.label_separator.join(labels), "label-too-long")
            if any(labels)
            else self._default.label,
            scheme=self._short_text(cells, profile.scheme) or self._default.scheme,
            jurisdiction=self._short_text(cells, profile.jurisdiction) or self._default.jurisdiction,
            flags=self._flags(cells) if profile.flags else (),
            updated_on=date_of(self._text(cells, profile.updated_on.column), profile.updated_on.formats)
            if profile.updated_on
            else "",
        )
        return self._collector.number(statement, record)

    def _flags(self, cells: Sequence[Cell]) -> tuple[str, ...]:
        words: set[str] = set()
        for flag in self._profile.flags:
            if flag.word:
                if truth_of(self._text(cells, flag.column)):
                    words.add(flag.word)
                continue
            cell = cells[self._positions[flag.column]]
            listed = cell.split(flag.separator) if isinstance(cell, str) else cell
            words.update(at_most(word.strip(), "value-too-long") for word in listed if word.strip())
        if len(words) > MAXIMUM_FLAGS:
            raise Refused("too-many-flags")
        return tuple(sorted(words))

    def _short_text(self, cells: Sequence[Cell], column: ColumnReference | None) -> str:
        return "" if column is None else at_most(self._text(cells, column), "value-too-long")

    def _text(self, cells: Sequence[Cell], column: ColumnReference) -> str:
        cell = cells[self._positions[column]]
        if not isinstance(cell, str):
            raise Refused("bad-value")
        return cell

    def _count_fingerprints(self, cells: Sequence[Cell]) -> int:
        return sum(1 for column in self._profile.hashes if cells[self._positions[column.column]])


def _check_encoding(cells: Sequence[Cell]) -> None:
    for cell in cells:
        if "\N{REPLACEMENT CHARACTER}" in (cell if isinstance(cell, str) else "".join(cell)):
            raise Refused("bad-encoding")
