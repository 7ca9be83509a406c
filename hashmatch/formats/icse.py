"""The format `icse`: the hash list of INTERPOL's International Child Sexual Exploitation database, as its CSV.

How a row is read:

* Fields are separated by semicolons. The header names the twelve columns, in any order and case; further columns are
  passed over.
* The key is `Image ID`, and a row without one is refused: nothing could withdraw it later. What a full
  delivery lacks is removed; there are no removals by row.
* The label is `Baseline`: yes or no, under the scheme `interpol-baseline`. Where it is blank nothing is known of it,
  and the label is what the importer states.
* A row that is shorter than the header lacks the fields at its end: they are blank. A row that is longer is refused,
  unless what is too much is blank.
* A flag that says neither yes nor no refuses its row. A fingerprint that cannot be read is refused alone.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from hashmatch.formats._collector import Collector, Limits
from hashmatch.formats._text import Blocks, TextDecoder, head_text
from hashmatch.formats._values import Refused, at_most, digest_of, truth_of
from hashmatch.formats.delivery import Chunk, DeliveryError, ParserOptions
from hashmatch.formats.profile import HashColumn, Profile
from hashmatch.formats.tables import Row, open_table
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.opinions import Statement

SCHEME = "interpol-baseline"

_HASHES = {"MD5": Algorithm.MD5, "SHA1": Algorithm.SHA1, "PhotoDNA": Algorithm.PHOTODNA}
_FLAGS = {
    "Is distributed": "is-distributed",
    "Victim identified": "victim-identified",
    "Offender identified": "offender-identified",
    "File Available": "file-available",
}
# Columns whose text becomes a flag behind a word.
_TEXTS = {"Series name": "series", "Number of submissions": "submissions", "Media Type": "media-type"}
_KEY, _BASELINE = "Image ID", "Baseline"
COLUMNS = (*_HASHES, _KEY, *_FLAGS, *_TEXTS, _BASELINE)
_FOLDED = frozenset(column.casefold() for column in COLUMNS)

# Every column is one of the reader's; what the profile calls it does not matter here.
_TABLE = Profile(
    layout="csv",
    delimiter=";",
    short_rows="blank",
    hashes=tuple(HashColumn(column=column, algorithm="md5") for column in COLUMNS),
)


def recognises(head: bytes) -> bool:
    """Whether a delivery that begins with `head` is in this format."""
    header = next(iter(head_text(head).lstrip()[:4_096].splitlines()), "")
    try:
        names = next(csv.reader([header], delimiter=";"), [])
    except csv.Error:
        return False
    return {name.strip().casefold() for name in names} >= _FOLDED


class IcseParser:
    """Reads one delivery. Records are numbered by the line on which they begin."""

    def __init__(self, options: ParserOptions, limits: Limits | None = None) -> None:
        self._collector = Collector(options, limits)
        self.statements = self._collector.statements
        self.tally = self._collector.tally
        self._default = self._collector.default
        self._blocks = Blocks()
        self._decoder = TextDecoder("utf-8")
        self._newlines = io.IncrementalNewlineDecoder(None, translate=True)
        self._table = open_table(_TABLE, self._collector.limits.record_size)

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
            raise DeliveryError("this is not text", record=self._table.line + 1)

    def _take(self, rows: Iterator[Row]) -> Iterator[Chunk]:
        for row in rows:
            if row.refusal:
                self.tally.records += row.lines
                self._collector.refuse(row.refusal, row.line, row.lines)
                continue
            self.tally.records += 1
            cells = dict(zip(COLUMNS, map(str, row.cells), strict=True))
            try:
                self._take_record(row.line, cells)
            except Refused as refused:
                met = sum(bool(cells[column]) for column in _HASHES)
                self._collector.refuse(refused.reason, row.line, max(1, met))
            if self._collector.is_full:
                yield self._collector.take()

    def _take_record(self, record: int, cells: dict[str, str]) -> None:
        if any("\N{REPLACEMENT CHARACTER}" in cell for cell in cells.values()):
            raise Refused("bad-encoding")
        key = at_most(cells[_KEY], "key-too-long")
        if not key:
            raise Refused("key-missing")
        statement = self._collector.number(self._statement(cells), record)
        found = [(algorithm, cells[column]) for column, algorithm in _HASHES.items() if cells[column]]
        if not found:
            raise Refused("no-fingerprint")
        taken = 0
        for algorithm, text in found:
            try:
                digest = digest_of(algorithm, text, "auto")
            except Refused as refused:
                self._collector.refuse(refused.reason, record)
                continue
            self._collector.add(algorithm, digest, statement, record)
            taken += 1
        if taken:
            self._collector.add_key(record, key)

    def _statement(self, cells: dict[str, str]) -> Statement:
        words = {word for column, word in _FLAGS.items() if truth_of(cells[column])}
        words.update(
            at_most(f"{word}:{cells[column]}", "value-too-long") for column, word in _TEXTS.items() if cells[column]
        )
        default = self._default._replace(scheme=self._default.scheme or SCHEME, flags=tuple(sorted(words)))
        if not cells[_BASELINE]:
            return default
        return default._replace(label="yes" if truth_of(cells[_BASELINE]) else "no", scheme=SCHEME)
