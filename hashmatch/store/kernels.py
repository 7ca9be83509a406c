"""The compiled loops over blocks: packing rows into them and finding digests in them.

A block in plain is: version (1 byte), flags (1 byte: the bits of WIDE_REFS, HAS_PAYLOADS), two zero bytes, the number
of rows (uint32), one ref (uint32); then the digests; then, with WIDE_REFS, one uint32 ref a row, otherwise the one ref
holds for all rows; then, with HAS_PAYLOADS, what `store.blocks` appends. Everything is little-endian.
"""

from __future__ import annotations

import numba
import numpy as np

BLOCK_VERSION = 1
WIDE_REFS = 1
HAS_PAYLOADS = 2
HEADER_SIZE = 12

NOT_FOUND = -1
MALFORMED = -2


@numba.njit(nogil=True, cache=True)
def _write_u32(out, at, value):
    for byte in range(4):
        out[at + byte] = (value >> (8 * byte)) & 0xFF


@numba.njit(nogil=True, cache=True)
def _read_u32(data, at):
    return (
        np.int64(data[at])
        | (np.int64(data[at + 1]) << 8)
        | (np.int64(data[at + 2]) << 16)
        | (np.int64(data[at + 3]) << 24)
    )


@numba.njit(nogil=True, cache=True)
def pack_blocks(digests, refs, row_starts, has_payloads, out, out_starts):
    """Pack rows `row_starts[b]` to `row_starts[b + 1]` into block b; returns the bytes used.

    `out_starts` receives where each block begins, and the end. `out` must be large enough for the widest form.
    """
    at = 0
    size = digests.shape[1]
    for block in range(row_starts.shape[0] - 1):
        low = row_starts[block]
        high = row_starts[block + 1]
        out_starts[block] = at
        wide = False
        for row in range(low + 1, high):
            if refs[row] != refs[low]:
                wide = True
                break
        out[at] = BLOCK_VERSION
        out[at + 1] = (WIDE_REFS if wide else 0) | (HAS_PAYLOADS if has_payloads else 0)
        out[at + 2] = 0
        out[at + 3] = 0
        _write_u32(out, at + 4, high - low)
        _write_u32(out, at + 8, np.int64(refs[low]) if high > low else 0)
        at += HEADER_SIZE
        for row in range(low, high):
            for byte in range(size):
                out[at + byte] = digests[row, byte]
            at += size
        if wide:
            for row in range(low, high):
                _write_u32(out, at, np.int64(refs[row]))
                at += 4
    out_starts[row_starts.shape[0] - 1] = at
    return at


@numba.njit(nogil=True, cache=True)
def _rows_of(data, start, end, size):
    """How many rows the block has, or MALFORMED."""
    if end - start < HEADER_SIZE or data[start] != BLOCK_VERSION:
        return MALFORMED
    rows = _read_u32(data, start + 4)
    needed = HEADER_SIZE + rows * size
    if data[start + 1] & WIDE_REFS:
        needed += rows * 4
    if end - start < needed:
        return MALFORMED
    return rows


@numba.njit(nogil=True, cache=True)
def find_in_blocks(data, starts, ends, size, blocks, wanted, refs, rows):
    """For each `wanted[i]` (its bytes) look in block `blocks[i]`.

    `refs[i]` becomes the ref of the row, NOT_FOUND or MALFORMED; `rows[i]` the number of the row in its block.
    """
    for index in range(blocks.shape[0]):
        block = blocks[index]
        start = starts[block]
        count = _rows_of(data, start, ends[block], size)
        refs[index] = NOT_FOUND
        rows[index] = NOT_FOUND
        if count < 0:
            refs[index] = MALFORMED
            continue
        at = start + HEADER_SIZE
        for row in range(count):
            same = data[at] == wanted[index, 0] and data[at + 1] == wanted[index, 1]
            byte = 2
            while same and byte < size:
                same = data[at + byte] == wanted[index, byte]
                byte += 1
            if same:
                rows[index] = row
                if data[start + 1] & WIDE_REFS:
                    refs[index] = _read_u32(data, start + HEADER_SIZE + count * size + 4 * row)
                else:
                    refs[index] = _read_u32(data, start + 8)
                break
            at += size


@numba.njit(nogil=True, cache=True)
def count_rows(data, starts, ends, size, counts):
    """How many rows each block has. Returns False if one is malformed."""
    for block in range(starts.shape[0]):
        rows = _rows_of(data, starts[block], ends[block], size)
        if rows < 0:
            return False
        counts[block] = rows
    return True


@numba.njit(nogil=True, cache=True)
def unpack_blocks(data, starts, ends, digests, refs):
    """Copy the rows of well-formed blocks out, one block after the other."""
    size = digests.shape[1]
    position = 0
    for block in range(starts.shape[0]):
        start = starts[block]
        rows = _rows_of(data, start, ends[block], size)
        at = start + HEADER_SIZE
        wide = (data[start + 1] & WIDE_REFS) != 0
        for row in range(rows):
            for byte in range(size):
                digests[position, byte] = data[at]
                at += 1
            if wide:
                refs[position] = _read_u32(data, start + HEADER_SIZE + rows * size + 4 * row)
            else:
                refs[position] = _read_u32(data, start + 8)
            position += 1
