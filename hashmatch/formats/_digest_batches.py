"""Many digests at once: what `digest_of` makes of each text, with a few calls for a whole batch of sound ones."""

from __future__ import annotations

import binascii
from collections.abc import Sequence

import numpy as np

from hashmatch.formats._values import Refused, digest_of
from hashmatch.model.algorithms import EMPTY_FILE_DIGESTS, PDQ_MAXIMUM_DISTANCE, Algorithm

# One that is not sound costs that many the faster way.
BATCH = 64

_BITS = 256


def digests_of(algorithm: Algorithm, texts: Sequence[str]) -> tuple[bytes, dict[int, str]]:
    """The digests that texts stand for, one after the other, and by their index the reasons to refuse the others.

    It is what `digest_of` with the form `auto` says of each text, which may be blank here.
    """
    digests: list[bytes] = []
    refused: dict[int, str] = {}
    for start in range(0, len(texts), BATCH):
        batch = texts[start : start + BATCH]
        decoded = _sound(algorithm, batch)
        if decoded is not None:
            digests.append(decoded)
            continue
        for index, text in enumerate(batch, start):
            try:
                digests.append(digest_of(algorithm, text, "auto"))
            except Refused as refusal:
                refused[index] = refusal.reason
    return b"".join(digests), refused


def _sound(algorithm: Algorithm, texts: Sequence[str]) -> bytes | None:
    """The digests of texts that are all in one usual form; None if one of them needs a closer look."""
    size = algorithm.digest_size
    # Every length is looked at before texts are joined: what is too long in one could fill up what another lacks.
    lengths = set(map(len, texts))
    try:
        if lengths == {2 * size}:
            digests = binascii.unhexlify("".join(texts))
        # Without padding and without bits to spare, so that the ends of texts do not show in what is joined.
        elif size % 3 == 0 and lengths == {size // 3 * 4}:
            digests = binascii.a2b_base64("".join(texts), strict_mode=True)
        else:
            return None
    except ValueError:
        return None
    if len(digests) != len(texts) * size or _may_be_refused(algorithm, digests):
        return None
    return digests


def _may_be_refused(algorithm: Algorithm, digests: bytes) -> bool:
    """Whether `check_fingerprint` may refuse one of the digests. Some that it takes are found as well, across two."""
    size = algorithm.digest_size
    if algorithm is Algorithm.VPDQ or any(empty in digests for empty in _EMPTY_FILES[size]):
        return True
    if algorithm is not Algorithm.PDQ:
        return bytes(size) in digests or b"\xff" * size in digests
    codes = np.frombuffer(digests, np.uint8).reshape(-1, size)
    ones = np.bitwise_count(codes.view(np.uint64)).sum(axis=1, dtype=np.int64)
    flat = np.minimum(ones, _BITS - ones) <= PDQ_MAXIMUM_DISTANCE
    return bool(flat.any() or (codes == codes[:, :1]).all(axis=1).any())


_EMPTY_FILES = {
    algorithm.digest_size: [each for each in EMPTY_FILE_DIGESTS.values() if len(each) == algorithm.digest_size]
    for algorithm in Algorithm
}
