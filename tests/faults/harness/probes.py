"""The hashes that are asked about while something fails, and the lists that they are on or not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from hashmatch.v1 import common_pb2

BASE, OTHER = "base", "other"
SHA256 = common_pb2.ALGORITHM_SHA256
# More rows than a server keeps in memory of itself: every possible match needs the store.
BASE_SIZE = 70_000


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def base_digests() -> list[bytes]:
    """Everything that the list `base` begins with."""
    return [_digest(f"base {number}") for number in range(BASE_SIZE)]


# By place: on the list from the beginning, never listed, and published or suppressed while a test goes on.
STAYING = range(60)
NEVER = range(60, 120)
MOVING = range(120, 160)
# On the second list as well.
SHARED = STAYING[:10]
PROBES = (
    *(_digest(f"base {number * 1_000}") for number in STAYING),
    *(_digest(f"never {number}") for number in NEVER),
    *(_digest(f"moving {number}") for number in MOVING),
)
COLUMN = b"".join(PROBES)


def digests_of(places: Iterable[int]) -> list[bytes]:
    """The probes with these numbers."""
    return [PROBES[place] for place in places]
