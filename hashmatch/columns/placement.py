"""Where a digest is placed: one keyed 64-bit value that decides its block in the store and its bucket in memory.

Digests are uniform, but lists made by hand are not, and whoever watches the store sees which blocks are read. So the
placement mixes the first and last bytes of a digest under a secret of the store: sequential test digests spread, and
the block that was read tells an onlooker nothing of the digest. It is no integrity check; equality is always decided
on the whole digest.

Values of perceptual algorithms are no uniform numbers: those of one picture's copies are equal but for a few bits,
which need not be among the first and last. They are folded as a whole before they are placed.
"""

from __future__ import annotations

import secrets

import msgspec
import numpy as np
import numpy.typing as npt

from hashmatch.columns import folding_kernel, kernels
from hashmatch.model.algorithms import PERCEPTUAL_ALGORITHMS

Digests = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint32]
Placements = npt.NDArray[np.uint64]

_SHIFT = np.uint64(32)
_FEW = 1_024
# For one digest, in plain numbers: the bytes of a word, half its bits, and what is kept of a product.
_WORD, _HALF, _ALL = 8, 32, (1 << 64) - 1
_ODD_1, _ODD_2 = int(kernels.ODD_1), int(kernels.ODD_2)


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
    """View (n, size) uint8 digests, size a multiple of four of at least 16, as (n, size / 4) uint32.

    No copy, unless numpy laid the digests out by columns, as it may where it joins an empty column with single rows, or
    they begin anywhere, as a column inside a message does: kernels over words are compiled for aligned ones.
    """
    words = np.ascontiguousarray(digests).view(np.uint32)
    return words if words.flags.aligned else words.copy()


def packed_digests(packed: bytes | memoryview, size: int) -> Digests:
    """View packed digests of `size` bytes each as (n, size); no copy."""
    return np.frombuffer(packed, np.uint8).reshape(-1, size)


def placed_by(kind: int, digests: Digests) -> Digests:
    """What decides the placements of (n, size) digests of a kind of rows: themselves, or their folds (n, 16)."""
    if kind not in PERCEPTUAL_ALGORITHMS:
        return digests
    folds = np.empty((len(digests), 4), np.uint32)
    folding_kernel.fold_all(as_words(digests), folds)
    return folds.view(np.uint8)


def placements_of(kind: int, digests: Digests, secret: PlacementSecret) -> Placements:
    """The placements of (n, size) digests of a kind of rows: (n,) uint64."""
    return placements(placed_by(kind, digests), secret)


def placements(digests: Digests, secret: PlacementSecret) -> Placements:
    """The placements of (n, size) digests, or of what `placed_by` made of them: (n,) uint64."""
    out = np.empty(len(digests), np.uint64)
    place = kernels.place_few if len(digests) <= _FEW else kernels.place_all
    place(np.ascontiguousarray(digests), np.uint64(secret.first), np.uint64(secret.second), out)
    return out


def placement_of_one(digest: bytes, secret: PlacementSecret) -> int:
    """The placement of one digest, as `placements` has it: for that arrays cost more than the work."""
    head = int.from_bytes(digest[:_WORD], "little")
    tail = int.from_bytes(digest[-_WORD:], "little")
    mixed = (head ^ secret.first) * _ODD_1 & _ALL
    mixed ^= mixed >> _HALF
    mixed = (mixed ^ tail ^ secret.second) * _ODD_2 & _ALL
    mixed ^= mixed >> _HALF
    mixed = mixed * _ODD_1 & _ALL
    return mixed ^ (mixed >> _HALF)


def block_of(placed: int, blocks: int) -> int:
    """The block, 0 to `blocks` - 1, of one placement."""
    return (placed >> 32) * blocks >> 32


def blocks_of(placed: Placements, blocks: int) -> npt.NDArray[np.int64]:
    """The block of each of (n,) placements: its upper half scaled, so that blocks follow placement order."""
    return ((placed >> _SHIFT) * np.uint64(blocks) >> _SHIFT).astype(np.int64)
