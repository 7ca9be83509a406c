"""The Merkle tree of RFC 6962, section 2.1, over the records of a log: what its root is as it grows.

A tree is kept as its frontier, the roots of the largest perfect trees that its leaves make, so that a log of any length
costs a few hashes of memory and about two hashes for each record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

HASH_SIZE = 32

_LEAF, _NODE = b"\x00", b"\x01"


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of a leaf."""
    return hashlib.sha256(_LEAF + leaf).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(_NODE + left + right).digest()


class MerkleTree:
    """A tree that grows. It knows no leaf, only what they come to."""

    __slots__ = ("_frontier", "size")

    def __init__(self, size: int = 0, frontier: Iterable[bytes] = ()) -> None:
        """Take up a tree of `size` leaves with the frontier that it had. Raises `ValueError` if they do not fit."""
        self.size = size
        self._frontier = list(frontier)
        if len(self._frontier) != size.bit_count() or any(len(each) != HASH_SIZE for each in self._frontier):
            raise ValueError("the frontier is not that of a tree of this size")

    def add(self, leaf: bytes) -> None:
        """Add a leaf at the end."""
        found, size = leaf_hash(leaf), self.size
        while size & 1:
            found = _node(self._frontier.pop(), found)
            size >>= 1
        self._frontier.append(found)
        self.size += 1

    def copy(self) -> MerkleTree:
        """The tree as it is, which this one's growth does not change."""
        return MerkleTree(self.size, self._frontier)

    @property
    def frontier(self) -> tuple[bytes, ...]:
        """The roots of the perfect trees, largest first: one for each bit that is set in the size."""
        return tuple(self._frontier)

    @property
    def root(self) -> bytes:
        """The root of the tree over all leaves."""
        if not self._frontier:
            return hashlib.sha256(b"").digest()
        *larger, found = self._frontier
        for left in reversed(larger):
            found = _node(left, found)
        return found
