"""What is asked about: files, or lines with hashes. What cannot be asked about is carried along, never dropped."""

from __future__ import annotations

import re
import sys
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import TextIO, cast

from hashmatch_client._errors import InvalidHashError
from hashmatch_client._hashes import Algorithm, Hash, Item
from hashmatch_client._videos import MAX_FRAMES
from hashmatch_client.hashing import FileHashes, UnreadableFile

UNREADABLE_FILE = "UNREADABLE_FILE"
INVALID_HASH = "INVALID_HASH"
PICTURE_NOT_HASHED = "PICTURE_NOT_HASHED"
NOT_A_PICTURE = "NOT_A_PICTURE"

_LINE = re.compile(r"(?P<escaped>\\?)(?P<hash>[^\s\\]+)(?:[ \t]+\*?(?P<name>.*\S)?)?\s*")
_LONGEST_LINE = 64 * 1024
_LARGEST_VIDEO = 128 * MAX_FRAMES
_WITH_QUALITY = frozenset({Algorithm.PDQ, Algorithm.PHOTODNA})
_BY_NAME = {algorithm.value: algorithm for algorithm in Algorithm}


@dataclass(frozen=True, slots=True)
class Subject:
    """One thing to ask about: its hashes, and, where there are none or not all, why not.

    `weight` is what progress counts.
    """

    reference: str
    weight: int
    item: Item | None
    reason: str = ""
    problem: str = ""


def subject_of_file(file: FileHashes | UnreadableFile) -> Subject:
    """The subject that a file is."""
    if isinstance(file, UnreadableFile):
        return Subject(file.path, 0, None, UNREADABLE_FILE, file.problem)
    if file.picture_problem:
        problem = f"not hashed as a picture: {file.picture_problem}"
        return Subject(file.path, file.size, Item(file.hashes) if file.hashes else None, PICTURE_NOT_HASHED, problem)
    if not file.hashes:
        return Subject(file.path, file.size, None, NOT_A_PICTURE, "it is no picture, and nothing but PDQ was asked for")
    return Subject(file.path, file.size, Item(file.hashes))


def subject_of_video(path: str) -> Subject:
    """The subject that a file of a video's vPDQ hash is."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(_LARGEST_VIDEO + 1)
    except OSError as error:
        return Subject(path, 0, None, UNREADABLE_FILE, error.strerror or type(error).__name__)
    try:
        if len(text) > _LARGEST_VIDEO:
            raise InvalidHashError("the file is too large for the frames of a video")
        return Subject(path, len(text), Item((Hash.of_video(text.decode("utf-8-sig")),)))
    except (InvalidHashError, UnicodeError) as error:
        problem = "this is no text" if isinstance(error, UnicodeError) else str(error)
        return Subject(path, len(text), None, INVALID_HASH, problem)


def subjects_of_lines(lines: Iterable[str], source: str) -> Iterator[Subject]:
    """The subjects that lines are: a hash each, with a name or without. Blank lines and # comments ask nothing.

    A line's reference is its name, or `source` and its number. What a bad line says is not repeated: it may hold a
    hash.
    """
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if text and not text.startswith("#"):
            yield _subject_of_line(text, f"{source}:{number}", len(line))


@contextmanager
def lines_of(source: str) -> Iterator[Iterator[str]]:
    """The lines of a file, or of standard input for `-`; UTF-8, or UTF-16 with a byte order mark."""
    if source == "-":
        lines = _decoded(cast(BufferedReader, sys.stdin.buffer))
        try:
            yield _bounded(lines)
        finally:
            lines.detach()  # standard input is not ours to close
        return
    with Path(source).open("rb") as file, _decoded(file) as lines:
        yield _bounded(lines)


def _decoded(raw: BufferedReader) -> TextIOWrapper:
    encoding = "utf-16" if raw.peek(2)[:2] in (BOM_UTF16_BE, BOM_UTF16_LE) else "utf-8-sig"
    errors = "replace" if encoding == "utf-16" else "surrogateescape"
    return TextIOWrapper(raw, encoding, errors, newline="\n")


def _bounded(lines: TextIO) -> Iterator[str]:
    """The lines; of one that is too long to be a hash and a name only the beginning, made unreadable as a hash."""
    while line := lines.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE and not line.endswith("\n"):
            while (rest := lines.readline(_LONGEST_LINE)) and not rest.endswith("\n"):
                pass
            line = "(a line that is too long)"
        yield line


def hash_of_text(text: str) -> Hash:
    """The hash that `text` is: hexadecimal, or `ALGORITHM:HEX`, where a perceptual one may end in `:QUALITY`.

    A PDQ code looks like a SHA-256 digest, so that it has to be named: `pdq:HEX`, `pdq:HEX:85`.
    """
    name, *rest = text.split(":")
    if not rest:
        return Hash.from_hex(text)
    algorithm = _BY_NAME.get(name.lower())
    if algorithm is None or len(rest) > 2 or (len(rest) == 2 and algorithm not in _WITH_QUALITY):
        raise InvalidHashError("a hash is hexadecimal, ALGORITHM:HEX or pdq:HEX:QUALITY")
    value = Hash.of(algorithm, rest[0])
    if len(rest) == 1:
        return value
    if not (rest[1].isascii() and rest[1].isdecimal()):
        raise InvalidHashError("the quality of a perceptual hash is a whole number", algorithm.value)
    return Hash(algorithm, value.value, int(rest[1]))


def _subject_of_line(text: str, reference: str, weight: int) -> Subject:
    found = _LINE.fullmatch(text)
    if found is None:
        return Subject(reference, weight, None, INVALID_HASH, "no hash was found on the line")
    name = found["name"]
    try:
        item = Item((hash_of_text(found["hash"]),))
    except InvalidHashError as error:
        return Subject(reference, weight, None, INVALID_HASH, str(error))
    if name and found["escaped"]:
        # The coreutils mark a line with a backslash when they had to escape the name.
        name = re.sub(r"\\([nr\\])", lambda escape: {"n": "\n", "r": "\r", "\\": "\\"}[escape[1]], name)
    return Subject(name or reference, weight, item)
