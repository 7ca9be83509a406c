"""Deliveries of records in JSON documents: what the formats of three bodies share.

A delivery is one document or several, one after the other, with or without white space between them: the pages of a
query as a feed received them, or JSON lines. A document is an object in which the records are the list of one member,
a list of records, or a single record.

The parser of events is ijson's; here records are built of them, one at a time. JSON that is damaged cannot be read on,
and the delivery is refused as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import ijson
from ijson.common import ObjectBuilder

from hashmatch.formats._collector import Collector, Limits
from hashmatch.formats._text import BLOCK_SIZE, Blocks, TextDecoder, head_text
from hashmatch.formats._values import Refused, at_most, count_of, decoded, text_of
from hashmatch.formats.delivery import Chunk, DeliveryError, ParserOptions
from hashmatch.model.opinions import Statement

Record = dict[str, Any]

MAXIMUM_FLAGS = 64
# What the parser of events may keep of one value.
_LONGEST_VALUE = 1 << 20
_DEEPEST = 1_000
_STARTS = frozenset({"start_map", "start_array"})
_ENDS = frozenset({"end_map", "end_array"})
# Beyond the year 9999 there are no dates; such numbers are milliseconds.
_MILLISECONDS_FROM = 253_402_300_800


class JsonRecordsParser:
    """Reads the records of one delivery. Records are numbered from 1, across documents.

    A format states the `member` that holds the records of a document, the `marker` that only a record has, and what to
    do with one.
    """

    member = ""
    marker = ""

    def __init__(self, options: ParserOptions, limits: Limits | None = None) -> None:
        self.collector = Collector(options, limits)
        self.statements = self.collector.statements
        self.tally = self.collector.tally
        self._blocks = Blocks()
        self._decoder = TextDecoder("utf-8")
        self._latest = 0.0
        self._documents = _Documents(self.member, self.marker, self.collector.limits.record_size)

    def feed(self, data: bytes) -> Iterator[Chunk]:
        """Take the next bytes, of any number, cut anywhere."""
        if block := self._blocks.add(data):
            yield from self._read(self._decoder.decode(block))

    def finish(self) -> Iterator[Chunk]:
        """Take the end of the delivery. Raises `DeliveryError` if it is truncated."""
        yield from self._read(self._decoder.decode(self._blocks.rest()) + self._decoder.rest())
        self._decoder.check_whole()
        yield from self._take(self._documents.finish())
        self.tally.declared_records = self.declared(self._documents.counts)
        if not self.collector.is_empty:
            yield self.collector.take()

    def take_record(self, number: int, record: Record) -> None:
        """Take one record. Raises `Refused` for one that is quarantined as a whole."""
        raise NotImplementedError

    def moment(self, value: Any) -> float:
        """The time that `value` is, in seconds since 1970.

        Where it is none, the latest time before: a record that says nothing of its time comes after those before it.
        """
        found = seconds_of(value)
        self._latest = max(self._latest, found)
        return found or self._latest

    def declared(self, counts: Counts) -> int | None:
        """How many records the documents say there are, of their members `count`; None if they do not say."""
        return counts.total

    def _read(self, text: str) -> Iterator[Chunk]:
        for start in range(0, len(text), BLOCK_SIZE):
            yield from self._take(self._documents.feed(text[start : start + BLOCK_SIZE]))

    def _take(self, records: Iterator[Record | Refused]) -> Iterator[Chunk]:
        for record in records:
            self.tally.records += 1
            number = self.tally.records
            try:
                if isinstance(record, Refused):
                    raise record
                self.take_record(number, record)
            except Refused as refused:
                self.collector.refuse(refused.reason, number)
            if self.collector.is_full:
                yield self.collector.take()


class Counts:
    """What documents say of the number of records: the `first` one, and the `total` of all if each of them says it."""

    def __init__(self) -> None:
        self.first: int | None = None
        self.total: int | None = None
        self._documents = 0

    def add(self, value: Any) -> None:
        """Take the `count` of the next document, or whatever is in its place."""
        count = count_of(value)
        if not self._documents:
            self.first = self.total = count
        else:
            self.total = None if count is None or self.total is None else self.total + count
        self._documents += 1


class _Documents:
    """From text to records. What is `Refused` stands for a record that is none."""

    def __init__(self, member: str, marker: str, record_size: int) -> None:
        self.counts = Counts()
        self._member = member
        self._marker = marker
        self._record_size = record_size
        self._events: Any = ijson.sendable_list()
        # Without `use_float` its C code crashes the process on a number of some thousand digits.
        self._parser: Any = ijson.basic_parse_coro(self._events, multiple_values=True, use_float=True)
        # Records that were read and not yet handed out.
        self._ready: list[Record | Refused] = []
        self._silent = 0
        self._records = 0
        self._depth = 0
        # The depth of the list whose items are records, or 0 outside of it.
        self._list_depth = 0
        self._had_list = False
        self._at_member = False
        self._document = _Building(record_size)
        self._item = _Building(record_size)

    def feed(self, text: str) -> Iterator[Record | Refused]:
        """Take the next text."""
        failed = False
        try:
            self._parser.send(text.encode())
        except (ijson.JSONError, ValueError, ArithmeticError, RecursionError):
            failed = True
        self._check_progress(text)
        for event, value in self._events:
            self._take(event, value)
        del self._events[:]
        yield from self._handed_out()
        if failed:
            raise DeliveryError("this is not JSON, or has a number of more than 64 bits", record=self._records + 1)

    def finish(self) -> Iterator[Record | Refused]:
        """Take the end. Raises `DeliveryError` if a document is not whole, or there is none."""
        try:
            self._parser.close()
        except (ijson.JSONError, ValueError):
            raise DeliveryError("truncated: the last document is not whole", record=self._records + 1) from None
        for event, value in self._events:
            self._take(event, value)
        yield from self._handed_out()

    def _handed_out(self) -> list[Record | Refused]:
        ready, self._ready = self._ready, []
        return ready

    def _check_progress(self, text: str) -> None:
        """Bound what the parser of events keeps of a value that does not end."""
        self._silent = 0 if self._events or text.isspace() else self._silent + len(text)
        if self._silent > _LONGEST_VALUE:
            raise DeliveryError("a value is too long", record=self._records + 1)

    def _take(self, event: str, value: Any) -> None:
        if self._list_depth and self._depth == self._list_depth and event == "end_array":
            self._depth -= 1
            self._list_depth = 0
            if not self._depth:
                self._end_document()
            return
        if not self._list_depth and self._depth <= 1 and self._took_member(event, value):
            return
        if event in _STARTS:
            self._depth += 1
            if self._depth > _DEEPEST:
                raise DeliveryError("nested too deeply", record=self._records + 1)
        elif event in _ENDS:
            self._depth -= 1
        building = self._item if self._list_depth else self._document
        building.take(event, value)
        if self._depth == self._list_depth:
            if self._list_depth:
                self._records += 1
                self._ready.append(building.finish())
            else:
                self._end_document()

    def _took_member(self, event: str, value: Any) -> bool:
        """Whether an event outside of lists of records is the name of such a list, its beginning, or null instead."""
        if self._depth == 1 and event == "map_key" and value == self._member:
            self._at_member = True
            return True
        at_member, self._at_member = self._at_member, False
        if event == "start_array" and (at_member or not self._depth):
            self._depth += 1
            self._list_depth = self._depth
        elif not at_member or event != "null":
            if at_member:
                self._document.take("map_key", self._member)
            return False
        self._had_list = True
        return True

    def _end_document(self) -> None:
        had_list, self._had_list = self._had_list, False
        document = self._document.finish()
        if had_list:
            self.counts.add(document.get("count") if isinstance(document, dict) else None)
        elif isinstance(document, Refused) or self._marker in document:
            self._records += 1
            self._ready.append(document)
        else:
            raise DeliveryError(f"a document without {self._member}", record=self._records + 1)


class _Building:
    """Builds one value of its events, as long as it is small enough."""

    def __init__(self, record_size: int) -> None:
        self._record_size = record_size
        self._builder = ObjectBuilder()
        self._size = 0

    def take(self, event: str, value: Any) -> None:
        """Take the next event."""
        self._size += 8 + (len(value) if isinstance(value, str) else 0)
        if self._size <= self._record_size:
            self._builder.event(event, value)

    def finish(self) -> Record | Refused:
        """The value, which must be an object."""
        too_large, value = self._size > self._record_size, getattr(self._builder, "value", None)
        self._builder = ObjectBuilder()
        self._size = 0
        if too_large:
            return Refused("record-too-large")
        return value if isinstance(value, dict) else Refused("not-an-object")


def begins_with_key(head: bytes, *keys: str) -> bool:
    """Whether a delivery that begins with `head` is JSON and has all of `keys` there."""
    text = head_text(head).lstrip()
    return text[:1] in ("{", "[") and all(f'"{key}"' in text for key in keys)


def text_in(record: Record, name: str, reason: str = "value-too-long") -> str:
    """The text of a member, stripped; numbers and booleans are their own text, and what is missing is blank."""
    return at_most(plain_text(record.get(name)), reason)


def plain_text(value: Any) -> str:
    """The text that a value of JSON is. Raises `Refused` for objects, lists and fractions."""
    return decoded(text_of(value))


def listed(value: Any) -> list[Any]:
    """The items of a list, of the `data` of an object as Graph APIs write it, or of nothing. Raises `Refused`."""
    if isinstance(value, dict):
        value = value.get("data")
    if value is None:
        return []
    if not isinstance(value, list):
        raise Refused("bad-value")
    return value


def seconds_of(value: Any) -> float:
    """The time, in seconds since 1970, of a number, its text, or a text of ISO 8601; 0 for anything else."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            try:
                moment = datetime.fromisoformat(value.strip())
            except ValueError:
                return 0.0
            value = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
            return value if 0 < value < _MILLISECONDS_FROM else 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _MILLISECONDS_FROM * 1_000:
        return 0.0
    return float(value) / 1_000 if value >= _MILLISECONDS_FROM else float(value)


def date_at(seconds: float) -> str:
    """The UTC date of a time in seconds since 1970; blank for 0."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat() if seconds else ""


class Flags:
    """The flags of one record: what cannot be read, or is too long, is refused alone."""

    def __init__(self, collector: Collector, record: int) -> None:
        self._collector = collector
        self._record = record
        self.words: set[str] = set()

    def add(self, prefix: str, value: Any) -> None:
        """Take the text of a value behind a prefix; nothing if it is blank."""
        try:
            if text := plain_text(value):
                self.words.add(at_most(f"{prefix}{text}", "value-too-long"))
        except Refused as refused:
            self._collector.refuse(refused.reason, self._record)

    def items(self, value: Any) -> list[Any]:
        """The items of a list of which flags are made."""
        try:
            return listed(value)
        except Refused as refused:
            self._collector.refuse(refused.reason, self._record)
            return []

    def objects(self, value: Any) -> list[Record]:
        """The objects of a list of objects."""
        items = self.items(value)
        found = [each for each in items if isinstance(each, dict)]
        if len(found) < len(items):
            self._collector.refuse("bad-value", self._record, len(items) - len(found))
        return found


def statement_of(scheme: str, default: Statement, label: str, flags: set[str], date: str) -> Statement:
    """The statement of a record whose body has a scheme of its own; without a label, what the importer states.

    Raises `Refused` if there are too many flags.
    """
    if len(flags) > MAXIMUM_FLAGS:
        raise Refused("too-many-flags")
    words = tuple(sorted(flags))
    if label:
        return Statement(label, scheme, default.jurisdiction, words, date)
    return default._replace(scheme=default.scheme or scheme, flags=words, updated_on=date)
