"""The kernel that reads lines of hexadecimal digests: one pass over a block, outside the interpreter's lock."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from hashmatch.model.algorithms import EMPTY_FILE_DIGESTS, Algorithm

MAXIMUM_LINE = 65_536
EXAMPLES = 10

# What a line can be. From 0 on it is a digest of ALGORITHMS[outcome]; -1 is nothing to read; below are refusals, where
# REASONS[-2 - outcome] is the word for it.
ALGORITHMS = (Algorithm.MD5, Algorithm.SHA1, Algorithm.SHA256, Algorithm.SHA512)
REASONS = (
    "odd-length",
    "wrong-length",
    "not-hex",
    "unknown-algorithm",
    "empty-file-digest",
    "degenerate",
    "line-too-long",
)
_NOTHING = -1
_ODD_LENGTH = -2
_WRONG_LENGTH = -3
_NOT_HEX = -4
_UNKNOWN_ALGORITHM = -5
_EMPTY_FILE_DIGEST = -6
_DEGENERATE = -7
_LINE_TOO_LONG = -8

_TAB, _LINE_FEED, _CARRIAGE_RETURN, _SPACE = 0x09, 0x0A, 0x0D, 0x20
_QUOTE, _HASH_SIGN, _OPENING, _CLOSING = ord('"'), ord("#"), ord("("), ord(")")
_COMMA, _SEMICOLON, _EQUALS, _BACKSLASH = ord(","), ord(";"), ord("="), ord("\\")

_SIZES = np.array([algorithm.digest_size for algorithm in ALGORITHMS], np.int64)
_NOT_A_DIGIT = 255
_NIBBLES = np.full(256, _NOT_A_DIGIT, np.uint8)
_TAGS = np.zeros((len(ALGORITHMS), 6), np.uint8)
_TAG_LENGTHS = np.array([len(algorithm.name) for algorithm in ALGORITHMS], np.int64)
_EMPTY_FILES = np.zeros((len(ALGORITHMS), 64), np.uint8)
_ZEROS = np.zeros(64, np.uint8)
_ONES = np.full(64, 0xFF, np.uint8)
for _value, _digit in enumerate("0123456789abcdef"):
    _NIBBLES[[ord(_digit), ord(_digit.upper())]] = _value
for _index, _algorithm in enumerate(ALGORITHMS):
    _TAGS[_index, : len(_algorithm.name)] = np.frombuffer(_algorithm.name.encode(), np.uint8)
    _EMPTY_FILES[_index, : _algorithm.digest_size] = np.frombuffer(EMPTY_FILE_DIGESTS[_algorithm], np.uint8)

# The slots of the state that a scan carries on to the next.
_LINE, _RECORDS, _AFTER_CARRIAGE_RETURN = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Scan:
    """What the whole lines of one block hold.

    `consumed` is how many bytes they take up; the rest is the beginning of a line. `records` counts lines that are
    neither blank nor comments. `digests` has for each algorithm met an (n, digest_size) uint8 array that owns its
    memory. `refusals` has for each reason met the count and the numbers of the first lines, at most EXAMPLES.
    """

    consumed: int
    records: int
    digests: list[tuple[Algorithm, npt.NDArray[np.uint8]]]
    refusals: list[tuple[str, int, list[int]]]


class LineScanner:
    """Reads block after block of one text. Lines end with LF, CR LF or CR."""

    def __init__(self) -> None:
        self._state = np.zeros(3, np.int64)
        self._decoded = np.empty((len(ALGORITHMS), 0), np.uint8)

    @property
    def line(self) -> int:
        """The number of lines that have ended so far."""
        return int(self._state[_LINE])

    def scan(self, block: bytes) -> Scan:
        """Read the whole lines of `block`, which begins where the last scan stopped consuming."""
        if self._decoded.shape[1] < len(block) // 2:
            self._decoded = np.empty((len(ALGORITHMS), len(block) // 2), np.uint8)
        counts = np.zeros(len(ALGORITHMS), np.int64)
        refused = np.zeros(len(REASONS), np.int64)
        examples = np.empty((len(REASONS), EXAMPLES), np.int64)
        self._state[_RECORDS] = 0
        consumed = _scan(
            np.frombuffer(block, np.uint8), self._state, self._decoded, counts, refused, examples
        )  # fmt: skip
        return Scan(
            consumed=int(consumed),
            records=int(self._state[_RECORDS]),
            digests=[
                (algorithm, decoded[: count * algorithm.digest_size].reshape(count, algorithm.digest_size).copy())
                for algorithm, decoded, count in zip(ALGORITHMS, self._decoded, counts.tolist(), strict=True)
                if count
            ],
            refusals=[
                (reason, count, lines[:count].tolist())
                for reason, lines, count in zip(REASONS, examples, refused.tolist(), strict=True)
                if count
            ],
        )


@numba.njit(nogil=True, cache=True)
def _scan(data, state, decoded, counts, refused, examples):
    """Read whole lines; see `Scan`. Returns the number of bytes consumed.

    `decoded` is (algorithms, bytes): each row the digests of one algorithm, one after the other.
    """
    length = data.shape[0]
    line = state[_LINE]
    records = 0
    start = 0
    if length > 0:
        if state[_AFTER_CARRIAGE_RETURN] and data[0] == _LINE_FEED:
            start = 1
        state[_AFTER_CARRIAGE_RETURN] = 0
    expected = 0  # Most lines have as many digits as the line before, and checking that beats counting.
    while start < length:
        digits_end = start
        if start + expected < length and _all_digits(data[start : start + expected]):
            digits_end += expected
        while digits_end < length and _NIBBLES[data[digits_end]] != _NOT_A_DIGIT:
            digits_end += 1
        end = digits_end
        while end < length and data[end] != _LINE_FEED and data[end] != _CARRIAGE_RETURN:
            end += 1
        if end == length:
            break
        line += 1

        digits = start
        if end - start > MAXIMUM_LINE:
            outcome = _LINE_TOO_LONG
        elif digits_end > start and (digits_end == end or _ends_column(data[digits_end])):
            outcome = _algorithm_of(digits_end - start)
        else:
            outcome, digits = _locate(data, start, end)
        if outcome >= 0:
            size = _SIZES[outcome]
            expected = 2 * size
            base = counts[outcome] * size
            digest = decoded[outcome, base : base + size]
            _decode(data[digits : digits + expected], digest)
            if _begins(digest, _EMPTY_FILES[outcome]):
                outcome = _EMPTY_FILE_DIGEST
            elif _begins(digest, _ZEROS) or _begins(digest, _ONES):
                outcome = _DEGENERATE
            else:
                counts[outcome] += 1
        if outcome != _NOTHING:
            records += 1
        if outcome < _NOTHING:
            reason = _ODD_LENGTH - outcome
            if refused[reason] < EXAMPLES:
                examples[reason, refused[reason]] = line
            refused[reason] += 1

        start = end + 1
        if data[end] == _CARRIAGE_RETURN:
            if start == length:
                state[_AFTER_CARRIAGE_RETURN] = 1
            elif data[start] == _LINE_FEED:
                start += 1
    state[_LINE] = line
    state[_RECORDS] = records
    return start


@numba.njit(nogil=True, cache=True)
def _all_digits(text):
    """Whether all bytes are hexadecimal digits. No branches, so that it becomes vector instructions."""
    others = False
    for index in range(text.shape[0]):
        byte = text[index]
        others |= (np.uint8(byte - 0x30) > 9) & (np.uint8((byte | 0x20) - 0x61) > 5)
    return not others


@numba.njit(nogil=True, cache=True)
def _decode(digits, out):
    """Write the bytes that hexadecimal digits stand for. The low four bits of a letter count from 1 for A."""
    for index in range(out.shape[0]):
        high, low = digits[2 * index], digits[2 * index + 1]
        high = (high & np.uint8(0x0F)) + np.uint8(9) * (high >> np.uint8(6))
        low = (low & np.uint8(0x0F)) + np.uint8(9) * (low >> np.uint8(6))
        out[index] = high << np.uint8(4) | low


@numba.njit(nogil=True, cache=True)
def _begins(digest, other):
    """Whether `digest` is how `other` begins."""
    for index in range(digest.shape[0]):  # noqa: SIM110
        if digest[index] != other[index]:
            return False
    return True


@numba.njit(nogil=True, cache=True)
def _ends_column(byte):
    return byte in (_SPACE, _TAB, _COMMA, _SEMICOLON)


@numba.njit(nogil=True, cache=True)
def _algorithm_of(digits):
    """The index of the algorithm whose digests have so many hexadecimal digits, or why there is none."""
    for index in range(_SIZES.shape[0]):
        if digits == 2 * _SIZES[index]:
            return index
    return _ODD_LENGTH if digits % 2 else _WRONG_LENGTH


@numba.njit(nogil=True, cache=True)
def _locate(data, start, end):
    """What the line `data[start:end]` is, and where the digits of its digest begin."""
    while start < end and (data[start] == _SPACE or data[start] == _TAB):
        start += 1
    while start < end and (data[end - 1] == _SPACE or data[end - 1] == _TAB):
        end -= 1
    if start == end or data[start] == _HASH_SIGN:
        return _NOTHING, start
    quoted = data[start] == _QUOTE
    if quoted or data[start] == _BACKSLASH:
        start += 1
    digits_end = start
    while digits_end < end and _NIBBLES[data[digits_end]] != _NOT_A_DIGIT:
        digits_end += 1
    column_end = digits_end
    if quoted:
        if digits_end == end or data[digits_end] != _QUOTE:
            return _NOT_HEX, start
        column_end += 1
    if digits_end > start and (column_end == end or _ends_column(data[column_end])):
        return _algorithm_of(digits_end - start), start
    return (_NOT_HEX, start) if quoted else _locate_tagged(data, start, end)


@numba.njit(nogil=True, cache=True)
def _locate_tagged(data, start, end):
    """The same for `ALGORITHM (name) = DIGITS`. The name may hold anything, so the digits are sought from the end."""
    digits = end
    while digits > start and _NIBBLES[data[digits - 1]] != _NOT_A_DIGIT:
        digits -= 1
    tag_end = start
    while tag_end < end and data[tag_end] != _SPACE:
        tag_end += 1
    closing = digits - 4
    if not (
        digits < end
        and start < tag_end
        and tag_end + 1 < closing
        and data[tag_end + 1] == _OPENING
        and data[closing] == _CLOSING
        and data[closing + 1] == _SPACE
        and data[closing + 2] == _EQUALS
        and data[closing + 3] == _SPACE
    ):
        return _NOT_HEX, digits
    for index in range(_TAGS.shape[0]):
        if tag_end - start == _TAG_LENGTHS[index]:
            same = True
            for position in range(_TAG_LENGTHS[index]):
                same = same and data[start + position] == _TAGS[index, position]
            if same:
                outcome = _algorithm_of(end - digits)
                return (outcome if outcome < 0 or outcome == index else _WRONG_LENGTH), digits
    return _UNKNOWN_ALGORITHM, digits
