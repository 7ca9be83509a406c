"""Tables as text, read row by row: CSV and its kind, and JSON lines.

A reader takes text whose lines end with a line feed, cut anywhere, and gives a row for each record. It holds no more
than the record that has not ended.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from hashmatch.formats._values import Refused, text_of
from hashmatch.formats.delivery import DeliveryError
from hashmatch.formats.profile import ColumnReference, Profile

# Texts are stripped of white space around them. Only JSON has lists, and values that no text stands for: what is wrong
# with one is held in its cell, for whoever reads that.
Cell = str | list[str] | Refused


class Row(NamedTuple):
    """One record: the cells of the columns that the profile refers to, in its order, or why there are none.

    `line` is the number, from 1, of the line on which the record begins; `lines` is how many it takes up. `unfinished`
    are the profile's columns, mostly one or none, of a last field behind which nothing says that it is whole.
    """

    line: int
    cells: Sequence[Cell]
    lines: int = 1
    refusal: str = ""
    unfinished: tuple[ColumnReference, ...] = ()


class RowReader(Protocol):
    """Reads one table. Raises only `DeliveryError`."""

    @property
    def line(self) -> int:
        """The number of lines that have ended so far."""
        ...

    def feed(self, text: str) -> Iterator[Row]:
        """Take the next text."""
        ...

    def finish(self) -> Iterator[Row]:
        """Take the end of the table. Raises `DeliveryError` if it is truncated."""
        ...


def open_table(profile: Profile, record_size: int) -> RowReader:
    """The reader of the layout that `profile` states. A record of more than `record_size` characters is refused."""
    if profile.layout == "jsonl":
        return JsonLines(profile, record_size)
    return DelimitedRows(profile, record_size)


class DelimitedRows:
    """Reads rows of delimited fields, quoted or not, by `csv` at its strictest. Rows of blank fields are no records.

    A quotation mark in the wrong place can swallow rows up to the next one. A refused row that spans several lines
    therefore counts once a line: each of them may have been a record.

    A last row without a line end may have been cut: where it lacks fields it was, and otherwise only its last field can
    have been.
    """

    def __init__(self, profile: Profile, record_size: int) -> None:
        self._columns = profile.columns
        self._has_header = profile.header
        self._fills_short_rows = profile.short_rows == "blank"
        self._quotation = profile.quotation
        self._lines = _Lines(record_size)
        self._source = _LineSource(record_size)
        quoting: dict[str, Any] = {"quotechar": profile.quotation} if profile.quotation else {"quoting": csv.QUOTE_NONE}
        self._rows = csv.reader(self._source, delimiter=profile.separator, strict=True, **quoting)
        self._positions: list[int] = []
        self._width = 0
        if not profile.header:
            self._locate_columns([])

    @property
    def line(self) -> int:
        """The number of lines that have ended so far."""
        return self._source.line + len(self._source.queue)

    def feed(self, text: str) -> Iterator[Row]:
        """Take the next text."""
        self._source.queue.extend(self._lines.cut(text))
        return self._read()

    def finish(self) -> Iterator[Row]:
        """Take the end of the table. Raises `DeliveryError` if a quoted field, a row or the header lacks its end."""
        self._source.last_line = self._lines.rest()
        self._source.queue.extend(self._source.last_line)
        self._source.ended = True
        yield from self._read()
        if not self._positions:
            raise DeliveryError("truncated: there is no header")

    def _read(self) -> Iterator[Row]:
        source = self._source
        while True:
            source.begin_record()
            first = source.line + 1
            try:
                fields = next(self._rows)
            except _Starved:
                source.give_back()
                return
            except StopIteration:
                return
            except _TooLarge:
                row = Row(first, (), source.line + 1 - first, "record-too-large")
            except csv.Error:
                if source.exhausted:
                    raise DeliveryError("truncated: a quoted field never ends", record=first) from None
                row = Row(first, (), source.line + 1 - first, "bad-quoting")
            else:
                if not any(map(str.strip, fields)):
                    continue
                if not self._positions:
                    if not is_separator_hint(fields):
                        self._locate_columns(fields)
                    continue
                row = self._row(first, source.line + 1 - first, fields)
            if not self._positions:
                raise DeliveryError("the header cannot be read", record=first)
            yield row

    def _row(self, first: int, lines: int, fields: list[str]) -> Row:
        missing = self._width - len(fields)
        unfinished: tuple[ColumnReference, ...] = ()
        if self._source.is_unfinished:
            if missing > 0:
                raise DeliveryError("truncated: the last line is not whole", record=first)
            if not missing and not self._source.ends_with(self._quotation):
                unfinished = self._columns_at(self._width - 1)
        if missing > 0 and self._fills_short_rows:
            fields += [""] * missing
        elif missing > 0 or (missing < 0 and self._has_header and any(map(str.strip, fields[self._width :]))):
            return Row(first, (), lines, "ragged-row")
        return Row(first, [fields[position].strip() for position in self._positions], lines, unfinished=unfinished)

    def _columns_at(self, position: int) -> tuple[ColumnReference, ...]:
        return tuple(column for column, at in zip(self._columns, self._positions, strict=True) if at == position)

    def _locate_columns(self, header: list[str]) -> None:
        names = [name.strip().casefold() for name in header]
        missing: list[ColumnReference] = []
        for column in self._columns:
            if isinstance(column, int):
                self._positions.append(column - 1)
                if self._has_header and column > len(names):
                    missing.append(column)
            elif column.strip().casefold() not in names:
                missing.append(column)
            elif names.count(column.strip().casefold()) > 1:
                raise DeliveryError(f"the header has the column {column!r} more than once", record=self._source.line)
            else:
                self._positions.append(names.index(column.strip().casefold()))
        if missing:
            listed = ", ".join(repr(column) for column in missing)
            raise DeliveryError(f"the header lacks columns: {listed}", record=self._source.line)
        self._width = len(names) or max(self._positions) + 1


class JsonLines:
    """Reads a JSON object a line. A key that is missing or null is blank, and whole numbers are their own text.

    A fraction is one of seconds: in the column of dates it is its own text, elsewhere it is none.
    """

    def __init__(self, profile: Profile, record_size: int) -> None:
        dated = profile.updated_on.column if profile.updated_on else None
        self._paths = [(tuple(str(column).split(".")), column == dated) for column in profile.columns]
        self._lines = _Lines(record_size)
        self._decoder = msgspec.json.Decoder()
        self.line = 0

    def feed(self, text: str) -> Iterator[Row]:
        """Take the next text."""
        for line in self._lines.cut(text):
            yield from self._read(line)

    def finish(self) -> Iterator[Row]:
        """Take the end of the table. Raises `DeliveryError` if the last line has no end and is no JSON."""
        for line in self._lines.rest():
            for row in self._read(line):
                if row.refusal == "not-json":
                    raise DeliveryError("truncated: the last line is not whole", record=row.line)
                yield row

    def _read(self, line: str | None) -> Iterator[Row]:
        self.line += 1
        if line is None:
            yield Row(self.line, (), refusal="record-too-large")
        elif line and not line.isspace():
            try:
                yield Row(self.line, self._cells(line))
            except Refused as refused:
                yield Row(self.line, (), refusal=refused.reason)

    def _cells(self, line: str) -> list[Cell]:
        try:
            document = self._decoder.decode(line)
        except (ValueError, RecursionError):
            raise Refused("not-json") from None
        if not isinstance(document, dict):
            raise Refused("not-an-object")
        return [_cell_at(document, path, dated=dated) for path, dated in self._paths]


def is_separator_hint(fields: Sequence[str]) -> bool:
    """Whether a row is the `sep=;` with which spreadsheets are told the delimiter, ahead of the header."""
    return len(fields) <= 2 and fields[:1] == ["sep="] and not "".join(fields[1:]).strip()


def _cell_at(value: Any, path: tuple[str, ...], *, dated: bool) -> Cell:
    for key in path:
        if value is None:
            break
        if not isinstance(value, dict):
            return Refused("bad-value")
        value = value.get(key)
    try:
        if isinstance(value, list):
            return [text_of(each) for each in value]
        return text_of(value)
    except Refused as refused:
        return repr(value) if dated and isinstance(value, float) else refused


class _Lines:
    """Cuts text into lines, without their line feeds. A line of more than `limit` characters is dropped: None."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._unfinished = ""
        self._dropping = False

    def cut(self, text: str) -> list[str | None]:
        """The lines that `text` completes."""
        *ended, self._unfinished = (self._unfinished + text).split("\n")
        lines = [line if len(line) <= self._limit else None for line in ended]
        if self._dropping and lines:
            lines[0] = None
            self._dropping = False
        if self._dropping or len(self._unfinished) > self._limit:
            self._unfinished = ""
            self._dropping = True
        return lines

    def rest(self) -> list[str | None]:
        """The last line, if it has no line feed."""
        if self._dropping:
            return [None]
        return [self._unfinished] if self._unfinished else []


class _Starved(Exception):  # noqa: N818
    """The record goes on in text that has not come yet."""


class _TooLarge(Exception):  # noqa: N818
    """The record has more characters than are allowed."""


class _LineSource:
    """The lines that `csv` draws on, of which it can be given those of an unfinished record again."""

    def __init__(self, record_size: int) -> None:
        self.queue: deque[str | None] = deque()
        self.line = 0
        self.ended = False
        self.exhausted = False
        # The last line, if it has no line feed.
        self.last_line: list[str | None] = []
        self._record_size = record_size
        self._size = 0
        self._taken: list[str] = []

    @property
    def is_unfinished(self) -> bool:
        """Whether the record is the last one, and has no line feed behind it."""
        return bool(self.last_line) and not self.queue

    def ends_with(self, quotation: str) -> bool:
        """Whether the last line closes a quoted field."""
        return bool(quotation) and (self.last_line[0] or "").rstrip().endswith(quotation)

    def begin_record(self) -> None:
        """Forget the lines of the record before."""
        self._size = 0
        self._taken.clear()

    def give_back(self) -> None:
        """Put the lines of this record back."""
        self.queue.extendleft(reversed(self._taken))
        self.line -= len(self._taken)

    def __iter__(self) -> _LineSource:
        return self

    def __next__(self) -> str:
        if not self.queue:
            if not self.ended:
                raise _Starved
            self.exhausted = True
            raise StopIteration
        line = self.queue.popleft()
        self.line += 1
        if line is None:
            raise _TooLarge
        self._taken.append(line)
        self._size += len(line) + 1
        if self._size > self._record_size + 1:
            raise _TooLarge
        return line + "\n"
