"""Hash algorithms: their numbers, sizes and how their values are compared."""

from __future__ import annotations

import enum


class Algorithm(enum.IntEnum):
    """How a hash was computed. The numbers are those of the contract and are stored in segments: never change one."""

    MD5 = 1
    SHA1 = 2
    SHA256 = 3
    SHA512 = 4
    PDQ = 5
    VPDQ = 6
    PHOTODNA = 7

    # As equality has it; that of `Enum` hashes the name, in Python, at every look into a dictionary.
    __hash__ = int.__hash__

    @property
    def digest_size(self) -> int:
        """The length of a value in bytes (DOMAIN §3); for VPDQ that of one frame's code."""
        return _DIGEST_SIZE[self]

    @property
    def is_exact(self) -> bool:
        """Whether two values are compared for equality alone."""
        return self in EXACT_ALGORITHMS

    @property
    def title(self) -> str:
        """The name that people know, for example SHA-256."""
        return _TITLE[self]


_DIGEST_SIZE = {
    Algorithm.MD5: 16,
    Algorithm.SHA1: 20,
    Algorithm.SHA256: 32,
    Algorithm.SHA512: 64,
    Algorithm.PDQ: 32,
    Algorithm.VPDQ: 32,
    Algorithm.PHOTODNA: 144,
}

_TITLE = {
    Algorithm.MD5: "MD5",
    Algorithm.SHA1: "SHA-1",
    Algorithm.SHA256: "SHA-256",
    Algorithm.SHA512: "SHA-512",
    Algorithm.PDQ: "PDQ",
    Algorithm.VPDQ: "vPDQ",
    Algorithm.PHOTODNA: "PhotoDNA",
}

EXACT_ALGORITHMS = frozenset({Algorithm.MD5, Algorithm.SHA1, Algorithm.SHA256, Algorithm.SHA512})

PERCEPTUAL_ALGORITHMS = frozenset({Algorithm.PDQ, Algorithm.VPDQ, Algorithm.PHOTODNA})

# Those that this server searches.
SERVED_ALGORITHMS = EXACT_ALGORITHMS | PERCEPTUAL_ALGORITHMS

# Those whose values are PDQ codes: of a picture, or of the frames of a video.
PDQ_CODES = frozenset({Algorithm.PDQ, Algorithm.VPDQ})

# The digests of no bytes at all. They stand on real lists by accident and would accuse every empty file.
EMPTY_FILE_DIGESTS = {
    Algorithm.MD5: bytes.fromhex("d41d8cd98f00b204e9800998ecf8427e"),
    Algorithm.SHA1: bytes.fromhex("da39a3ee5e6b4b0d3255bfef95601890afd80709"),
    Algorithm.SHA256: bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    Algorithm.SHA512: bytes.fromhex(
        "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"
        "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"
    ),
}


# Published as the distance within which two PDQ codes are of one picture; also the largest that may be asked for.
PDQ_MAXIMUM_DISTANCE = 31


def is_degenerate(algorithm: Algorithm, digest: bytes) -> bool:
    """Whether a value carries no information, so that equality with it, or closeness to it, means nothing.

    Every value of equal bits is. So is a PDQ code (or that of a frame) within the matching distance of one, or one that
    repeats a single byte: flat and striped pictures come out so, and whatever is near them is near all of them.
    """
    if digest.count(digest[0]) == len(digest):
        return digest[0] in (0x00, 0xFF) or algorithm in PDQ_CODES
    if algorithm in PDQ_CODES:
        ones = int.from_bytes(digest, "big").bit_count()
        return min(ones, 256 - ones) <= PDQ_MAXIMUM_DISTANCE
    return False


def algorithm_named(text: str) -> Algorithm:
    """The algorithm that `text` names, whatever its case and separators (`sha256`, `SHA-256`, `sha_256`).

    Raises `KeyError` if it names none.
    """
    return _BY_NAME["".join(c for c in text.lower() if c.isalnum())]


_BY_NAME = {name.lower(): algorithm for name, algorithm in Algorithm.__members__.items()}
