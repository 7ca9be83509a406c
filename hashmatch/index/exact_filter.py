"""The exact filter: tells in one cache line that a digest is certainly not listed, or under which tags it may be.

It never misses an entry. With one list about one question in a million is a false alarm, which the sealed blocks then
settle; each doubling of the lists doubles that, up to three in ten thousand with 256 of them. At the load that
`_ENTRIES_PER_BUCKET` sets it takes about 4.4 bytes an entry.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from hashmatch.columns.placement import Digests, Placements, PlacementSecret
from hashmatch.index import kernels

_Array: TypeAlias = npt.NDArray[Any]

TAGS = 256
# Up to this many digests are probed without letting go of the interpreter's lock: a few tenths of a millisecond.
HOLDING_LOCK = 16_384
# Of 31 slots 22 are filled on average: about three buckets in a hundred overflow, by a few entries each.
_ENTRIES_PER_BUCKET = 22
_HUGE_PAGE = 2 << 20
# A bucket in bytes, and where its slots end.
_LINE, _SLOTS_END = 2 * kernels.FIELDS, 2 * kernels.SLOTS
# Below this many buckets a table would be crowded by chance alone.
_MINIMUM_BUCKETS = 16


class _SingleView(NamedTuple):
    """A filter for looking at one bucket: its lines and marks as bytes, how many buckets, and the mark's own bits."""

    lines: memoryview
    marks: memoryview
    buckets: int
    spare_bits: int

    @classmethod
    def of(cls, lines: _Array, marks: _Array, spare: int) -> _SingleView:
        """The view of a filter's arrays."""
        return cls(lines.data.cast("B"), marks.data, len(lines) // kernels.FIELDS, (1 << spare) - 1)


class ExactFilter:
    """An immutable filter over entries, each under a tag from 0 to 255; lookups are thread-safe."""

    def __init__(self, secret: PlacementSecret, groups: Sequence[tuple[int, Placements]]) -> None:
        """Build from (tag, placements) pairs."""
        self.secret = secret
        self._secret = (np.uint64(secret.first), np.uint64(secret.second))
        self.entries = sum(len(placed) for _, placed in groups)
        buckets = max(_MINIMUM_BUCKETS, -(-self.entries // _ENTRIES_PER_BUCKET))
        # What the tags leave over of a byte makes the fingerprint longer.
        self._spare = 8 - max((tag for tag, _ in groups), default=0).bit_length()
        self._lines = _huge_zeros(buckets * kernels.FIELDS, np.uint16)
        self._marks = np.zeros(buckets * kernels.FIELDS, np.uint8)
        # An entry listed many times over fills its bucket: room for the worst case is made when it comes.
        capacity = 1_024 + self.entries // 32
        while not self._fill(groups, capacity):
            capacity *= 4
            self._lines[:] = 0

    def _fill(self, groups: Sequence[tuple[int, Placements]], capacity: int) -> bool:
        overflow = np.empty(capacity, np.uint64)
        overflow_marks = np.empty(capacity, np.uint8)
        used = 0
        for tag, placed in groups:
            used = kernels.fill(placed, tag, self._spare, self._lines, self._marks, overflow, overflow_marks, used)
            if used < 0:
                return False
        order = np.argsort(overflow[:used], kind="stable")
        self._overflow = overflow[:used][order]
        self._overflow_marks = overflow_marks[:used][order]
        buckets = len(self._lines) // kernels.FIELDS
        self._overflow_starts = np.empty(buckets // kernels.OVERFLOW_RUN + 2, np.uint32)
        kernels.point_at_overflow(self._overflow, self._overflow_starts)
        return True

    def __getstate__(self) -> dict[str, Any]:
        """Without the view for single placements, which is a process's own."""
        return {name: value for name, value in self.__dict__.items() if name != "_single"}

    @cached_property
    def _single(self) -> _SingleView:
        return _SingleView.of(self._lines, self._marks, self._spare)

    @property
    def _arrays(self) -> tuple[_Array, _Array, _Array, _Array, _Array]:
        return self._lines, self._marks, self._overflow, self._overflow_marks, self._overflow_starts

    @property
    def nbytes(self) -> int:
        """The memory that the filter takes, in bytes."""
        return sum(each.nbytes for each in self._arrays)

    def candidates(self, digests: Digests) -> tuple[npt.NDArray[np.int64], Placements]:
        """Which rows of (n, size) digests may be listed: ascending positions, and the placement of each."""
        out, placed = np.empty(len(digests), np.int64), np.empty(len(digests), np.uint64)
        probe = kernels.probe_few if len(digests) <= HOLDING_LOCK else kernels.probe
        found = probe(np.ascontiguousarray(digests), *self._secret, self._spare, *self._arrays, out, placed)
        return out[:found], placed[:found]

    def may_have(self, placed: int) -> bool:
        """Whether an entry may be listed, given by its placement: what `candidates` finds, one by one.

        Compiled loops go through thousands in no time, but getting there takes longer than to look at one in plain
        bytes, and most of all where it is a while since the last call and nothing of it is in the processor's caches.
        """
        view = self._single
        bucket = (placed >> 32) * view.buckets >> 32
        line = bytes(view.lines[_LINE * bucket : _LINE * (bucket + 1)])
        fingerprint = (placed & 0xFFFF or 1).to_bytes(2, "little")
        at = line.find(fingerprint, 0, _SLOTS_END)
        while at >= 0:
            # The bytes may stand across two slots.
            if not at & 1 and not (view.marks[kernels.FIELDS * bucket + (at >> 1)] ^ placed >> 16) & view.spare_bits:
                return True
            at = line.find(fingerprint, at + 1, _SLOTS_END)
        turned_away = int.from_bytes(line[_SLOTS_END:], "little")
        if not turned_away >> (placed >> 24 & 15) & 1:
            return False
        return bool(kernels.may_be_listed(np.uint64(placed), self._spare, *self._arrays))

    def tags(self, placed: Placements) -> npt.NDArray[np.bool_]:
        """Under which tags each of (n,) candidates may be listed: (n, 256) bool."""
        out = np.zeros((len(placed), TAGS), np.bool_)
        kernels.mark_tags(placed, self._spare, *self._arrays, out)
        return out


def _huge_zeros(count: int, dtype: type[np.uint16]) -> npt.NDArray[np.uint16]:
    """Zeros that begin on a huge page, and so on a cache line, in huge pages where the system has them.

    Random lookups in a table of tens of megabytes are bound by the translation of addresses; measured, huge pages took
    a third off a lookup among ten million entries.
    """
    size = count * np.dtype(dtype).itemsize
    memory = mmap.mmap(-1, size + _HUGE_PAGE)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
    raw = np.frombuffer(memory, np.uint8)
    skip = -raw.ctypes.data % _HUGE_PAGE
    return raw[skip : skip + size].view(dtype)
