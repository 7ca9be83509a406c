"""Collects what a record-by-record parser reads, until there is enough of it for a chunk.

Fingerprints come decoded, one by one, or as texts, which are decoded many at once: that is several times as fast, and
what comes of them is the same. Texts wait until the collector is settled; so do the keys and refusals that come after
them, because all of it is handed out and counted in the order of the records.
"""

from __future__ import annotations

import operator
from array import array
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from hashmatch.formats._digest_batches import digests_of
from hashmatch.formats.delivery import Chunk, Column, DeliveryError, KeyedRecord, ParserOptions, Tally
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.opinions import Statement


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


@dataclass(slots=True)
class _Texts:
    """Fingerprints of one algorithm that wait to be decoded. Lists of what the garbage collector need not look at."""

    texts: list[str] = field(default_factory=list)
    statements: list[int] = field(default_factory=list)
    records: list[int] = field(default_factory=list)


class Collector:
    """Fingerprints, keyed records and statements of one delivery, and the tally of them.

    `statements[0]` is what the importer states where a record is silent. Records are added in ascending order. A parser
    that adds texts settles them whenever it stops reading, be it for an error.
    """

    def __init__(self, options: ParserOptions, limits: Limits | None = None) -> None:
        self.default = Statement(options.label, options.scheme, options.jurisdiction)
        self.statements = [self.default]
        self.tally = Tally()
        self.limits = limits or Limits()
        self._numbers = {self.default: 0}
        self._added: dict[Algorithm, _Pile] = {}
        self._removed: dict[Algorithm, _Pile] = {}
        self._keyed: list[KeyedRecord] = []
        self._texts: defaultdict[Algorithm, _Texts] = defaultdict(_Texts)
        # Keyed records, and of how many fingerprints one has to be sound.
        self._keyed_later: list[tuple[KeyedRecord, int]] = []
        self._refused_later: list[tuple[int, str, int]] = []
        self._waiting = 0

    @property
    def is_full(self) -> bool:
        """Whether there is enough for a chunk."""
        return self._waiting >= self.limits.chunk_size

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to hand out."""
        return not self._waiting

    def number(self, statement: Statement, record: int) -> int:
        """The number of a statement. Raises `DeliveryError` if there are too many different ones."""
        number = self._numbers.get(statement)
        if number is None:
            number = len(self.statements)
            if number >= self.limits.statements:
                raise DeliveryError(f"more than {self.limits.statements} different statements", record=record)
            self.statements.append(statement)
            self._numbers[statement] = number
        return number

    def add(self, algorithm: Algorithm, digest: bytes, statement: int, record: int, *, removal: bool = False) -> None:
        """Take one fingerprint; one that adds is counted as read. Not while texts wait."""
        pile = _pile(self._removed if removal else self._added, algorithm)
        pile.digests += digest
        pile.statements.append(statement)
        pile.records.append(record)
        self._waiting += 1
        if not removal:
            self.tally.read += 1

    def add_texts(
        self, record: int, statement: int, fingerprints: Sequence[tuple[Algorithm, str]], key: str, as_of: float = 0.0
    ) -> None:
        """Take the fingerprints, at least one, of a record, each as what `digest_of` takes with the form `auto`.

        They are counted as read, and as refused where they cannot be. A `key` that is not blank is that of the record
        if one of them can be.
        """
        texts = self._texts
        for algorithm, text in fingerprints:
            waiting = texts[algorithm]
            waiting.texts.append(text)
            waiting.statements.append(statement)
            waiting.records.append(record)
        self._waiting += len(fingerprints)
        if key:
            self._keyed_later.append((KeyedRecord(record, key, False, as_of), len(fingerprints)))
            self._waiting += 1

    def add_key(self, record: int, key: str, *, removed: bool = False, as_of: float = 0.0) -> None:
        """Say that a record has a key; one that removes is counted as read. `as_of` is that of `KeyedRecord`."""
        keyed = KeyedRecord(record, key, removed, as_of)
        if self._texts:
            self._keyed_later.append((keyed, 1))
        else:
            self._keyed.append(keyed)
        self._waiting += 1
        if removed:
            self.count_removal()

    def count_removal(self) -> None:
        """Count a record that only removes."""
        self.tally.read += 1
        self.tally.removals += 1

    def refuse(self, reason: str, record: int, count: int = 1) -> None:
        """Quarantine `count` fingerprints of a record, which are counted as read."""
        if self._texts:
            self._refused_later.append((record, reason, count))
        else:
            self.tally.read += count
            self.tally.quarantine(reason, record, count)

    def settle(self) -> None:
        """Decode the texts that wait. Whatever was added is then counted."""
        if not self._texts:
            return
        lost: Counter[int] = Counter()
        refused = self._refused_later
        for algorithm, waiting in self._texts.items():
            digests, reasons = digests_of(algorithm, waiting.texts)
            statements, records = waiting.statements, waiting.records
            if reasons:
                lost.update(records[index] for index in reasons)
                refused += [(records[index], reason, 1) for index, reason in reasons.items()]
                statements = [each for index, each in enumerate(statements) if index not in reasons]
                records = [each for index, each in enumerate(records) if index not in reasons]
            if records:
                pile = _pile(self._added, algorithm)
                pile.digests += digests
                pile.statements.extend(statements)
                pile.records.extend(records)
                self.tally.read += len(records)
        keyed = [each for each, fingerprints in self._keyed_later if lost[each.record] < fingerprints]
        self._keyed += keyed
        self._waiting -= lost.total() + len(self._keyed_later) - len(keyed)
        self._texts.clear()
        self._keyed_later.clear()
        self._refused_later = []
        for record, reason, count in sorted(refused, key=_record):
            self.refuse(reason, record, count)

    def take(self) -> Chunk:
        """Hand out what was collected."""
        self.settle()
        columns = [pile.column(algorithm, removal=False) for algorithm, pile in self._added.items()]
        columns += [pile.column(algorithm, removal=True) for algorithm, pile in self._removed.items()]
        chunk = Chunk(tuple(columns), tuple(self._keyed))
        self._added.clear()
        self._removed.clear()
        self._keyed.clear()
        self._waiting = 0
        return chunk


def _pile(piles: dict[Algorithm, _Pile], algorithm: Algorithm) -> _Pile:
    pile = piles.get(algorithm)
    if pile is None:
        pile = piles[algorithm] = _Pile()
    return pile


_record = operator.itemgetter(0)
