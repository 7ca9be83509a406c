"""Deliveries that are tables: what the formats `columns` and `icse` share, from bytes to the cells of a record."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

from hashmatch.formats._collector import Collector
from hashmatch.formats._text import Blocks, TextDecoder
from hashmatch.formats._values import Refused
from hashmatch.formats.delivery import Chunk, DeliveryError
from hashmatch.formats.profile import ColumnReference, Profile
from hashmatch.formats.tables import Cell, Row, open_table


class TableParser:
    """Reads the records of one delivery, numbered by the line on which they begin.

    A format states the layout, and what to do with the cells of a record. What cannot be decoded stands in them as
    U+FFFD, and is refused where it is read.
    """

    def __init__(self, collector: Collector, profile: Profile, encoding: str, record_size: int) -> None:
        self.collector = collector
        self.statements = collector.statements
        self.tally = collector.tally
        self._blocks = Blocks()
        self._decoder = TextDecoder(encoding)
        self._newlines = io.IncrementalNewlineDecoder(None, translate=True)
        self._table = open_table(profile, record_size)

    def feed(self, data: bytes) -> Iterator[Chunk]:
        """Take the next bytes, of any number, cut anywhere."""
        if block := self._blocks.add(data):
            yield from self._read(self._decoder.decode(block))

    def finish(self) -> Iterator[Chunk]:
        """Take the end of the delivery. Raises `DeliveryError` if it is truncated."""
        yield from self._read(self._decoder.decode(self._blocks.rest()) + self._decoder.rest(), last=True)
        yield from self._take(self._table.finish())
        self._decoder.check_whole()
        if not self.collector.is_empty:
            yield self.collector.take()

    def take_record(self, record: int, cells: Sequence[Cell]) -> None:
        """Take one record, of the profile's columns in its order. Raises `Refused` to quarantine it as a whole."""
        raise NotImplementedError

    def check_unfinished(self, cells: Sequence[Cell], column: ColumnReference) -> None:
        """Look at a last record whose field of `column`, its last one, may have been cut.

        Raises `Refused` if the record would then be about another entry, or do something else to it.
        """
        raise NotImplementedError

    def count_fingerprints(self, cells: Sequence[Cell]) -> int:
        """How many fingerprints a record that is refused as a whole would have had."""
        raise NotImplementedError

    def _read(self, text: str, *, last: bool = False) -> Iterator[Chunk]:
        text, no_text, _ = text.partition("\0")
        yield from self._take(self._table.feed(self._newlines.decode(text, final=last or bool(no_text))))
        if no_text:
            raise DeliveryError("this is not text in the encoding that it should have", record=self._table.line + 1)

    def _take(self, rows: Iterator[Row]) -> Iterator[Chunk]:
        for row in rows:
            if row.refusal:
                self.tally.records += row.lines
                self.collector.refuse(row.refusal, row.line, row.lines)
            else:
                self.tally.records += 1
                try:
                    for column in row.unfinished:
                        self.check_unfinished(row.cells, column)
                    self.take_record(row.line, row.cells)
                except Refused as refused:
                    self.collector.refuse(refused.reason, row.line, max(1, self.count_fingerprints(row.cells)))
            if self.collector.is_full:
                yield self.collector.take()
