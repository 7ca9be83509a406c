"""Blocks: about thirty rows each, the unit in which a segment is sealed, stored and read.

A row's block follows from its placement alone, so that no directory is needed, and every block from 0 to the last one
exists, if only empty: one that is missing is always an error and never an absence.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hashmatch.columns.placement import Digests, blocks_of
from hashmatch.columns.rows import Payloads, Rows
from hashmatch.store import kernels

ROWS_PER_BLOCK = 32
# How many blocks are packed at once: enough to keep the kernels busy, few enough to stay small (about 4 MB).
_BATCH = 4_096
# A payload part larger than this in plain is refused: no list that we write has one.
_MAXIMUM_PAYLOAD = 64 << 20


# The digest is not there.
ABSENT = kernels.NOT_FOUND
# What would tell is missing or malformed.
DAMAGED = kernels.MALFORMED


# As `store.kernels` describes it: version, flags, rows, the one ref.
_HEADER = struct.Struct("<BBxxII")


class BlockError(Exception):
    """A block that verifies but does not have the form that this version writes."""


def block_count(rows: int) -> int:
    """How many blocks hold `rows` rows; at least one."""
    return max(1, -(-rows // ROWS_PER_BLOCK))


def pack(rows: Rows, blocks: int) -> Iterator[tuple[int, list[bytes]]]:
    """Pack rows into `blocks` blocks; yields (number of the first, blocks in plain) in order."""
    starts = np.searchsorted(blocks_of(rows.placed, blocks), np.arange(blocks + 1)).astype(np.int64)
    for first in range(0, blocks, _BATCH):
        bounds = starts[first : first + _BATCH + 1]
        low, high = int(bounds[0]), int(bounds[-1])
        digests, refs = rows.digests[low:high], rows.refs[low:high]
        count = len(bounds) - 1
        out = np.empty(count * kernels.HEADER_SIZE + (high - low) * (digests.shape[1] + 4), np.uint8)
        out_starts = np.empty(count + 1, np.int64)
        used = kernels.pack_blocks(digests, refs, bounds - low, rows.payloads is not None, out, out_starts)
        packed = out[:used].tobytes()
        edges = out_starts.tolist()
        parts = [packed[edges[index] : edges[index + 1]] for index in range(count)]
        if rows.payloads is not None:
            parts = [
                part + _pack_payloads(rows.payloads, int(bounds[index]), int(bounds[index + 1]))
                for index, part in enumerate(parts)
            ]
        yield first, parts


def _pack_payloads(payloads: Payloads, low: int, high: int) -> bytes:
    offsets = payloads.offsets[low : high + 1]
    lengths = np.diff(offsets).astype("<u4").tobytes()
    return zlib.compress(lengths + payloads.data[int(offsets[0]) : int(offsets[-1])].tobytes(), 6)


class Finds(NamedTuple):
    """Where digests were found: `refs` (n,) int64, the ref or -1; `rows` (n,) int64, the row in its block or -1."""

    refs: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]


class PlainBlocks:
    """Some opened blocks, side by side in one buffer."""

    def __init__(self, data: npt.NDArray[np.uint8], edges: npt.NDArray[np.int64], digest_size: int) -> None:
        """Block i is `data[edges[i]:edges[i + 1]]`."""
        self._data = data
        self._edges = edges
        self._size = digest_size

    @classmethod
    def of(cls, parts: Sequence[bytes], digest_size: int) -> PlainBlocks:
        """Blocks given one by one."""
        edges = np.zeros(len(parts) + 1, np.int64)
        np.cumsum(np.fromiter((len(part) for part in parts), np.int64, len(parts)), out=edges[1:])
        return cls(np.frombuffer(b"".join(parts), np.uint8), edges, digest_size)

    def __len__(self) -> int:
        return len(self._edges) - 1

    def __getitem__(self, number: int) -> bytes:
        """One block."""
        return self._data[self._edges[number] : self._edges[number + 1]].tobytes()

    def parts(self) -> Iterator[bytes]:
        """The blocks one by one."""
        data, edges = self._data.tobytes(), self._edges.tolist()
        return (data[start:end] for start, end in pairwise(edges))

    @property
    def nbytes(self) -> int:
        """The memory that the blocks take, in bytes."""
        return self._data.nbytes + self._edges.nbytes

    def find(self, blocks: npt.NDArray[np.int64], digests: Digests) -> Finds:
        """Look for each of `digests`, (n, size), in the block at the position that `blocks`, (n,), gives.

        Raises `BlockError` if one of these blocks is malformed.
        """
        refs = np.empty(len(blocks), np.int64)
        rows = np.empty(len(blocks), np.int64)
        kernels.find_in_blocks(self._data, self._edges[:-1], self._edges[1:], self._size, blocks, digests, refs, rows)
        if (refs == kernels.MALFORMED).any():
            raise BlockError("a block has an unknown form")
        return Finds(refs, rows)

    @classmethod
    def joined(cls, parts: Sequence[PlainBlocks], digest_size: int) -> PlainBlocks:
        """The blocks of `parts`, one after the other."""
        shifts = np.cumsum([0, *(len(part._data) for part in parts)])
        shifted = [part._edges[:-1] + shift for part, shift in zip(parts, shifts, strict=False)]
        data = np.concatenate([part._data for part in parts])
        return cls(data, np.concatenate([*shifted, shifts[-1:]]), digest_size)

    def columns(self) -> tuple[Digests, npt.NDArray[np.uint32]]:
        """The digests, (n, size), and refs, (n,), of all rows in order. Raises `BlockError`."""
        total = int(self._counts().sum())
        digests = np.empty((total, self._size), np.uint8)
        refs = np.empty(total, np.uint32)
        kernels.unpack_blocks(self._data, self._edges[:-1], self._edges[1:], digests, refs)
        return digests, refs

    def payloads(self) -> Payloads | None:
        """The payloads of all rows in order; None if no block has any. Raises `BlockError`."""
        if not (self._data[self._edges[:-1] + 1] & kernels.HAS_PAYLOADS).any():
            return None
        counts = self._counts().tolist()
        return Payloads.of([part for block, count in enumerate(counts) for part in self._payloads(block, count)])

    def _counts(self) -> npt.NDArray[np.int64]:
        counts = np.empty(len(self), np.int64)
        if not kernels.count_rows(self._data, self._edges[:-1], self._edges[1:], self._size, counts):
            raise BlockError("a block has an unknown form")
        return counts

    def payload(self, block: int, row: int) -> bytes:
        """The payload of one row; empty where the block has none. Raises `BlockError`."""
        start = int(self._edges[block])
        if not self._data[start + 1] & kernels.HAS_PAYLOADS:
            return b""
        rows = int.from_bytes(self._data[start + 4 : start + 8].tobytes(), "little")
        return self._payloads(block, rows)[row]

    def _payloads(self, block: int, rows: int) -> list[bytes]:
        start, end = int(self._edges[block]), int(self._edges[block + 1])
        start_of_payloads = start + kernels.HEADER_SIZE + rows * self._size
        if self._data[start + 1] & kernels.WIDE_REFS:
            start_of_payloads += 4 * rows
        inflater = zlib.decompressobj()
        try:
            plain = inflater.decompress(self._data[start_of_payloads:end].tobytes(), _MAXIMUM_PAYLOAD)
        except zlib.error as error:
            raise BlockError("the payloads of a block cannot be inflated") from error
        lengths = np.frombuffer(plain[: 4 * rows], "<u4")
        if len(lengths) != rows or inflater.unconsumed_tail or len(plain) != 4 * rows + int(lengths.sum()):
            raise BlockError("the payloads of a block do not add up")
        edges = np.full(rows + 1, 4 * rows, np.int64)
        edges[1:] += np.cumsum(lengths, dtype=np.int64)
        return [plain[edges[row] : edges[row + 1]] for row in range(rows)]


def find_in_block(block: bytes, digest: bytes) -> tuple[int, int]:
    """Look for one digest in one block: its ref and row, or (ABSENT, ABSENT), or (DAMAGED, ABSENT) if malformed."""
    size = len(digest)
    if len(block) < kernels.HEADER_SIZE:
        return DAMAGED, ABSENT
    version, flags, rows, ref = _HEADER.unpack_from(block)
    end = kernels.HEADER_SIZE + rows * size
    wide = flags & kernels.WIDE_REFS
    if version != kernels.BLOCK_VERSION or len(block) < end + (4 * rows if wide else 0):
        return DAMAGED, ABSENT
    at = block.find(digest, kernels.HEADER_SIZE, end)
    while at >= 0:
        row, rest = divmod(at - kernels.HEADER_SIZE, size)
        if not rest:
            return int.from_bytes(block[end + 4 * row : end + 4 * row + 4], "little") if wide else ref, row
        # The bytes stand across two rows.
        at = block.find(digest, at + 1, end)
    return ABSENT, ABSENT


def payload_of_row(block: bytes, digest_size: int, row: int) -> bytes:
    """The payload of one row of a block; empty where it has none. Raises `BlockError`."""
    return PlainBlocks.of([block], digest_size).payload(0, row) if block[1] & kernels.HAS_PAYLOADS else b""
