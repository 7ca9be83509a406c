"""The format `bundle`: a list as one hashmatch hands it to another, without loss.

A bundle is text of JSON lines. The first line says whose list it is; then come its distinct statements, numbered from
0; then its entries, each with its key, if it has one, and its fingerprints with the number of what is stated of them;
the last line counts them, and has the SHA-256 of all lines before it. The same generation of a list always makes
the same bytes, and the same state of it in another store the same statements and entries: nothing says when, where or
by whom a bundle was made.

How a bundle is read: what is stated is what the bundle says, also where that is nothing; what the importer states is
not used. A bundle of which a line cannot be read or says more than other formats let one say (of a key, of flags), or
whose counts or digest do not agree, is refused as a whole: an edited digit would be a fingerprint of something else. A
fingerprint that cannot be served is refused alone, as everywhere. The digest tells damage, not forgery.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any

import msgspec

from hashmatch.formats._collector import Collector, Limits
from hashmatch.formats._text import Blocks
from hashmatch.formats._values import Refused, algorithm_of, at_most, digest_of
from hashmatch.formats._videos import add_video
from hashmatch.formats.delivery import Chunk, DeliveryError, ParserOptions
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.lists import MAXIMUM_TEXT, ListDefinition
from hashmatch.model.opinions import Statement
from hashmatch.model.prepared import prepared
from hashmatch.model.videos import MAXIMUM_FRAMES

VERSION = 1
MAXIMUM_LINE = 16 << 20
MAXIMUM_FLAGS = 64
_BEGINNING = b'{"hashmatch_bundle":'

# (algorithm, digest, number of a statement)
Fingerprint = tuple[Algorithm, bytes, int]
_Stated = tuple[str, str, str, tuple[str, ...], str]


@prepared
class BundleHeader(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the first line says. `as_of` is in seconds since 1970, `generation` the exporter's own number."""

    hashmatch_bundle: int
    definition: ListDefinition
    generation: int
    as_of: float


class _Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A line after the first: a statement, an entry, or the counts and the digest at the end."""

    statement: _Stated | None = None
    key: str = ""
    hashes: tuple[tuple[str, str, int], ...] | None = None
    counts: tuple[int, int, int] | None = None
    sha256: str = ""

    @property
    def kinds(self) -> int:
        """Of how many kinds the line is."""
        return (
            (self.statement is not None)
            + bool(self.key or self.hashes is not None)
            + bool(self.sha256 or self.counts is not None)
        )


def recognises(head: bytes) -> bool:
    """Whether a delivery that begins with `head` is in this format."""
    return head.startswith(_BEGINNING)


def written(
    header: BundleHeader, statements: Iterable[Statement], entries: Iterable[tuple[str, Iterable[Fingerprint]]]
) -> Iterator[bytes]:
    """The lines of a bundle; entries are keys (or nothing) and fingerprints. The order is the caller's."""
    sha256 = hashlib.sha256()

    def line(content: BundleHeader | _Line) -> bytes:
        encoded = encode(content) + b"\n"
        sha256.update(encoded)
        return encoded

    encode = msgspec.json.Encoder().encode
    yield line(header)
    stated = met = fingerprints = 0
    for said in statements:
        yield line(_Line(statement=(said.label, said.scheme, said.jurisdiction, said.flags, said.updated_on)))
        stated += 1
    for key, hashes in entries:
        listed = tuple((algorithm.name.lower(), digest.hex(), number) for algorithm, digest, number in hashes)
        yield line(_Line(key=key, hashes=listed))
        met += 1
        fingerprints += len(listed)
    yield line(_Line(counts=(stated, met, fingerprints), sha256=sha256.hexdigest()))


class BundleParser:
    """Reads one delivery. Records are the entries, numbered from 1. `header` is None until the first line was read."""

    def __init__(self, options: ParserOptions, limits: Limits | None = None) -> None:
        self._collector = Collector(options, limits)
        self.statements = self._collector.statements
        self.tally = self._collector.tally
        self.header: BundleHeader | None = None
        self._blocks = Blocks()
        self._unfinished = b""
        self._decode = msgspec.json.Decoder(_Line).decode
        # From the numbers of the bundle to those of the collector.
        self._numbers: list[int] = []
        self._sha256 = hashlib.sha256()
        self._ended = False

    def feed(self, data: bytes) -> Iterator[Chunk]:
        """Take the next bytes, of any number, cut anywhere."""
        if block := self._blocks.add(data):
            yield from self._read(block)

    def finish(self) -> Iterator[Chunk]:
        """Take the end of the delivery. Raises `DeliveryError` if it is truncated."""
        yield from self._read(self._blocks.rest())
        if self._unfinished or not self._ended:
            raise DeliveryError("truncated: the bundle does not end with its counts", record=self.tally.records + 1)
        if not self._collector.is_empty:
            yield self._collector.take()

    def _read(self, block: bytes) -> Iterator[Chunk]:
        *lines, self._unfinished = (self._unfinished + block).split(b"\n")
        for line in lines:
            self._take_line(line)
            if self._collector.is_full:
                yield self._collector.take()
        if len(self._unfinished) > MAXIMUM_LINE:
            raise self._damaged("a line is too long")

    def _take_line(self, line: bytes) -> None:
        if self._ended:
            raise self._damaged("something follows its end")
        try:
            if self.header is None:
                self.header = _header_of(line)
                self.tally.declared_nature = self.header.definition.nature
                self._sha256.update(line + b"\n")
                return
            decoded: Any = self._decode(line)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            raise self._damaged("a line cannot be read") from None
        if decoded.kinds > 1:
            raise self._damaged("a line is of several kinds")
        if decoded.counts is not None:
            self._end(decoded.counts, decoded.sha256)
            return
        self._sha256.update(line + b"\n")
        if decoded.statement is not None:
            self._take_statement(decoded.statement)
        elif decoded.hashes:
            self._take_entry(decoded.key, decoded.hashes)
        else:
            raise self._damaged("a line says nothing")

    def _take_statement(self, stated: _Stated) -> None:
        label, scheme, jurisdiction, flags, updated_on = stated
        try:
            for text in (label, scheme, jurisdiction, updated_on, *flags):
                at_most(text, "value-too-long")
        except Refused:
            raise self._damaged("a statement is too long") from None
        if len(flags) > MAXIMUM_FLAGS:
            raise self._damaged("a statement has too many flags")
        if updated_on and not _is_date(updated_on):
            raise self._damaged("a statement has a date that is none")
        said = Statement(label, scheme, jurisdiction, flags, updated_on)
        self._numbers.append(self._collector.number(said, self.tally.records))

    def _take_entry(self, key: str, hashes: tuple[tuple[str, str, int], ...]) -> None:
        self.tally.records += 1
        record = self.tally.records
        if len(key) > MAXIMUM_TEXT:
            raise self._damaged("a key is too long")
        taken = 0
        # By what is stated of it, the frames of the video that the entry has: how many there are is stated with each.
        videos: dict[int, dict[bytes, None]] = {}
        for name, text, number in hashes:
            if not 0 <= number < len(self._numbers):
                raise self._damaged("a statement is missing")
            try:
                algorithm = algorithm_of(name, {})
                is_frame = algorithm is Algorithm.VPDQ
                digest = digest_of(Algorithm.PDQ if is_frame else algorithm, text, "hex")
                if is_frame and not key:
                    raise Refused("key-missing")
            except Refused as refused:
                self._collector.refuse(refused.reason, record)
                continue
            taken += 1
            if not is_frame:
                self._collector.add(algorithm, digest, self._numbers[number], record)
            elif digest in videos.setdefault(number, {}):
                raise self._damaged("a frame of a video stands there twice")
            else:
                videos[number][digest] = None
        for number, codes in videos.items():
            if len(codes) > MAXIMUM_FRAMES:
                raise self._damaged("a video has too many frames")
            add_video(self._collector, codes, self.statements[self._numbers[number]], record)
        if key and taken:
            self._collector.add_key(record, key)

    def _end(self, counts: tuple[int, int, int], sha256: str) -> None:
        self.tally.declared_records = counts[1]
        if counts != (len(self._numbers), self.tally.records, self.tally.read):
            raise self._damaged("its counts do not agree with it")
        if sha256 != self._sha256.hexdigest():
            raise self._damaged("its digest does not agree with it")
        self._ended = True

    def _damaged(self, problem: str) -> DeliveryError:
        return DeliveryError(f"the bundle is damaged: {problem}", record=self.tally.records + 1)


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _header_of(line: bytes) -> BundleHeader:
    if not recognises(line):
        raise DeliveryError("this is no bundle")
    header = msgspec.json.decode(line, type=BundleHeader)
    if header.hashmatch_bundle != VERSION:
        raise DeliveryError(f"a bundle of version {header.hashmatch_bundle}; only {VERSION} can be read")
    return header
