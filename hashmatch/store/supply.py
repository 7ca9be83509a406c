"""The blocks that one question needs: those at hand, and those that are still wanted.

A question about a few digests is looked up on the event loop, where nothing may wait. So it says which blocks it lacks,
whoever asks the store brings them, and it is looked up again, until it lacks nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Blocks(Protocol):
    """Where blocks of one segment come from; hashable by identity."""

    def keys(self, numbers: Sequence[int]) -> list[bytes]:
        """The keys of blocks in the store."""
        ...

    def opened(self, numbers: Sequence[int], sealed: Sequence[bytes | None]) -> list[bytes | None]:
        """The plain blocks of what the store has under these keys; None for one that is damaged."""
        ...


class Supply:
    """The blocks of one question; for one thread at a time."""

    def __init__(self) -> None:
        self._at_hand: dict[Blocks, dict[int, bytes | None]] = {}
        self._wanted: dict[Blocks, list[int]] = {}

    def at_hand(self, segment: Blocks) -> dict[int, bytes | None]:
        """The blocks of a segment by their numbers, None for one that is damaged; what is added is kept."""
        known = self._at_hand.get(segment)
        if known is None:
            known = self._at_hand[segment] = {}
        return known

    def want(self, segment: Blocks, numbers: Sequence[int]) -> None:
        """Say that these are lacking, in place of what was said of this segment before."""
        self._wanted[segment] = list(numbers)

    @property
    def wanted_keys(self) -> list[bytes]:
        """The keys of all blocks that are wanted."""
        return [key for segment, numbers in self._wanted.items() for key in segment.keys(numbers)]

    def bring(self, sealed: Sequence[bytes | None]) -> None:
        """Take what the store has under `wanted_keys`, in their order."""
        first = 0
        for segment, numbers in self._wanted.items():
            after = first + len(numbers)
            opened = segment.opened(numbers, sealed[first:after])
            self.at_hand(segment).update(zip(numbers, opened, strict=True))
            first = after
        self._wanted.clear()
