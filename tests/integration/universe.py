"""The hashes that the tests of answers are about."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from hashmatch.model.algorithms import PDQ_MAXIMUM_DISTANCE
from hashmatch.v1 import common_pb2
from tests.integration.perceptual import apart
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
PDQ = common_pb2.ALGORITHM_PDQ
# What is listed, removed and suppressed, and together with what never is, asked about.
LISTED = _places("listed", {MD5: 3, SHA1: 1, SHA256: 3, SHA512: 1, PDQ: 2})
# Each within the distance of one listed code, at the farthest, and of no other.
NEAR = {Place(PDQ, apart(place.digest, PDQ_MAXIMUM_DISTANCE)): place for place in LISTED if place.algorithm == PDQ}
BEYOND = tuple(Place(PDQ, apart(place.digest, PDQ_MAXIMUM_DISTANCE + 1)) for place in NEAR.values())
UNIVERSE = (*LISTED, *NEAR, *BEYOND, *_places("never listed", {MD5: 1, SHA1: 1, SHA256: 1, SHA512: 1, PDQ: 1}))
# What makes a list long enough for a small change of it to be a delta, and for several blocks.
PADDING = _places("padding", {MD5: 20, SHA256: 80})
