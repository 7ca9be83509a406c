"""Rows: the distinct digests of one algorithm with what a list states of each, sorted by placement.

Everything that a list has is handled as rows: what a delivery brings, what a generation holds, what a delta changes.
Sorted by one placement, any two sets of rows are joined by a linear walk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hashmatch.columns import kernels
from hashmatch.columns.placement import Digests, Placements, PlacementSecret, as_words, placements_of
from hashmatch.columns.sorting import sort_digests
from hashmatch.model.opinions import StatementSet

# The kind of rows that map a source key to the hashes of its entry; other kinds are numbers of algorithms.
SOURCE_KEYS = 255
SOURCE_KEY_DIGEST_SIZE = 16


@dataclass(frozen=True, slots=True)
class Payloads:
    """A variable number of bytes for each row: row i has `data[offsets[i]:offsets[i + 1]]`."""

    offsets: npt.NDArray[np.int64]
    data: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, parts: Sequence[bytes]) -> Payloads:
        """Pack one string of bytes a row."""
        offsets = np.zeros(len(parts) + 1, np.int64)
        np.cumsum(np.fromiter((len(part) for part in parts), np.int64, len(parts)), out=offsets[1:])
        return cls(offsets, np.frombuffer(b"".join(parts), np.uint8))

    def __getitem__(self, row: int) -> bytes:
        return self.data[self.offsets[row] : self.offsets[row + 1]].tobytes()

    def take(self, order: npt.NDArray[np.int64]) -> Payloads:
        """The payloads of the rows in `order`."""
        lengths = (self.offsets[1:] - self.offsets[:-1])[order]
        offsets = np.zeros(len(order) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        data = np.empty(int(offsets[-1]), np.uint8)
        kernels.gather_payloads(self.offsets, self.data, order, offsets, data)
        return Payloads(offsets, data)


@dataclass(frozen=True, slots=True)
class Rows:
    """Distinct digests in placement order.

    `digests` is (n, size) uint8; `placed` is (n,) uint64, ascending; `refs` is (n,) uint32, indexes into `sets`. The
    empty set stands for a digest that the list no longer has. `payloads` holds, for hashes of keyed entries, their
    source keys; for rows of kind SOURCE_KEYS, the entry's hashes; otherwise None.
    """

    kind: int
    digests: Digests
    placed: Placements
    refs: npt.NDArray[np.uint32]
    sets: tuple[StatementSet, ...]
    payloads: Payloads | None = None

    def __len__(self) -> int:
        return len(self.digests)

    @property
    def live(self) -> npt.NDArray[np.bool_]:
        """Which rows have at least one statement: (n,) bool."""
        has_statement = np.fromiter((bool(each) for each in self.sets), np.bool_, len(self.sets))
        return has_statement[self.refs] if len(self.refs) else np.zeros(0, np.bool_)

    def take(self, selection: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Rows:
        """The selected rows, which must keep their order."""
        order = np.flatnonzero(selection) if selection.dtype == np.bool_ else selection.astype(np.int64, copy=False)
        payloads = None if self.payloads is None else self.payloads.take(order)
        return Rows(
            self.kind, take_rows(self.digests, order), self.placed[order], self.refs[order], self.sets, payloads
        )

    def part(self, low: int, high: int) -> Rows:
        """Rows `low` to `high` without payloads, sharing the columns."""
        return Rows(self.kind, self.digests[low:high], self.placed[low:high], self.refs[low:high], self.sets)


def take_rows(digests: Digests, order: npt.NDArray[np.int64]) -> Digests:
    """The digests in `order`: what fancy indexing does, several times as fast for rows of this size."""
    out = np.empty((len(order), digests.shape[1]), np.uint8)
    kernels.take(as_words(digests), order, as_words(out))
    return out


def positions_in(left: Rows, right: Rows) -> npt.NDArray[np.int64]:
    """For each row of `left`, where its digest stands in `right`, or -1: (n,) int64."""
    out = np.empty(len(left), np.int64)
    kernels.walk(left.placed, as_words(left.digests), right.placed, as_words(right.digests), out)
    return out


def empty_rows(kind: int, size: int) -> Rows:
    """No rows at all."""
    return Rows(kind, np.empty((0, size), np.uint8), np.empty(0, np.uint64), np.empty(0, np.uint32), ((),))


class SetInterner:
    """Gives each distinct statement set a number; 0 is the empty set."""

    def __init__(self, known: Iterable[StatementSet] = ()) -> None:
        self.sets: list[StatementSet] = [()]
        self._numbers: dict[StatementSet, int] = {(): 0}
        for each in known:
            self.number(each)

    def number(self, statements: StatementSet) -> int:
        """The number of `statements`."""
        number = self._numbers.get(statements)
        if number is None:
            number = self._numbers[statements] = len(self.sets)
            self.sets.append(statements)
        return number

    def translate(self, rows: Rows) -> npt.NDArray[np.uint32]:
        """The refs of `rows` as numbers of this interner: (n,) uint32."""
        table = np.fromiter((self.number(each) for each in rows.sets), np.uint32, len(rows.sets))
        return table[rows.refs] if len(rows.refs) else rows.refs


def make_rows(
    kind: int,
    digests: Digests,
    refs: npt.NDArray[np.uint32],
    sets: Sequence[StatementSet],
    secret: PlacementSecret,
    payloads: Payloads | None = None,
) -> Rows:
    """Sort distinct digests into rows; `refs` and `payloads` go along."""
    done = sort_digests(digests, placements_of(kind, digests, secret))
    moved = None if payloads is None else payloads.take(done.order)
    return Rows(kind, done.digests, done.placed, refs[done.order], tuple(sets), moved)


def overlay(layers: Sequence[Rows], *, keep_removed: bool) -> Rows:
    """Fold `layers`, oldest first, into one: for each digest the newest layer that has it decides.

    Without `keep_removed`, digests whose newest state is the empty set are left out.
    """
    if not layers:
        raise ValueError("nothing to fold")
    interner = SetInterner()
    newest_first = list(reversed(layers))
    refs = np.concatenate([interner.translate(layer) for layer in newest_first])
    done = sort_digests(
        np.concatenate([layer.digests for layer in newest_first]),
        np.concatenate([layer.placed for layer in newest_first]),
    )
    refs = refs[done.order]
    payloads = None
    if any(layer.payloads is not None for layer in layers):
        payloads = joined_payloads([(layer.payloads, len(layer)) for layer in newest_first]).take(done.order)
    folded = Rows(layers[0].kind, done.digests, done.placed, refs, tuple(interner.sets), payloads)
    return folded.take(done.first if keep_removed else done.first & (refs != 0))


def joined_payloads(parts: Sequence[tuple[Payloads | None, int]]) -> Payloads:
    """Payloads one after the other; None stands for the given number of rows without any."""
    lengths = [np.zeros(rows, np.int64) if each is None else np.diff(each.offsets) for each, rows in parts]
    offsets = np.zeros(sum(map(len, lengths)) + 1, np.int64)
    np.cumsum(np.concatenate(lengths), out=offsets[1:])
    return Payloads(offsets, np.concatenate([each.data for each, _ in parts if each is not None]))
