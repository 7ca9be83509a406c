"""Zip archives from front to back: the one file in them, and then whether the directory at the end says the same.

The records are those of APPNOTE.TXT 6.3: local file headers with the file's bytes, data descriptors, the central
directory, and the records that end it, of 32 or (zip64) of 64 bits.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass

from hashmatch.formats.delivery import DeliveryError
from hashmatch.model.errors import ErrorReason

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ")
_END_64_LOCATOR_SIZE = 20
_EXTRA = struct.Struct("<2H")

_LOCAL_SIGNATURE, _CENTRAL_SIGNATURE = b"PK\x03\x04", b"PK\x01\x02"
_END_SIGNATURE, _END_64_SIGNATURE, _END_64_LOCATOR_SIGNATURE = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_DESCRIPTOR_SIGNATURE = b"PK\x07\x08"
_ENCRYPTED, _HAS_DESCRIPTOR = 0x0001, 0x0008
_STORED, _DEFLATED = 0, 8
_ZIP64_EXTRA = 0x0001
_IN_EXTRA = 0xFFFF_FFFF
_MAXIMUM_MEMBERS = 1_000
# How the names of files begin that come along: those that explain, and those that systems hide.
_BESIDES = (b"readme", b".")
# The tables of makers, systems and products that NIST packs beside NSRLFile.txt, and the number of the release.
_OF_NSRL = frozenset((b"nsrlmfg.txt", b"nsrlos.txt", b"nsrlprod.txt", b"version.txt"))
# They are expanded only to be checked, and count for nothing in what a delivery may expand to.
_MAXIMUM_BESIDES = 16 << 20
# What the end record of zip64 may have besides what it must have.
_MAXIMUM_SKIPPED = 1 << 20


@dataclass(slots=True)
class _Member:
    """What a header says of a file, or what was found of it."""

    name: bytes
    method: int
    crc: int
    compressed: int
    size: int
    zip64: bool = False

    def agrees_with(self, other: _Member) -> bool:
        """Whether both are of the same bytes."""
        return (self.name, self.crc, self.compressed, self.size) == (
            other.name,
            other.crc,
            other.compressed,
            other.size,
        )

    @property
    def is_delivery(self) -> bool:
        """Whether it is the file that the archive was made for."""
        base = self.name.rpartition(b"/")[2].lower()
        if self.name.endswith(b"/") or self.name.startswith(b"__MACOSX/"):
            return False
        return not base.startswith(_BESIDES) and base not in _OF_NSRL


def inflate(decompressor: zlib._Decompress, data: bytes, piece: int) -> Iterator[bytes]:
    """What `data` expands to, in pieces of at most so many bytes. Raises `zlib.error`."""
    while True:
        expanded = decompressor.decompress(data, piece)
        if expanded:
            yield expanded
        data = decompressor.unconsumed_tail
        if decompressor.eof or (not data and len(expanded) < piece):
            return


class ZipStream:
    """Expands the one file of an archive, in pieces of at most so many bytes. Raises only `DeliveryError`."""

    def __init__(self, piece: int) -> None:
        self._piece = piece
        self._data = b""
        self._done = False
        self._members: list[_Member] = []
        self._archive = self._read_archive()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next bytes, cut anywhere."""
        self._data += data
        for piece in self._archive:
            if piece is None:
                return
            yield piece
        if self._data:
            raise DeliveryError("something stands behind the end of the zip archive")

    def finish(self) -> None:
        """Take the end. Raises `DeliveryError` if the archive has not ended."""
        if not self._done:
            raise DeliveryError("truncated: the zip archive does not end")

    def _read_archive(self) -> Generator[bytes | None, None, None]:
        """Reads all records. Gives pieces of the file, and None for want of bytes."""
        deliveries = besides = 0
        while (signature := (yield from self._peek(4))) == _LOCAL_SIGNATURE:
            member, flags = yield from self._read_local_header()
            deliveries += member.is_delivery
            if deliveries > 1:
                raise DeliveryError("the zip archive holds more than one file")
            for piece in self._read_file(member, flags):
                if piece is None or member.is_delivery:
                    yield piece
                    continue
                besides += len(piece)
                if besides > _MAXIMUM_BESIDES:
                    raise DeliveryError(
                        f"the zip archive holds more than {_MAXIMUM_BESIDES} bytes besides the delivery",
                        reason=ErrorReason.DELIVERY_TOO_LARGE,
                    )
            self._members.append(member)
            if len(self._members) > _MAXIMUM_MEMBERS:
                raise DeliveryError(f"the zip archive has more than {_MAXIMUM_MEMBERS} entries")
        if not deliveries:
            raise DeliveryError("the zip archive holds no file")
        for member in self._members:
            if signature != _CENTRAL_SIGNATURE or not member.agrees_with((yield from self._read_central_header())):
                raise DeliveryError("the zip archive's directory does not agree with what is in it")
            signature = yield from self._peek(4)
        yield from self._read_end(signature)
        self._done = True

    def _read_local_header(self) -> Generator[None, None, tuple[_Member, int]]:
        header = _LOCAL.unpack((yield from self._take(_LOCAL.size)))
        _, _, flags, method, _, _, crc, compressed, size, name_size, extra_size = header
        name = yield from self._take(name_size)
        extra = yield from self._take(extra_size)
        if flags & _ENCRYPTED:
            raise DeliveryError("the zip archive is encrypted")
        if method not in (_STORED, _DEFLATED):
            raise DeliveryError("the zip archive is compressed by another method than deflate")
        # In a local header the extra field has both sizes, the longer name first.
        wide = _zip64_of(extra)
        if len(wide) >= 16 and _IN_EXTRA in (size, compressed):
            size, compressed = struct.unpack_from("<2Q", wide)
        return _Member(name, method, crc, compressed, size, zip64=bool(wide)), flags

    def _read_central_header(self) -> Generator[None, None, _Member]:
        header = _CENTRAL.unpack((yield from self._take(_CENTRAL.size)))
        _, _, _, _, method, _, _, crc, compressed, size, name_size, extra_size, comment_size, *_ = header
        name = yield from self._take(name_size)
        wide = _zip64_of((yield from self._take(extra_size)))
        yield from self._take(comment_size)
        # Here it has only those that did not fit, in this order.
        numbers = iter(struct.unpack(f"<{len(wide) // 8}Q", wide[: len(wide) // 8 * 8]))
        if size == _IN_EXTRA:
            size = next(numbers, size)
        if compressed == _IN_EXTRA:
            compressed = next(numbers, compressed)
        return _Member(name, method, crc, compressed, size)

    def _read_file(self, member: _Member, flags: int) -> Generator[bytes | None, None, None]:
        """The bytes of a file; checks them, and completes what the header in front of them left open."""
        stated = member.crc, member.compressed, member.size
        has_descriptor = bool(flags & _HAS_DESCRIPTOR)
        if member.method == _STORED and has_descriptor and not member.name.endswith(b"/"):
            raise DeliveryError("the zip archive does not say how long its file is before it comes")
        member.crc = member.compressed = member.size = 0
        pieces = self._read_stored(stated[1]) if member.method == _STORED else self._read_deflated(member)
        for piece in pieces:
            if piece is not None:
                member.size += len(piece)
                member.crc = zlib.crc32(piece, member.crc)
            yield piece
        if member.method == _STORED:
            member.compressed = member.size
        if has_descriptor:
            yield from self._read_descriptor(member)
        elif stated != (member.crc, member.compressed, member.size):
            raise DeliveryError("the file in the zip archive is damaged")

    def _read_stored(self, size: int) -> Generator[bytes | None, None, None]:
        while size:
            yield from self._peek(1)
            piece, self._data = self._data[: min(size, self._piece)], self._data[min(size, self._piece) :]
            size -= len(piece)
            yield piece

    def _read_deflated(self, member: _Member) -> Generator[bytes | None, None, None]:
        inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        while not inflater.eof:
            if not self._data:
                yield None
                continue
            before = len(self._data)
            data, self._data = self._data, b""
            try:
                yield from inflate(inflater, data, self._piece)
            except zlib.error:
                raise DeliveryError("the file in the zip archive is damaged") from None
            self._data = inflater.unused_data
            member.compressed += before - len(inflater.unused_data)

    def _read_descriptor(self, member: _Member) -> Generator[None, None, None]:
        # Nothing says whether there is a signature, nor (without the extra field) how wide the sizes are; what was
        # found of the file does.
        wide = struct.pack("<LQQ", member.crc, member.compressed, member.size)
        forms = [wide]
        if not member.zip64 and max(member.compressed, member.size) < _IN_EXTRA:
            forms.insert(0, struct.pack("<LLL", member.crc, member.compressed, member.size))
        start = yield from self._peek(4)
        prefix = _DESCRIPTOR_SIGNATURE if start == _DESCRIPTOR_SIGNATURE else b""
        for form in forms:
            expected = prefix + form
            if (yield from self._peek(len(expected))) == expected:
                yield from self._take(len(expected))
                return
        raise DeliveryError("the file in the zip archive is damaged")

    def _read_end(self, signature: bytes) -> Generator[None, None, None]:
        if signature == _END_64_SIGNATURE:
            _, size = _END_64.unpack((yield from self._take(_END_64.size)))
            if size > _MAXIMUM_SKIPPED:
                raise DeliveryError("the zip archive's directory is damaged")
            yield from self._take(size)
            if (yield from self._take(_END_64_LOCATOR_SIZE))[:4] != _END_64_LOCATOR_SIGNATURE:
                raise DeliveryError("the zip archive's directory is damaged")
            signature = yield from self._peek(4)
        if signature != _END_SIGNATURE:
            raise DeliveryError("the zip archive's directory does not agree with what is in it")
        *_, comment_size = _END.unpack((yield from self._take(_END.size)))
        yield from self._take(comment_size)

    def _peek(self, count: int) -> Generator[None, None, bytes]:
        while len(self._data) < count:
            yield None
        return self._data[:count]

    def _take(self, count: int) -> Generator[None, None, bytes]:
        data = yield from self._peek(count)
        self._data = self._data[count:]
        return data


def _zip64_of(extra: bytes) -> bytes:
    """The extra field of zip64; empty if there is none."""
    at = 0
    while at + _EXTRA.size <= len(extra):
        kind, size = _EXTRA.unpack_from(extra, at)
        at += _EXTRA.size
        if kind == _ZIP64_EXTRA:
            return extra[at : at + size]
        at += size
    return b""
