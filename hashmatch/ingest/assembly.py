"""Gathers what a parser hands out into the entries that the delivery leaves standing.

Identity is the source's own key: the last record of a key (the latest, where records say when) is the entry's state,
and several entries may carry one hash. A record without a key is an entry of its own, told apart by its hash and what
it states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from hashmatch.columns.placement import Digests, PlacementSecret, placements_of
from hashmatch.columns.rows import Payloads, Rows, SetInterner
from hashmatch.columns.sorting import sort_digests
from hashmatch.columns.source_keys import pack_source_keys
from hashmatch.formats.delivery import Chunk, Column, KeyedRecord
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.opinions import Statement

U64 = npt.NDArray[np.uint64]


@dataclass(slots=True)
class _Gathered:
    """The columns of one algorithm, still in pieces."""

    digests: list[Digests] = field(default_factory=list)
    statements: list[npt.NDArray[np.uint32] | int] = field(default_factory=list)
    records: list[U64 | None] = field(default_factory=list)
    removal: list[bool] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """The standing fingerprints of one algorithm, in no particular order.

    `digests` (n, size) uint8; `statements` (n,) uint32; `entries` (n,) int64, an index into the delivery's keys, or -1
    for a record without one; `removed` are digests that unkeyed records take off the list.
    """

    algorithm: Algorithm
    digests: Digests
    statements: npt.NDArray[np.uint32]
    entries: npt.NDArray[np.int64] | None
    removed: Digests


@dataclass(frozen=True, slots=True)
class Entries:
    """What a delivery leaves standing. `keys` are those of its keyed entries, `removed_keys` those it withdraws."""

    fingerprints: tuple[Fingerprints, ...]
    statements: Sequence[Statement]
    keys: Sequence[str]
    removed_keys: Sequence[str]
    superseded: int

    @property
    def keyed(self) -> bool:
        """Whether any entry has a key."""
        return bool(self.keys) or bool(self.removed_keys)


class Assembler:
    """Takes chunks as they are parsed."""

    def __init__(self) -> None:
        self._gathered: dict[Algorithm, _Gathered] = {}
        self._keyed: list[KeyedRecord] = []

    def add(self, chunk: Chunk) -> None:
        """Take a chunk."""
        for column in chunk.columns:
            self._add_column(column)
        self._keyed.extend(chunk.keyed)

    def _add_column(self, column: Column) -> None:
        if not len(column.digests):
            return
        gathered = self._gathered.setdefault(column.algorithm, _Gathered())
        gathered.digests.append(column.digests)
        gathered.statements.append(column.statements)
        gathered.records.append(column.records)
        gathered.removal.append(column.removal)

    def finish(self, statements: Sequence[Statement]) -> Entries:
        """The entries that stand at the end. The assembler is empty afterwards."""
        standing = _Standing(self._keyed)
        fingerprints = []
        superseded = 0
        for algorithm in sorted(self._gathered):
            gathered = self._gathered.pop(algorithm)
            one, dropped = _settle(algorithm, gathered, standing)
            fingerprints.append(one)
            superseded += dropped
        return Entries(tuple(fingerprints), statements, standing.keys, standing.removed_keys, superseded)


class _Standing:
    """Which keyed records are the last of their key."""

    def __init__(self, keyed: Sequence[KeyedRecord]) -> None:
        last: dict[str, KeyedRecord] = {}
        for record in keyed:
            before = last.get(record.key)
            if before is None or before.as_of <= record.as_of:
                last[record.key] = record
        self.keys = [key for key, record in last.items() if not record.removed]
        self.removed_keys = [key for key, record in last.items() if record.removed]
        number_of = {last[key].record: index for index, key in enumerate(self.keys)}
        self._records = np.fromiter((record.record for record in keyed), np.uint64, len(keyed))
        # Of each keyed record the index of its key if it is the standing state, else -2.
        self._entries = np.fromiter((number_of.get(record.record, -2) for record in keyed), np.int64, len(keyed))

    def entries_of(self, records: U64) -> npt.NDArray[np.int64]:
        """For each record the index of its key, -1 if it has none, -2 if a later state replaced it."""
        if not len(self._records):
            return np.full(len(records), -1, np.int64)
        at = np.minimum(np.searchsorted(self._records, records), len(self._records) - 1)
        return np.where(self._records[at] == records, self._entries[at], -1)


def _settle(algorithm: Algorithm, gathered: _Gathered, standing: _Standing) -> tuple[Fingerprints, int]:
    sizes = [len(each) for each in gathered.digests]
    digests = np.concatenate(gathered.digests)
    gathered.digests.clear()
    statements = np.empty(len(digests), np.uint32)
    removal = np.zeros(len(digests), np.bool_)
    at = 0
    for size, numbers, removes in zip(sizes, gathered.statements, gathered.removal, strict=True):
        statements[at : at + size] = numbers
        removal[at : at + size] = removes
        at += size
    nothing = np.empty((0, digests.shape[1]), np.uint8)
    if any(each is None for each in gathered.records):
        return Fingerprints(algorithm, digests, statements, None, nothing), 0
    records = np.concatenate([each for each in gathered.records if each is not None])
    entries = standing.entries_of(records)
    stands = (entries != -2) & ~removal
    removed = nothing
    if removal.any():
        stands, removed = _apply_removals(digests, records, removal, stands)
    superseded = int(np.count_nonzero(~stands & ~removal))
    if not stands.all():
        digests, statements, entries = digests[stands], statements[stands], entries[stands]
    return Fingerprints(algorithm, digests, statements, entries, removed), superseded


def _apply_removals(
    digests: Digests, records: U64, removal: npt.NDArray[np.bool_], stands: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.bool_], Digests]:
    """An unkeyed removal takes off what came before it; what comes after stands."""
    last: dict[bytes, int] = {}
    for position in np.flatnonzero(removal).tolist():
        digest = digests[position].tobytes()
        last[digest] = max(last.get(digest, 0), int(records[position]))
    stands = stands.copy()
    returned = set()
    for position in np.flatnonzero(stands).tolist():
        digest = digests[position].tobytes()
        if digest in last:
            stands[position] = int(records[position]) > last[digest]
            if stands[position]:
                returned.add(digest)
    gone = [digest for digest in last if digest not in returned]
    packed = np.frombuffer(b"".join(gone), np.uint8).reshape(len(gone), digests.shape[1])
    return stands, packed


def rows_of(
    fingerprints: Fingerprints, entries: Entries, secret: PlacementSecret, generation: int
) -> tuple[Rows, int, int]:
    """The rows that fingerprints make, how many distinct fingerprints they hold, and how many repeat one of them.

    Every statement is marked as first seen in `generation`.
    """
    digests = fingerprints.digests
    done = sort_digests(digests, placements_of(fingerprints.algorithm, digests, secret))
    statements = fingerprints.statements[done.order]
    interner = SetInterner()
    single = np.fromiter(
        (interner.number((each._replace(since_generation=generation),)) for each in entries.statements),
        np.uint32,
        len(entries.statements),
    )
    starts = np.flatnonzero(done.first)
    keyed = fingerprints.entries is not None and entries.keyed
    if not keyed:
        refs = single[statements[starts]]
        if len(starts) == len(done.first):
            return Rows(fingerprints.algorithm, done.digests, done.placed, refs, tuple(interner.sets)), len(refs), 0
        stored = len(starts)
        # Where one hash comes with several statements all of them stand: a body may contradict itself.
        lowest = np.minimum.reduceat(statements, starts)
        highest = np.maximum.reduceat(statements, starts)
        ends = np.append(starts[1:], len(statements))
        for row in np.flatnonzero(lowest != highest).tolist():
            said = {entries.statements[number] for number in statements[starts[row] : ends[row]].tolist()}
            refs[row] = interner.number(tuple(each._replace(since_generation=generation) for each in sorted(said)))
            stored += len(said) - 1
        rows = Rows(fingerprints.algorithm, done.digests[starts], done.placed[starts], refs, tuple(interner.sets))
        return rows, stored, len(statements) - stored
    numbers = fingerprints.entries[done.order].tolist() if fingerprints.entries is not None else []
    bounds = [*starts.tolist(), len(statements)]
    refs = np.empty(len(starts), np.uint32)
    payloads = []
    stored = 0
    spoken = statements.tolist()
    for row, (start, end) in enumerate(pairwise(bounds)):
        held = sorted(
            {
                (entries.statements[spoken[at]], entries.keys[numbers[at]] if numbers[at] >= 0 else "")
                for at in range(start, end)
            }
        )
        refs[row] = interner.number(tuple(each._replace(since_generation=generation) for each, _ in held))
        payloads.append(pack_source_keys([key for _, key in held]))
        stored += len(held)
    rows = Rows(
        fingerprints.algorithm,
        done.digests[starts],
        done.placed[starts],
        refs,
        tuple(interner.sets),
        Payloads.of(payloads),
    )
    return rows, stored, len(statements) - stored
