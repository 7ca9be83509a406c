"""Collects what a record-by-record parser reads, until there is enough of it for a chunk."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import numpy as np

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


class Collector:
    """Fingerprints, keyed records and statements of one delivery, and the tally of them.

    `statements[0]` is what the importer states where a record is silent. Records are added in ascending order.
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
        """Take one fingerprint; one that adds is counted as read."""
        piles = self._removed if removal else self._added
        pile = piles.get(algorithm)
        if pile is None:
            pile = piles[algorithm] = _Pile()
        pile.digests += digest
        pile.statements.append(statement)
        pile.records.append(record)
        self._waiting += 1
        if not removal:
            self.tally.read += 1

    def add_key(self, record: int, key: str, *, removed: bool = False, as_of: float = 0.0) -> None:
        """Say that a record has a key; one that removes is counted as read. `as_of` is that of `KeyedRecord`."""
        self._keyed.append(KeyedRecord(record, key, removed, as_of))
        self._waiting += 1
        if removed:
            self.count_removal()

    def count_removal(self) -> None:
        """Count a record that only removes."""
        self.tally.read += 1
        self.tally.removals += 1

    def refuse(self, reason: str, record: int, count: int = 1) -> None:
        """Quarantine `count` fingerprints of a record, which are counted as read."""
        self.tally.read += count
        self.tally.quarantine(reason, record, count)

    def take(self) -> Chunk:
        """Hand out what was collected."""
        columns = [pile.column(algorithm, removal=False) for algorithm, pile in self._added.items()]
        columns += [pile.column(algorithm, removal=True) for algorithm, pile in self._removed.items()]
        chunk = Chunk(tuple(columns), tuple(self._keyed))
        self._added.clear()
        self._removed.clear()
        self._keyed.clear()
        self._waiting = 0
        return chunk
