"""What is asked about: algorithms, hashes, items and the scope of a question."""

from __future__ import annotations

import enum
import string
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hashmatch_client._errors import InvalidHashError
from hashmatch_client._videos import MAX_FRAMES, VideoFrame, frames_of_text

if TYPE_CHECKING:
    from hashmatch_client._results import ListNature

MAX_HASHES_PER_ITEM = 16
MAX_REFERENCE_LENGTH = 256
MAX_ALTERNATES = 7
MAX_DISTANCE = 31
MAX_QUALITY = 100


class Algorithm(enum.Enum):
    """How a hash was computed. The value is the name that the command line and JSON use."""

    MD5 = "md5"
    SHA1 = "sha1"
    SHA256 = "sha256"
    SHA512 = "sha512"
    PDQ = "pdq"
    VPDQ = "vpdq"
    PHOTODNA = "photodna"
    UNRECOGNISED = "unrecognised"
    """Named by a server that is newer than this client. Such hashes can be counted, not asked about."""

    @property
    def title(self) -> str:
        """The name that people know, for example SHA-256."""
        return _TITLE[self]

    @property
    def digest_size(self) -> int | None:
        """The length of a value in bytes, or None where this client cannot carry values of the algorithm."""
        return _DIGEST_SIZE.get(self)


_TITLE = {
    Algorithm.MD5: "MD5",
    Algorithm.SHA1: "SHA-1",
    Algorithm.SHA256: "SHA-256",
    Algorithm.SHA512: "SHA-512",
    Algorithm.PDQ: "PDQ",
    Algorithm.VPDQ: "vPDQ",
    Algorithm.PHOTODNA: "PhotoDNA",
    Algorithm.UNRECOGNISED: "unrecognised",
}

_DIGEST_SIZE = {
    Algorithm.MD5: 16,
    Algorithm.SHA1: 20,
    Algorithm.SHA256: 32,
    Algorithm.SHA512: 64,
    Algorithm.PDQ: 32,
    Algorithm.PHOTODNA: 144,
}

_PERCEPTUAL = frozenset({Algorithm.PDQ, Algorithm.PHOTODNA})

_BY_HEX_LENGTH = {
    2 * _DIGEST_SIZE[algorithm]: algorithm
    for algorithm in (Algorithm.MD5, Algorithm.SHA1, Algorithm.SHA256, Algorithm.SHA512)
}

_HEX_DIGITS = frozenset(string.hexdigits)


def digest_size(algorithm: Algorithm) -> int:
    """The length of a value of `algorithm` in bytes; raises `InvalidHashError` where this client cannot carry one."""
    size = algorithm.digest_size
    if size is None:
        raise InvalidHashError(f"this client cannot ask about {algorithm.title} hashes")
    return size


@dataclass(frozen=True, slots=True)
class Hash:
    """A hash: its algorithm and raw value, which is checked for its length and never shown by `repr`.

    `quality` is what a perceptual algorithm reported, 0 to 100, and None for the others. `alternates` are further
    values of the same thing by the same perceptual algorithm, at most seven: for PDQ those of the picture turned and
    mirrored. The hash matches if one of its values does. A vPDQ hash has `frames`, one to 10,000, and nothing else.
    """

    algorithm: Algorithm
    value: bytes = field(default=b"", repr=False)
    quality: int | None = None
    alternates: tuple[bytes, ...] = field(default=(), repr=False)
    frames: tuple[VideoFrame, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if self.algorithm is Algorithm.VPDQ:
            self._check_video()
            return
        if self.frames:
            raise InvalidHashError(f"a {self.algorithm.title} hash has no frames", self.algorithm.value)
        size = digest_size(self.algorithm)
        for value in (self.value, *self.alternates):
            if len(value) != size:
                raise InvalidHashError(
                    f"a {self.algorithm.title} value has {size} bytes, {len(value)} were given", self.algorithm.value
                )
        if self.alternates and self.algorithm not in _PERCEPTUAL:
            raise InvalidHashError(f"a {self.algorithm.title} hash has no alternates", self.algorithm.value)
        if len(self.alternates) > MAX_ALTERNATES:
            raise InvalidHashError(
                f"a hash has at most {MAX_ALTERNATES} alternates, not {len(self.alternates)}", self.algorithm.value
            )
        if self.quality is not None and not 0 <= self.quality <= MAX_QUALITY:
            raise InvalidHashError(
                f"the quality of a perceptual hash lies between 0 and {MAX_QUALITY}", self.algorithm.value
            )

    def _check_video(self) -> None:
        if self.value or self.alternates or self.quality is not None:
            raise InvalidHashError("a vPDQ hash has frames and nothing else", self.algorithm.value)
        if not 1 <= len(self.frames) <= MAX_FRAMES:
            raise InvalidHashError(
                f"a vPDQ hash has 1 to {MAX_FRAMES} frames, {len(self.frames)} were given", self.algorithm.value
            )

    @classmethod
    def of_video(cls, frames: Iterable[VideoFrame] | str) -> Hash:
        """The vPDQ hash of a video: its frames, or the text in which vPDQ's own tools write them.

        That is a JSON list of `HEX,QUALITY,SECONDS`, or a frame a line, as `NUMBER,QUALITY,HEX,SECONDS` for example.
        """
        return cls(Algorithm.VPDQ, frames=frames_of_text(frames) if isinstance(frames, str) else tuple(frames))

    @property
    def hex(self) -> str:
        """The value in lower-case hexadecimal; empty for a video."""
        return self.value.hex()

    @classmethod
    def of(cls, algorithm: Algorithm, value: bytes | str) -> Hash:
        """The hash whose value is `value`: raw bytes, or hexadecimal in either case."""
        if not isinstance(value, str):
            return cls(algorithm, bytes(value))
        size = digest_size(algorithm)
        if len(value) != 2 * size or not _HEX_DIGITS.issuperset(value):
            raise InvalidHashError(
                f"a {algorithm.title} value has {2 * size} hexadecimal digits and nothing else; "
                f"{len(value)} characters were given",
                algorithm.value,
            )
        return cls(algorithm, bytes.fromhex(value))

    @classmethod
    def from_hex(cls, text: str) -> Hash:
        """The MD5, SHA-1, SHA-256 or SHA-512 written in `text`: 32, 40, 64 or 128 digits decide which."""
        algorithm = _BY_HEX_LENGTH.get(len(text))
        if algorithm is None:
            raise InvalidHashError(f"a hash has 32, 40, 64 or 128 hexadecimal digits, not {len(text)} characters")
        return cls.of(algorithm, text)


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that the caller holds, with one to 16 hashes of it.

    `reference` is the caller's own word for it, comes back in the answer, and is all that the server sees of it.
    """

    hashes: tuple[Hash, ...]
    reference: str = ""

    def __post_init__(self) -> None:
        if not 1 <= len(self.hashes) <= MAX_HASHES_PER_ITEM:
            raise InvalidHashError(f"an item has 1 to {MAX_HASHES_PER_ITEM} hashes, not {len(self.hashes)}")
        if len(self.reference) > MAX_REFERENCE_LENGTH:
            raise ValueError(f"a reference has at most {MAX_REFERENCE_LENGTH} characters")

    @property
    def frames(self) -> int:
        """How many frames of videos it has."""
        return sum(len(each.frames) for each in self.hashes)

    @classmethod
    def of(
        cls,
        *,
        md5: bytes | str | None = None,
        sha1: bytes | str | None = None,
        sha256: bytes | str | None = None,
        sha512: bytes | str | None = None,
        reference: str = "",
    ) -> Item:
        """The item with these hashes, each raw or in hexadecimal."""
        given = (
            (Algorithm.MD5, md5),
            (Algorithm.SHA1, sha1),
            (Algorithm.SHA256, sha256),
            (Algorithm.SHA512, sha512),
        )
        return cls(tuple(Hash.of(algorithm, value) for algorithm, value in given if value is not None), reference)


@dataclass(frozen=True, slots=True)
class Scope:
    """What a question is asked of; by default every list that the caller may see.

    `max_distance` bounds how far a near PDQ code may be. Only callers who are told distances may state it.
    `purpose` is what the question is asked for, where the server's policy names several purposes for the caller.
    """

    lists: tuple[str, ...] = ()
    min_sources: int = 1
    newer_than_epoch: int = 0
    natures: tuple[ListNature, ...] = ()
    max_distance: int | None = None
    purpose: str = ""

    def __post_init__(self) -> None:
        if self.max_distance is not None and not 0 <= self.max_distance <= MAX_DISTANCE:
            raise ValueError(f"max_distance lies between 0 and {MAX_DISTANCE}")
        if self.min_sources < 1:
            raise ValueError("min_sources is at least 1")
        if self.newer_than_epoch < 0:
            raise ValueError("newer_than_epoch is not negative")

    @classmethod
    def of(
        cls,
        lists: Iterable[str],
        min_sources: int,
        newer_than_epoch: int,
        natures: Iterable[ListNature] = (),
        max_distance: int | None = None,
        purpose: str = "",
    ) -> Scope:
        """The scope with these lists. A lone string is refused: it would be read letter by letter."""
        if isinstance(lists, str):
            raise TypeError("lists is a sequence of list ids, not one string")
        return cls(tuple(lists), min_sources, newer_than_epoch, tuple(natures), max_distance, purpose)
