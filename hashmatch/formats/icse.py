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
* A last row without a line end may have been cut: it may not lack fields, nor end with the key or a blank `Baseline`.
* A flag that says neither yes nor no is refused alone, and so are a text and a fingerprint that cannot be read. A
  `Baseline` that says neither refuses its row.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence

from hashmatch.formats._collector import Collector, Limits
from hashmatch.formats._table_records import TableParser
from hashmatch.formats._text import head_text
from hashmatch.formats._values import Refused, at_most, decoded, digest_of, truth_of
from hashmatch.formats.delivery import ParserOptions
from hashmatch.formats.profile import ColumnReference, HashColumn, Profile
from hashmatch.formats.tables import Cell, is_separator_hint
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
    for line in head_text(head).lstrip()[:4_096].splitlines():
        try:
            names = next(csv.reader([line], delimiter=";"), [])
        except csv.Error:
            return False
        if not is_separator_hint(names):
            return {name.strip().casefold() for name in names} >= _FOLDED
    return False


class IcseParser(TableParser):
    """Reads one delivery."""

    def __init__(self, options: ParserOptions, limits: Limits | None = None) -> None:
        collector = Collector(options, limits)
        super().__init__(collector, _TABLE, "utf-8", collector.limits.record_size)
        self._default = collector.default._replace(scheme=collector.default.scheme or SCHEME)

    def take_record(self, record: int, cells: Sequence[Cell]) -> None:
        """Take one record. Raises `Refused` for one that is quarantined as a whole."""
        row = _row_of(cells)
        key = at_most(decoded(row[_KEY]), "key-too-long")
        if not key:
            raise Refused("key-missing")
        found = [(algorithm, row[column]) for column, algorithm in _HASHES.items() if row[column]]
        if not found:
            raise Refused("no-fingerprint")
        statement = self.collector.number(self._statement(record, row), record)
        taken = 0
        for algorithm, text in found:
            try:
                digest = digest_of(algorithm, decoded(text), "auto")
            except Refused as refused:
                self.collector.refuse(refused.reason, record)
                continue
            self.collector.add(algorithm, digest, statement, record)
            taken += 1
        if taken:
            self.collector.add_key(record, key)

    def check_unfinished(self, cells: Sequence[Cell], column: ColumnReference) -> None:
        """Refuse a record that may be about another key, or have lost its label."""
        if column == _KEY or (column == _BASELINE and not _row_of(cells)[_BASELINE]):
            raise Refused("unfinished-row")

    def count_fingerprints(self, cells: Sequence[Cell]) -> int:
        """How many of the hashes of a row are not blank."""
        row = _row_of(cells)
        return sum(bool(row[column]) for column in _HASHES)

    def _statement(self, record: int, row: dict[str, str]) -> Statement:
        label = ""
        if row[_BASELINE]:
            label = "yes" if truth_of(decoded(row[_BASELINE])) else "no"
        flags = tuple(sorted(self._flags(record, row)))
        if not label:
            return self._default._replace(flags=flags)
        return self._default._replace(label=label, scheme=SCHEME, flags=flags)

    def _flags(self, record: int, row: dict[str, str]) -> Iterator[str]:
        for column, word in _FLAGS.items():
            try:
                if truth_of(decoded(row[column])):
                    yield word
            except Refused as refused:
                self.collector.refuse(refused.reason, record)
        for column, word in _TEXTS.items():
            try:
                if text := decoded(row[column]):
                    yield at_most(f"{word}:{text}", "value-too-long")
            except Refused as refused:
                self.collector.refuse(refused.reason, record)


def _row_of(cells: Sequence[Cell]) -> dict[str, str]:
    """The cells of a row by their columns; none of them is a list."""
    return dict(zip(COLUMNS, map(str, cells), strict=True))
