"""From the text of one cell to what it means. Text that means nothing raises `Refused`, whose reason is reported."""

from __future__ import annotations

import base64
import binascii
import functools
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from hashmatch.model.algorithms import EMPTY_FILE_DIGESTS, Algorithm, algorithm_named, is_degenerate
from hashmatch.model.lists import MAXIMUM_TEXT

Form = Literal["auto", "hex", "base64", "base32"]

# What yes is written as.
TRUE = frozenset({"y", "yes", "t", "true", "1"})
_FALSE = frozenset({"n", "no", "f", "false", "0", ""})
# Looking up a member of an enumeration costs more than decoding a digest.
_PICTURE, _VIDEO = Algorithm.PDQ, Algorithm.VPDQ
_SIZES = {algorithm: algorithm.digest_size for algorithm in Algorithm}
_EMPTY_FILES = frozenset(EMPTY_FILE_DIGESTS.values())
_COUNT = re.compile(r"[0-9]{1,15}", re.ASCII)
# Beyond this not every whole number is a float.
_WHOLE = 1 << 53
_OFFSET_AND_Z = re.compile(r"[+-][0-9]{2}:?[0-9]{2}Z$", re.ASCII)
# Ten digits last until 2286; more of them are milliseconds.
_UNIX_SECONDS = re.compile(r"-?[0-9]{1,10}(?:\.[0-9]{1,20})?", re.ASCII)


class Refused(Exception):  # noqa: N818
    """A record or fingerprint that is quarantined for `reason`, a stable word. Never leaves a parser."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def text_of(value: Any) -> str:
    """The text of a scalar of JSON, stripped: numbers and booleans are their own text, null is blank.

    Tools are about that write every number as a fraction: 1.0 is 1. Raises `Refused` for other fractions, and for lists
    and objects.
    """
    if type(value) is str:
        return value.strip()
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and abs(value) <= _WHOLE and value == int(value):
        value = int(value)
    if isinstance(value, int):
        return str(value)
    raise Refused("bad-value")


def count_of(value: object) -> int | None:
    """The number of records that `value`, a number or its text, declares; None if it declares none."""
    if isinstance(value, str):
        return int(value) if _COUNT.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return None
    return value


def decoded(text: str) -> str:
    """`text`, unless something in it could not be decoded."""
    if "\N{REPLACEMENT CHARACTER}" in text:
        raise Refused("bad-encoding")
    return text


def truth_of(text: str) -> bool:
    """What yes and no are written as; blank is no."""
    folded = text.casefold()
    if folded in _FALSE:
        return False
    if folded in TRUE:
        return True
    raise Refused("bad-boolean")


def algorithm_of(text: str, names: Mapping[str, Algorithm]) -> Algorithm:
    """The algorithm that `text` names: by the case-folded `names` of its body, or by its usual name."""
    try:
        return names.get(text.casefold()) or algorithm_named(text)
    except KeyError:
        raise Refused("unknown-algorithm") from None


def digest_of(algorithm: Algorithm, text: str, form: Form) -> bytes:
    """The digest that `text`, not blank, stands for. Base64 and base32 may lack their padding."""
    if algorithm is _VIDEO:
        raise Refused("algorithm-not-served")
    size = _SIZES[algorithm]
    if form == "hex" or (form == "auto" and len(text) == 2 * size and text[-1] != "="):
        digest = _from_hex(text, size)
    else:
        bare = text.rstrip("=")
        digest = _DECODERS[_form_by_length(size, len(bare)) if form == "auto" else form](bare, size)
    check_fingerprint(algorithm, digest)
    return digest


def check_fingerprint(algorithm: Algorithm, digest: bytes) -> None:
    """Refuse a digest of the right size that would accuse the innocent."""
    if digest in _EMPTY_FILES:
        raise Refused("empty-file-digest")
    # Equal bits begin and end alike, which spares nearly all digests the closer look.
    if (digest[0] == digest[-1] or algorithm is _PICTURE or algorithm is _VIDEO) and is_degenerate(algorithm, digest):
        raise Refused("degenerate")


def at_most(text: str, reason: str) -> str:
    """`text`, if it is no longer than what is stated may be; otherwise it is refused for `reason`."""
    if len(text) > MAXIMUM_TEXT:
        raise Refused(reason)
    return text


def moment_of(text: str) -> datetime | None:
    """The moment in UTC that `text` states by ISO 8601, without a zone by UTC; None for blank.

    Tools are about that write a Z behind an offset; the offset then counts.
    """
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is UTC:
            return moment
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        if _OFFSET_AND_Z.search(text):
            return moment_of(text[:-1])
        raise Refused("bad-date") from None


@functools.lru_cache(maxsize=4_096)
def date_of(text: str, formats: tuple[str, ...]) -> str:
    """The UTC date as YYYY-MM-DD; blank stays blank. `formats` are those of `strptime`, or the words iso and unix."""
    if not text:
        return ""
    for each in formats:
        try:
            moment = _moment_of(text, each)
            return (moment.astimezone(UTC) if moment.tzinfo else moment).date().isoformat()
        except (ValueError, OverflowError, OSError):
            continue
    raise Refused("bad-date")


def _moment_of(text: str, date_format: str) -> datetime:
    if date_format == "iso":
        return datetime.fromisoformat(text)
    if date_format == "unix":
        if not _UNIX_SECONDS.fullmatch(text):
            raise ValueError
        return datetime.fromtimestamp(float(text), UTC)
    return datetime.strptime(text, date_format)  # noqa: DTZ007


def _characters(size: int, bits: int) -> int:
    """How many characters of so many bits it takes to write `size` bytes."""
    return -(-size * 8 // bits)


@functools.lru_cache(maxsize=64)
def _form_by_length(size: int, length: int) -> Form:
    forms: tuple[tuple[Form, int], ...] = (("hex", 4), ("base32", 5), ("base64", 6))
    for form, bits in forms:
        if length == _characters(size, bits):
            return form
    raise Refused("wrong-length")


def _from_hex(text: str, size: int) -> bytes:
    try:
        digest = binascii.unhexlify(text)
    except ValueError:
        is_hex = text.isascii() and text.isalnum() and not text.lower().strip("0123456789abcdef")
        raise Refused("odd-length" if is_hex else "not-hex") from None
    if len(digest) != size:
        raise Refused("wrong-length")
    return digest


def _from_base64(bare: str, size: int) -> bytes:
    if len(bare) != _characters(size, 6):
        raise Refused("wrong-length")
    try:
        digest = binascii.a2b_base64(bare + "=" * (-len(bare) % 4), strict_mode=True)
    except ValueError:
        raise Refused("not-base64") from None
    # The last character may have bits to spare. Where they are set, the text was damaged.
    if size % 3 and base64.b64encode(digest).decode().rstrip("=") != bare:
        raise Refused("not-base64")
    return digest


def _from_base32(bare: str, size: int) -> bytes:
    if len(bare) != _characters(size, 5):
        raise Refused("wrong-length")
    try:
        digest = base64.b32decode(bare + "=" * (-len(bare) % 8), casefold=True)
    except ValueError:
        raise Refused("not-base32") from None
    if base64.b32encode(digest).decode().rstrip("=") != bare.upper():
        raise Refused("not-base32")
    return digest


_DECODERS = {"hex": _from_hex, "base64": _from_base64, "base32": _from_base32}
