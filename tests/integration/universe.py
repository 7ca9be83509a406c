"""The hashes that the tests of answers are about."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from hashmatch.v1 import common_pb2
from tests.integration.serving import DIGEST_SIZES


class Place(NamedTuple):
    """A hash."""

    algorithm: int
    digest: bytes

    def __repr__(self) -> str:
        return f"{common_pb2.Algorithm.Name(self.algorithm).removeprefix('ALGORITHM_')}:{self.digest.hex()[:6]}"


def _places(prefix: str, counts: Mapping[int, int]) -> tuple[Place, ...]:
    return tuple(
        Place(algorithm, hashlib.shake_256(f"{prefix} {algorithm} {number}".encode()).digest(DIGEST_SIZES[algorithm]))
        for algorithm, count in counts.items()
        for number in range(count)
    )


MD5, SHA1 = common_pb2.ALGORITHM_MD5, common_pb2.ALGORITHM_SHA1
SHA256, SHA512 = common_pb2.ALGORITHM_SHA256, common_pb2.ALGORITHM_SHA512
# What is listed, removed and suppressed, and together with what never is, asked about.
LISTED = _places("listed", {MD5: 3, SHA1: 1, SHA256: 3, SHA512: 1})
UNIVERSE = (*LISTED, *_places("never listed", {MD5: 1, SHA1: 1, SHA256: 1, SHA512: 1}))
# What makes a list long enough for a small change of it to be a delta, and for several blocks.
PADDING = _places("padding", {MD5: 20, SHA256: 80})
