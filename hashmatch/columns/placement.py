"""Where a digest is placed: one keyed 64-bit value that decides its block in the store and its bucket in memory.

Digests are uniform, but lists made by hand are not, and whoever watches the store sees which blocks are read. So the
placement mixes the first and last bytes of a digest under a secret of the store: sequential test digests spread, and
the block that was read tells an onlooker nothing of the digest. It is no integrity check; equality is always decided
on the whole digest.
"""

from __future__ import annotations

import secrets

import msgspec
import numba
import numpy as np
import numpy.typing as npt

Digests = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint32]
Placements = npt.NDArray[np.uint64]

_ODD_1 = np.uint64(0x9E3779B97F4A7C15)
_ODD_2 = np.uint64(0xD6E8FEB86659FD93)
_SHIFT = np.uint64(32)


class PlacementSecret(msgspec.Struct, frozen=True):
    """Two 64-bit numbers that key the placement. They live in the manifest, sealed, for the store's whole life."""

    first: int
    second: int

    @classmethod
    def random(cls) -> PlacementSecret:
        """A fresh secret."""
        return cls(secrets.randbits(64), secrets.randbits(64))

    def __repr__(self) -> str:
        return "PlacementSecret(***)"


def as_words(digests: Digests) -> Words:
    """View (n, size) uint8 digests, size a multiple of four of at least 16, as (n, size / 4) uint32; no copy."""
    return digests.view(np.uint32)


def packed_words(packed: bytes, size: int) -> Words:
    """View packed digests of `size` bytes each as (n, size / 4) uint32; no copy."""
    return np.frombuffer(packed, dtype=np.uint32).reshape(-1, size // 4)


@numba.njit(nogil=True, cache=True, inline="always", error_model="numpy")
def place(words, row, first, second):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """The placement of one digest; inlined into the kernels that need it."""
    width = words.shape[1]
    head = np.uint64(words[row, 0]) | (np.uint64(words[row, 1]) << _SHIFT)
    tail = np.uint64(words[row, width - 2]) | (np.uint64(words[row, width - 1]) << _SHIFT)
    mixed = (head ^ first) * _ODD_1
    mixed ^= mixed >> _SHIFT
    mixed = (mixed ^ tail ^ second) * _ODD_2
    mixed ^= mixed >> _SHIFT
    mixed *= _ODD_1
    return mixed ^ (mixed >> _SHIFT)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _place_all(words, first, second, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for row in range(words.shape[0]):
        out[row] = place(words, row, first, second)


def placements(words: Words, secret: PlacementSecret) -> Placements:
    """The placements of (n, w) digests: (n,) uint64."""
    out = np.empty(len(words), np.uint64)
    _place_all(words, np.uint64(secret.first), np.uint64(secret.second), out)
    return out


def blocks_of(placed: Placements, blocks: int) -> npt.NDArray[np.int64]:
    """The block, 0 to `blocks` - 1, of each placement: its upper half scaled, so that blocks follow placement order."""
    return ((placed >> _SHIFT) * np.uint64(blocks) >> _SHIFT).astype(np.int64)
