"""Deliveries inside gzip, Zstandard or zip: opened as they stream by, on the way to any parser.

Which container it is, the first bytes say; a name counts for nothing. What is refused as a whole: a container that is
truncated or damaged, bytes behind its end, a container inside a container, and what expands to too much.

Of a zip archive the delivery is the one file in it; folders, readme files and what macOS adds do not count, and a
second file is refused. A zip is read from its front, so that it need not be kept: a file that was stored without
compression and without its length in front of it is refused, as are encryption and methods other than deflate. What the
directory at the end of the archive says of the file has to agree with what was read.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from hashmatch.formats._zip_stream import ZipStream, inflate
from hashmatch.formats.delivery import Chunk, DeliveryError, DeliveryParser, Tally
from hashmatch.model.errors import ErrorReason
from hashmatch.model.opinions import Statement

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# So much is expanded at once.
PIECE = 262_144
# So much is given to a decompressor at once: behind each member and frame it copies what is left.
_FED = 16_384
# Tools write an empty one at the end, or one to be skipped before each frame.
_MAXIMUM_EMPTY = 1_000
# The longest of the signatures by which containers are told.
_SIGNATURE = 4
# Tools that compress in parallel write frames of their own, which others skip, ahead of Zstandard's; their first byte
# is any of 0x50 to 0x5f.
_SKIPPABLE = b"\x2a\x4d\x18"
_GZIP, _ZSTANDARD, _ZIP = b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"PK"
_GZIP_FORMAT = zlib.MAX_WBITS | 16
# A window of 128 MiB, as `zstd --long` asks for at most without further options.
_MAXIMUM_WINDOW_LOG = 27


@dataclass(frozen=True, slots=True)
class ExpansionLimits:
    """What a container may expand to: `size` bytes, and `ratio` times what was read of it once that is over `floor`.

    Lists of hashes, which are random, shrink to a third or a tenth at most.
    """

    size: int = 64 << 30
    ratio: int = 100
    floor: int = 64 << 20


class Expander(Protocol):
    """Expands one container. Raises only `DeliveryError`."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next bytes, cut anywhere."""
        ...

    def finish(self) -> None:
        """Take the end. Raises `DeliveryError` if the container has not ended."""
        ...


class OpenedParser:
    """A parser of deliveries that may come in a container. `statements` and `tally` are the parser's own."""

    def __init__(self, parser: DeliveryParser, limits: ExpansionLimits | None = None) -> None:
        self._parser = parser
        self._container = Container(limits)

    @property
    def statements(self) -> list[Statement]:
        """The parser's statements."""
        return self._parser.statements

    @property
    def tally(self) -> Tally:
        """The parser's tally."""
        return self._parser.tally

    def feed(self, data: bytes) -> Iterator[Chunk]:
        """Take the next bytes as delivered, of any number, cut anywhere."""
        for piece in self._container.feed(data):
            yield from self._parser.feed(piece)

    def finish(self) -> Iterator[Chunk]:
        """Take the end of the delivery. Raises `DeliveryError` if it or its container is truncated."""
        for piece in self._container.finish():
            yield from self._parser.feed(piece)
        yield from self._parser.finish()


class Container:
    """Gives the bytes of a delivery, whether it comes in a container or not. Raises only `DeliveryError`."""

    def __init__(self, limits: ExpansionLimits | None = None) -> None:
        self._limits = limits or ExpansionLimits()
        self._head = b""
        self._told = False
        self._expander: Expander | None = None
        self._read = 0
        self._expanded = 0
        self._beginning = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next bytes, of any number, cut anywhere."""
        self._read += len(data)
        if self._told:
            yield from self._expand(data)
            return
        self._head += data
        if len(self._head) >= _SIGNATURE:
            yield from self._begin()

    def finish(self) -> Iterator[bytes]:
        """Take the end of the delivery. Raises `DeliveryError` if the container is truncated."""
        if not self._told:
            yield from self._begin()
        if self._expander is not None:
            self._expander.finish()
            if len(self._beginning) < _SIGNATURE:
                yield self._beginning

    def _begin(self) -> Iterator[bytes]:
        self._told = True
        open_expander = _expander_for(self._head)
        if open_expander is not None:
            self._expander = open_expander()
        head, self._head = self._head, b""
        yield from self._expand(head)

    def _expand(self, data: bytes) -> Iterator[bytes]:
        if self._expander is None:
            if data:
                yield data
            return
        for piece in self._expander.feed(data):
            self._expanded += len(piece)
            if self._expanded > self._limits.size:
                raise _too_large(f"expands to more than {self._limits.size} bytes")
            if self._expanded > max(self._limits.floor, self._limits.ratio * self._read):
                raise _too_large(f"expands to more than {self._limits.ratio} times its size")
            yield from self._checked(piece)

    def _checked(self, piece: bytes) -> Iterator[bytes]:
        """The piece, unless a container begins with it."""
        if len(self._beginning) < _SIGNATURE:
            self._beginning += piece
            if len(self._beginning) < _SIGNATURE:
                return
            piece = self._beginning
            if _expander_for(piece) is not None:
                raise DeliveryError("a container inside a container")
        yield piece


class _Members:
    """Counts members or frames that follow on each other and expand to nothing."""

    def __init__(self) -> None:
        self.expanded = False
        self._empty = 0

    def end(self) -> None:
        """One has ended. Raises `DeliveryError` if too many did without having `expanded`."""
        self._empty = 0 if self.expanded else self._empty + 1
        self.expanded = False
        if self._empty > _MAXIMUM_EMPTY:
            raise DeliveryError(f"the container is damaged: more than {_MAXIMUM_EMPTY} parts of it hold nothing")


class GzipStream:
    """Expands gzip, of one member or several."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP_FORMAT)
        self._members = _Members()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next bytes, cut anywhere."""
        for start in range(0, len(data), _FED):
            yield from self._expand(data[start : start + _FED])

    def _expand(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._member.eof:
                self._members.end()
                self._member = zlib.decompressobj(_GZIP_FORMAT)
            try:
                for piece in inflate(self._member, data, PIECE):
                    self._members.expanded = True
                    yield piece
            except zlib.error:
                raise DeliveryError("the gzip container is damaged, or something stands behind its end") from None
            data = self._member.unused_data

    def finish(self) -> None:
        """Take the end. Raises `DeliveryError` if the last member has not ended."""
        if not self._member.eof:
            raise DeliveryError("truncated: the gzip container does not end")


class ZstandardStream:
    """Expands Zstandard, of one frame or several."""

    def __init__(self) -> None:
        self._frame = _frame()
        self._frames = _Members()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next bytes, cut anywhere."""
        for start in range(0, len(data), _FED):
            yield from self._expand(data[start : start + _FED])

    def _expand(self, data: bytes) -> Iterator[bytes]:
        while data or not (self._frame.needs_input or self._frame.eof):
            if self._frame.eof:
                self._frames.end()
                self._frame = _frame()
            try:
                piece = self._frame.decompress(data, PIECE)
            except zstd.ZstdError:
                raise DeliveryError("the Zstandard container is damaged, or something stands behind its end") from None
            data = self._frame.unused_data if self._frame.eof else b""
            if piece:
                self._frames.expanded = True
                yield piece

    def finish(self) -> None:
        """Take the end. Raises `DeliveryError` if the last frame has not ended."""
        if not self._frame.eof:
            raise DeliveryError("truncated: the Zstandard container does not end")


def _frame() -> zstd.ZstdDecompressor:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _MAXIMUM_WINDOW_LOG})


def _expander_for(head: bytes) -> Callable[[], Expander] | None:
    """What expands a container that begins with `head`; None if that is none."""
    if head.startswith(_GZIP):
        return GzipStream
    if head.startswith(_ZSTANDARD) or (head[1:4] == _SKIPPABLE and head[0] & 0xF0 == 0x50):
        return ZstandardStream
    # A local header, or the end of an archive in which there is nothing.
    if head.startswith(_ZIP) and head[2:4] in (b"\x03\x04", b"\x05\x06"):
        return lambda: ZipStream(PIECE)
    return None


def _too_large(message: str) -> DeliveryError:
    return DeliveryError(f"the container {message}", reason=ErrorReason.DELIVERY_TOO_LARGE)
