"""The format `columns`: a table whose layout a profile describes, so that a new body needs no new code.

How a record is read:

* A record that cannot be read as a whole (its quoting, its width, a label that is too long) is refused as a whole. A
  fingerprint that cannot be read is refused alone, and so is a flag or a date: the fingerprints beside it stand.
* A record with a key becomes a `KeyedRecord` if it removes its entry or if at least one of its fingerprints is handed
  out. Otherwise it changes nothing: what its entry stated before still stands.
* Where the profile names a key, a record without one is refused, because no later record could withdraw it.
* A last row without a line end may have been cut within its last field. Where that is part of the key, a blank label,
  or the beginning of a word that removes, the row is refused: it could be about another entry, or a removal.
* A record that removes is read for its key alone or, without keys in the profile, for its fingerprints alone.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence

from hashmatch.formats._collector import Collector, Limits
from hashmatch.formats._table_records import TableParser
from hashmatch.formats._values import TRUE, Refused, algorithm_of, at_most, date_of, decoded, digest_of, truth_of
from hashmatch.formats._videos import MAXIMUM_TEXT_OF_FRAMES, add_video, codes_of_video
from hashmatch.formats.delivery import ParserOptions
from hashmatch.formats.profile import ColumnReference, FlagColumn, Profile, parse_profile
from hashmatch.formats.tables import Cell
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.opinions import Statement

# Between the parts of a key of several columns. A part that has it is refused: the key could be that of another entry.
KEY_SEPARATOR = "\x1f"
MAXIMUM_FLAGS = 64

_ENCODINGS = {"utf-8": "utf-8", "utf-16": "utf-16-le", "latin-1": "latin-1"}


def _record_size(profile: Profile, limits: Limits) -> int:
    """How many characters a record may have: more where it may hold the frames of a video."""
    if not any(Algorithm.VPDQ in (each.fixed_algorithm, *each.algorithms_by_name.values()) for each in profile.hashes):
        return limits.record_size
    longest = limits.record_size + MAXIMUM_TEXT_OF_FRAMES
    # Fields of `csv` have a limit of their own, which is the same for the whole process.
    return longest if profile.layout == "jsonl" else min(longest, csv.field_size_limit() - 1)


class ColumnsParser(TableParser):
    """Reads one delivery by `options.profile`. `statements[0]` is what the importer states where a record is silent.

    Raises `DeliveryError` INVALID_PROFILE if the profile is not valid.
    """

    def __init__(self, options: ParserOptions, limits: Limits | None = None) -> None:
        collector = Collector(options, limits)
        self._profile = parse_profile(options.profile)
        record_size = _record_size(self._profile, collector.limits)
        super().__init__(collector, self._profile, _ENCODINGS[self._profile.encoding], record_size)
        self._default = collector.default
        self._positions = {column: position for position, column in enumerate(self._profile.columns)}
        self._hashes = [(each, each.fixed_algorithm, each.algorithms_by_name) for each in self._profile.hashes]
        self._deleted_values = frozenset(
            value.casefold() for value in (self._profile.deleted.values if self._profile.deleted else ())
        )

    def take_record(self, record: int, cells: Sequence[Cell]) -> None:
        """Take one record. Raises `Refused` for one that is quarantined as a whole."""
        removal = self._is_removal(cells)
        key = self._key(cells)
        if removal and key:
            self.collector.add_key(record, key, removed=True)
            return
        statement = 0 if removal else self._statement(record, cells)
        if self._take_fingerprints(record, cells, statement, key=key, removal=removal):
            if key:
                self.collector.add_key(record, key)
            if removal:
                self.collector.count_removal()

    def check_unfinished(self, cells: Sequence[Cell], column: ColumnReference) -> None:
        """Refuse a record that may be about another key, be a removal that was cut, or have had a label."""
        profile = self._profile
        text = self._text(cells, column)
        if column in profile.key:
            raise Refused("unfinished-row")
        if not self._is_removal(cells) and (
            (column in profile.label and not text)
            or (profile.deleted and column == profile.deleted.column and self._may_begin_removal(text))
        ):
            raise Refused("unfinished-row")

    def _take_fingerprints(self, record: int, cells: Sequence[Cell], statement: int, *, key: str, removal: bool) -> int:
        """Hand out the fingerprints that can be read. Returns how many, a video being one."""
        met = taken = 0
        for column, algorithm, names in self._hashes:
            if not cells[self._positions[column.column]]:
                continue
            met += 1
            try:
                if column.algorithm_column is not None:
                    algorithm = algorithm_of(self._text(cells, column.algorithm_column), names)
                assert algorithm is not None
                if algorithm is Algorithm.VPDQ:
                    codes = codes_of_video(self._cell(cells, column.column))
                    if not key:
                        # Without one nothing says which frames are of one video.
                        raise Refused("key-missing")
                    add_video(self.collector, codes, self.statements[statement], record)
                    taken += 1
                    continue
                digest = digest_of(algorithm, self._text(cells, column.column), column.form)
            except Refused as refused:
                self.collector.refuse(refused.reason, record)
                continue
            self.collector.add(algorithm, digest, statement, record, removal=removal)
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

    def _may_begin_removal(self, text: str) -> bool:
        return any(word.startswith(text.casefold()) for word in self._deleted_values or TRUE)

    def _key(self, cells: Sequence[Cell]) -> str:
        parts = [self._text(cells, column) for column in self._profile.key]
        if not all(parts):
            raise Refused("key-missing")
        if len(parts) > 1 and any(KEY_SEPARATOR in part for part in parts):
            raise Refused("bad-value")
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
            flags=self._flags(record, cells) if profile.flags else (),
            updated_on=self._date(record, cells),
        )
        return self.collector.number(statement, record)

    def _date(self, record: int, cells: Sequence[Cell]) -> str:
        stated = self._profile.updated_on
        if stated is None:
            return ""
        try:
            return date_of(self._text(cells, stated.column), stated.formats)
        except Refused as refused:
            self.collector.refuse(refused.reason, record)
            return ""

    def _flags(self, record: int, cells: Sequence[Cell]) -> tuple[str, ...]:
        words: set[str] = set()
        for flag in self._profile.flags:
            try:
                words.update(self._words(flag, cells))
            except Refused as refused:
                self.collector.refuse(refused.reason, record)
        if len(words) > MAXIMUM_FLAGS:
            raise Refused("too-many-flags")
        return tuple(sorted(words))

    def _words(self, flag: FlagColumn, cells: Sequence[Cell]) -> list[str]:
        """The flags that one column states."""
        if flag.word:
            return [flag.word] if truth_of(self._text(cells, flag.column)) else []
        cell = self._cell(cells, flag.column)
        listed = cell.split(flag.separator) if isinstance(cell, str) else cell
        return [at_most(decoded(word.strip()), "value-too-long") for word in listed if word.strip()]

    def _short_text(self, cells: Sequence[Cell], column: ColumnReference | None) -> str:
        return "" if column is None else at_most(self._text(cells, column), "value-too-long")

    def _text(self, cells: Sequence[Cell], column: ColumnReference) -> str:
        cell = self._cell(cells, column)
        if not isinstance(cell, str):
            raise Refused("bad-value")
        return decoded(cell)

    def _cell(self, cells: Sequence[Cell], column: ColumnReference) -> str | list[str]:
        """What stands in a column. Raises `Refused` if that is nothing that can be read."""
        cell = cells[self._positions[column]]
        if isinstance(cell, Refused):
            raise Refused(cell.reason)
        return cell

    def count_fingerprints(self, cells: Sequence[Cell]) -> int:
        """How many cells there are that stand for fingerprints and are not blank."""
        return sum(1 for column in self._profile.hashes if cells[self._positions[column.column]])
