"""JSON as a stream of bytes, of which records are cut out whole and all else is read as little as possible.

`JsonStream` is a cursor. Its methods are generators that give None when they need more text, so that a format's grammar
reads top down, as if all text were there:

    while (name := (yield from stream.member(first=first))) is not None: ...

Whoever drives the grammar adds text after each None, and says when there is no more. Memory is bounded by the limit of
one record and what is added at once.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import NamedTuple, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from hashmatch.formats._json_kernel import Nesting, whole_objects
from hashmatch.formats.delivery import DeliveryError

_T = TypeVar("_T")
# Gives None for want of text and returns what was read.
Reading = Generator[None, None, _T]

# So many objects are cut at once at most, and no further one behind so many bytes: what they decode to takes up memory.
_CUT_AT_ONCE = 512
_ENOUGH_AT_ONCE = 65_536
_SPACE = re.compile(rb"[ \t\r\n]*+")
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
# A number, true, false or null, or what stands in the place of one.
_WORD = re.compile(rb'[^ \t\r\n,:{}\[\]"]*+')


class Elements(NamedTuple):
    """Elements of an array that follow on each other: whole objects, or one element of which `refusal` says why not.

    `text` begins with the first object and ends with the last one; `bounds` are where in it each begins and ends.
    """

    text: bytes
    bounds: list[tuple[int, int]]
    refusal: str = ""


class JsonStream:
    """A cursor over one text. An object of more than `record_size` bytes is passed over. Raises only `DeliveryError`.

    `record` is the number of the record that is being read, for error messages; whoever reads records keeps it.
    """

    def __init__(self, record_size: int) -> None:
        self.record = 0
        self._limit = record_size
        self._text = b""
        self._at = 0
        self._ended = False

    def add(self, text: bytes, *, last: bool = False) -> None:
        """Add what follows on the text so far."""
        self._text = self._text[self._at :] + text
        self._at = 0
        self._ended = last

    def peek(self) -> Reading[bytes]:
        """The next byte that is no white space; it is not passed."""
        while True:
            self._at = _end_of_space(self._text, self._at)
            if self._at < len(self._text):
                return self._text[self._at : self._at + 1]
            yield from self._more("the document")

    def open(self, bracket: bytes) -> Reading[None]:
        """Pass an opening bracket."""
        if (yield from self.peek()) != bracket:
            raise self._malformed()
        self._at += 1

    def member(self, *, first: bool) -> Reading[str | None]:
        """The name of the next member of the object that is open; None behind its end."""
        byte = yield from self.peek()
        if byte == b"}":
            self._at += 1
            return None
        if not first:
            yield from self.open(b",")
        name = yield from self.string()
        yield from self.open(b":")
        return name

    def string(self) -> Reading[str]:
        """A string."""
        if (yield from self.peek()) != b'"':
            raise self._malformed()
        while (match := _STRING.match(self._text, self._at)) is None:
            yield from self._more("a text")
        return str(self._decoded(match))

    def scalar(self) -> Reading[object]:
        """A string, number or boolean, or None, also for an object or an array, which is passed over."""
        byte = yield from self.peek()
        if byte == b'"':
            return (yield from self.string())
        if byte in (b"{", b"["):
            yield from self._pass_brackets()
            return None
        while (match := _WORD.match(self._text, self._at)) is None or match.end() == len(self._text):
            yield from self._more("a value")
        return self._decoded(match)

    def element(self, *, first: bool) -> Reading[bytes | None]:
        """The first byte, not passed, of the next element of the array that is open; None behind its end."""
        byte = yield from self.peek()
        if byte == b"]":
            self._at += 1
            return None
        if not first:
            yield from self.open(b",")
            byte = yield from self.peek()
        return byte

    def objects(self, *, first: bool) -> Reading[Elements | None]:
        """The next elements of the array that is open; None behind its end."""
        byte = yield from self.element(first=first)
        if byte is None:
            return None
        if byte != b"{":
            yield from self.scalar()
            return Elements(b"", [], "not-an-object")
        while not len(bounds := self._whole_objects()):
            if len(self._text) - self._at > self._limit:
                yield from self._pass_brackets()
                return Elements(b"", [], "record-too-large")
            yield from self._more("a record")
        sizes = bounds[:, 1] - bounds[:, 0]
        if sizes[0] > self._limit:
            self._at = int(bounds[0, 1])
            return Elements(b"", [], "record-too-large")
        fitting = int((sizes > self._limit).argmax()) or len(bounds)
        start, end = int(bounds[0, 0]), int(bounds[fitting - 1, 1])
        self._at = end
        return Elements(self._text[start:end], (bounds[:fitting] - start).tolist())

    def end(self) -> Reading[None]:
        """Pass the end of the text, before which nothing but white space may come."""
        while True:
            self._at = _end_of_space(self._text, self._at)
            if self._at < len(self._text):
                raise DeliveryError("this is not JSON: something stands behind its end", record=self.record)
            if self._ended:
                return
            yield None

    def _pass_brackets(self) -> Reading[None]:
        """Pass an object or array, of any size, whose opening bracket comes next."""
        nesting = Nesting()
        while (end := self._end_of(nesting)) < 0:
            self._at = len(self._text)
            yield from self._more("the document")
        self._at = end

    def _end_of(self, nesting: Nesting) -> int:
        try:
            return nesting.end(self._text, self._at)
        except ValueError:
            raise self._malformed() from None

    def _whole_objects(self) -> npt.NDArray[np.int64]:
        try:
            return whole_objects(self._text, self._at, _CUT_AT_ONCE, _ENOUGH_AT_ONCE)
        except ValueError:
            raise self._malformed() from None

    def _more(self, what: str) -> Reading[None]:
        if self._ended:
            raise DeliveryError(f"truncated: {what} does not end", record=self.record)
        if len(self._text) - self._at > self._limit:
            raise DeliveryError(f"{what} of more than {self._limit} bytes", record=self.record)
        yield None

    def _decoded(self, match: re.Match[bytes]) -> object:
        self._at = match.end()
        try:
            return msgspec.json.decode(match.group())
        except ValueError:
            raise self._malformed() from None

    def _malformed(self) -> DeliveryError:
        return DeliveryError("this is not JSON, or its brackets do not match", record=self.record)


def _end_of_space(text: bytes, at: int) -> int:
    match = _SPACE.match(text, at)
    return at if match is None else match.end()
