"""Snapshots that several processes answer from, with their tables in memory once.

One process builds a snapshot and shares it: whatever is large in it is written into memory of its own, a piece, once in
its life; what is small goes together into one piece. The snapshot itself is then a few kilobytes that refer to pieces.
A process that has mapped the pieces gets the very snapshot, whose tables are the shared memory; what it had mapped for
the snapshot before it keeps. The builder goes on with the shared snapshot as well and lets go of its own.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from typing import Any, NamedTuple, Protocol

import numpy as np

from hashmatch.index.euclidean import EuclideanIndex
from hashmatch.index.exact_filter import ExactFilter
from hashmatch.index.hamming import HammingIndex
from hashmatch.index.refresher import Served
from hashmatch.index.shared_memory import Memory, Written, read_memory
from hashmatch.store.segments import SegmentInfo, SegmentReader, SegmentStore
from hashmatch.store.sources import BlockCache, ResidentSegment, StoredSegment

# What stands by itself in a piece: tables and segments stay from snapshot to snapshot. The arrays are those that tables
# keep beside them for the next overlay.
_UNITS = (ExactFilter, HammingIndex, EuclideanIndex, ResidentSegment, StoredSegment, np.ndarray)
# What is smaller shares a piece: there may be thousands of small deltas, and each piece is a descriptor.
_SMALL = 1 << 20
_CACHE = "cache"


class Piece(NamedTuple):
    """Shared memory with one or more units."""

    piece_id: str
    memory: Memory


class Image(NamedTuple):
    """A snapshot for others to take over: itself, and the pieces that it needs, all others being obsolete."""

    memory: Memory
    piece_ids: tuple[str, ...]


class Announce(Protocol):
    """Hands what is shared to the other processes: pieces that they have not got yet, then the image."""

    def __call__(self, pieces: Collection[Piece], image: Image) -> None:
        """Called once for each snapshot, in order."""
        ...


class Pieces:
    """The pieces that this process has mapped, and the snapshots upon them. Not thread-safe."""

    def __init__(self, segments: SegmentStore, cache: BlockCache) -> None:
        """`segments` and `cache` are what segments that stay in the store read through in this process."""
        self._segments = segments
        self._cache = cache
        self._units: dict[str, tuple[Any, ...]] = {}
        # By identity; the units themselves are kept alive beside it.
        self._places: dict[int, tuple[str, int]] = {}

    def map(self, piece: Piece) -> None:
        """Have a piece ready for the images that need it; one that is mapped already stays as it is."""
        if piece.piece_id in self._units:
            # Its places are known by the identity of its units.
            return
        units = read_memory(piece.memory, self._resolve)
        self._units[piece.piece_id] = units
        self._places |= {id(unit): (piece.piece_id, number) for number, unit in enumerate(units)}

    def load(self, image: Image) -> Served:
        """What an image holds. All its pieces must have been mapped."""
        served: Served = read_memory(image.memory, self._resolve)
        return served

    def keep(self, piece_ids: Collection[str]) -> None:
        """Let go of all other pieces. What is still used of them stays until it is not."""
        for obsolete in self._units.keys() - set(piece_ids):
            for unit in self._units.pop(obsolete):
                del self._places[id(unit)]

    def place_of(self, unit: object) -> tuple[str, int] | None:
        """The piece that a unit lies in, and its number there; None if it is not shared."""
        return self._places.get(id(unit))

    def reference(self, value: object) -> Any:
        """What stands for what is a process's own: its way to the store, which holds the sealing key, and its cache."""
        if isinstance(value, SegmentReader):
            return value.info
        return _CACHE if isinstance(value, BlockCache) else None

    def _resolve(self, reference: Any) -> Any:
        if isinstance(reference, SegmentInfo):
            return self._segments.open(reference)
        if reference == _CACHE:
            return self._cache
        piece_id, number = reference
        return self._units[piece_id][number]


class SharedSnapshots:
    """The builder's side."""

    def __init__(self, pieces: Pieces, announce: Announce) -> None:
        """`pieces` may have been mapped for a snapshot that an earlier builder shared."""
        self._pieces = pieces
        self._announce = announce
        self._fresh: dict[str, Piece] = {}

    def share(self, served: Served) -> Served:
        """The same with what is large in shared memory, for this process too. Raises `OSError` without memory."""
        return self._pieces.load(self._write(served))

    def announce(self, served: Served) -> None:
        """Have all processes answer from what was shared, from now on."""
        image = self._write(served)
        self._announce([piece for piece in self._fresh.values() if piece.piece_id in image.piece_ids], image)
        # Also what was shared for a snapshot that then was not to be served.
        self._fresh.clear()
        self._pieces.keep(image.piece_ids)

    def _write(self, served: Served) -> Image:
        used: dict[str, None] = {}
        small: list[object] = []
        small_id = secrets.token_hex(8)

        def place(value: object) -> Any:
            if not isinstance(value, _UNITS):
                return self._pieces.reference(value)
            known = self._pieces.place_of(value) or placed.get(id(value))
            if known is None:
                written = Written((value,), self._pieces.reference)
                if written.nbytes < _SMALL:
                    known = (small_id, len(small))
                    small.append(value)
                else:
                    known = (self._add(secrets.token_hex(8), written), 0)
                placed[id(value)] = known
            used[known[0]] = None
            return known

        placed: dict[int, tuple[str, int]] = {}
        written = Written(served, place)
        if small:
            self._add(small_id, Written(tuple(small), self._pieces.reference))
        return Image(written.to_memory(), tuple(used))

    def _add(self, piece_id: str, written: Written) -> str:
        piece = self._fresh[piece_id] = Piece(piece_id, written.to_memory())
        self._pieces.map(piece)
        return piece_id
