"""The formats `vics` and `nist-vics`: Project VIC's JSON, versions 1.0 to 2.0, as sets of media and as cases.

How a document is read:

* Its OData metadata, which have to come before `value`, state the version, whether `value` holds media or cases with
  media inside, and from 2.0 on the country, on which the scale of the categories depends: the scheme is `vics:us`,
  `vics:uk`, `vics:default`. Versions before name none: then the scheme is the stated one, or `vics`.
* The key is the `MediaID`, in cases behind the `CaseID` and a slash. A record without them is an entry of its own, and
  so is one with the `MediaID` 0: tools write it that do not number media, and as a key it would make one entry of all.
* `Category` 0 is a category. Where it is blank or null, the label is the one stated for the delivery.
* A fingerprint that cannot be read is refused alone, and so is a date, a yes or no, a series or a tag.
* A record that is no JSON, or larger than 1 MiB, is refused as a whole; the one after it is read.

`nist-vics` is for the set of harmless files that NIST publishes as VICS 1.2. Nothing in it says so: it is told by its
version and by having nothing but the categories 0 and 8, which no scale has for what may not be, without PhotoDNA or
any flag. `vics` refuses such a document.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from hashmatch.formats._collector import Collector, Limits
from hashmatch.formats._json_stream import Elements, JsonStream
from hashmatch.formats._text import Blocks, Utf8Stream, head_text
from hashmatch.formats._values import (
    Refused,
    algorithm_of,
    at_most,
    count_of,
    date_of,
    digest_of,
    moment_of,
    text_of,
    truth_of,
)
from hashmatch.formats.delivery import Chunk, DeliveryError, ParserOptions
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.lists import MAXIMUM_TEXT
from hashmatch.model.opinions import Statement

SCHEME = "vics"
VERSIONS = ("1.0", "1.1", "1.2", "1.3", "2.0")
# Between the two ids of a key in a case. Cases may have it in theirs; media have none, so that the last one in a key is
# this.
KEY_SEPARATOR = "/"
MAXIMUM_FLAGS = 64
# Media carry the list of the files they were found as.
MAXIMUM_RECORD = 1_048_576

_METADATA = ("odata.metadata", "@odata.context")
_COUNT = ("odata.count", "@odata.count")
_CONTEXT = re.compile(
    r"/(?P<version>[0-9]+\.[0-9]+)\.xml(?:/(?P<country>[a-z0-9_-]{1,32}))?(?:/\$metadata)?#(?P<holds>media|cases)",
    re.IGNORECASE | re.ASCII,
)
_HARMLESS_VERSION = "1.2"
# What NIST writes is 8; 0 says that nobody has put it into a category.
_HARMLESS_CATEGORIES = ("0", "8")
# What stands where media are not numbered.
_NO_NUMBER = "0"
_MD5, _SHA1, _PHOTODNA = Algorithm.MD5, Algorithm.SHA1, Algorithm.PHOTODNA
_ALGORITHMS = {"pdna": _PHOTODNA}
_ALTERNATIVE = ("HashName", "HashValue")
_FLAG_WORDS = ("victim-identified", "offender-identified", "distributed", "precategorized")
# As older OData writes a date: in milliseconds since 1970, whatever the zone behind it.
_LEGACY_DATE = re.compile(r"/Date\((-?[0-9]{4,13})(?:[+-][0-9]{4})?\)/", re.ASCII)


class _Media(msgspec.Struct):
    """What is read of a record. Tools differ in the types of values, so that none is asked for."""

    media_id: Any = msgspec.field(default=None, name="MediaID")
    category: Any = msgspec.field(default=None, name="Category")
    md5: Any = msgspec.field(default=None, name="MD5")
    sha1: Any = msgspec.field(default=None, name="SHA1")
    photodna: Any = msgspec.field(default=None, name="PhotoDNA")
    date_updated: Any = msgspec.field(default=None, name="DateUpdated")
    victim_identified: Any = msgspec.field(default=None, name="VictimIdentified")
    offender_identified: Any = msgspec.field(default=None, name="OffenderIdentified")
    is_distributed: Any = msgspec.field(default=None, name="IsDistributed")
    is_precategorized: Any = msgspec.field(default=None, name="IsPrecategorized")
    series: Any = msgspec.field(default=None, name="Series")
    tags: Any = msgspec.field(default=None, name="Tags")
    alternative_hashes: Any = msgspec.field(default=None, name="AlternativeHashes")


def recognises(head: bytes) -> bool:
    """Whether a delivery that begins with `head` is in this format."""
    text = head_text(head).lstrip()
    return text.startswith("{") and any(f'"{name}"' in text for name in _METADATA) and _CONTEXT.search(text) is not None


class VicsParser:
    """Reads one delivery. Records are the media, numbered from 1.

    `tally.declared_records` is the OData count, if the document has one. With `known_good` it is read as `nist-vics`.
    """

    def __init__(self, options: ParserOptions, limits: Limits | None = None, *, known_good: bool = False) -> None:
        self._collector = Collector(options, limits or Limits(record_size=MAXIMUM_RECORD))
        self.statements = self._collector.statements
        self.tally = self._collector.tally
        self._default = self._collector.default
        self._known_good = known_good
        self._blocks = Blocks()
        self._utf8 = Utf8Stream()
        self._stream = JsonStream(self._collector.limits.record_size)
        self._decoder = msgspec.json.Decoder(list[_Media])
        self._version = ""
        self._holds_cases = False
        self._scheme = ""
        self._harmful = 0
        self._numbers: dict[tuple[str, tuple[str, ...], str], int] = {}
        self._document = self._read_document()

    def feed(self, data: bytes) -> Iterator[Chunk]:
        """Take the next bytes, of any number, cut anywhere."""
        if block := self._blocks.add(data):
            yield from self._read(self._utf8.convert(block))

    def finish(self) -> Iterator[Chunk]:
        """Take the end of the delivery. Raises `DeliveryError` if it is truncated, or what it may not be."""
        yield from self._read(self._utf8.convert(self._blocks.rest()) + self._utf8.rest(), last=True)
        self._utf8.check_whole()
        if self._version == _HARMLESS_VERSION and self.tally.records and not self._harmful and not self._known_good:
            raise DeliveryError(
                f"VICS {self._version} with nothing but the categories {' and '.join(_HARMLESS_CATEGORIES)}, no "
                "PhotoDNA and no flag is how NIST publishes harmless files, which no list may hold; as a corpus to vet "
                "against it is nist-vics"
            )
        if not self._collector.is_empty:
            yield self._collector.take()

    def _read(self, text: bytes, *, last: bool = False) -> Iterator[Chunk]:
        self._stream.add(text, last=last)
        try:
            for chunk in self._document:
                if chunk is None:
                    return
                yield chunk
        finally:
            self._collector.settle()

    def _read_document(self) -> Iterator[Chunk | None]:
        """The grammar of a document. Gives chunks, and None for want of text."""
        stream = self._stream
        yield from stream.open(b"{")
        first = True
        while (name := (yield from stream.member(first=first))) is not None:
            first = False
            if name in _METADATA:
                self._take_context((yield from stream.string()))
            elif name in _COUNT:
                self.tally.declared_records = count_of((yield from stream.scalar()))
            elif name == "value":
                if not self._version:
                    raise DeliveryError("this is not VICS: no OData metadata come before the value")
                yield from self._read_cases() if self._holds_cases else self._read_media("")
            else:
                yield from stream.scalar()
        if not self._version:
            raise DeliveryError("this is not VICS: it has no OData metadata")
        yield from stream.end()

    def _read_cases(self) -> Iterator[Chunk | None]:
        stream = self._stream
        yield from stream.open(b"[")
        first = True
        while (byte := (yield from stream.element(first=first))) is not None:
            first = False
            if byte == b"{":
                yield from self._read_case()
            else:
                yield from stream.scalar()
                self._refuse_record("not-an-object")

    def _read_case(self) -> Iterator[Chunk | None]:
        stream = self._stream
        yield from stream.open(b"{")
        case_id = ""
        # Of a case without any media the member is empty or null. Where it is missing, or something else stands in its
        # place, what the case holds would be passed over.
        refusal = "no-fingerprint"
        first = True
        while (name := (yield from stream.member(first=first))) is not None:
            first = False
            byte = yield from stream.peek()
            if name == "Media" and byte == b"[":
                refusal = ""
                yield from self._read_media(case_id)
                continue
            value = yield from stream.scalar()
            if name == "CaseID":
                case_id = "" if value is None else str(value).strip()
            elif name == "Media":
                refusal = "" if value is None and byte != b"{" else "bad-value"
        if refusal:
            self._refuse_record(refusal)

    def _read_media(self, case_id: str) -> Iterator[Chunk | None]:
        stream = self._stream
        yield from stream.open(b"[")
        first = True
        while (elements := (yield from stream.objects(first=first))) is not None:
            first = False
            if elements.refusal:
                self._refuse_record(elements.refusal)
            for media in self._decoded(elements):
                if media is None:
                    self._refuse_record("not-json")
                else:
                    self._take_record(media, case_id)
                if self._collector.is_full:
                    yield self._collector.take()

    def _take_context(self, text: str) -> None:
        context = _CONTEXT.search(text)
        if context is None or context["version"] not in VERSIONS:
            raise DeliveryError(f"this is not VICS of a known version ({', '.join(VERSIONS)})")
        if self._version:
            raise DeliveryError("this is not VICS: it has OData metadata more than once")
        self._version = context["version"]
        self._holds_cases = context["holds"].lower() == "cases"
        country = (context["country"] or "").lower()
        self._scheme = f"{SCHEME}:{country}" if country else self._default.scheme or SCHEME

    def _refuse_record(self, reason: str) -> None:
        self.tally.records += 1
        self._stream.record = self.tally.records
        self._collector.refuse(reason, self.tally.records)

    def _decoded(self, elements: Elements) -> Iterable[_Media | None]:
        """The records; None for one that is no JSON. All are decoded at once if all of them are."""
        try:
            return self._decoder.decode(b"[%b]" % elements.text)
        except (ValueError, RecursionError):
            return (self._decoded_alone(elements.text[start:end]) for start, end in elements.bounds)

    def _decoded_alone(self, text: bytes) -> _Media | None:
        try:
            (media,) = self._decoder.decode(b"[%b]" % text)
        except (ValueError, RecursionError):
            return None
        return media

    def _take_record(self, media: _Media, case_id: str) -> None:
        self.tally.records += 1
        record = self._stream.record = self.tally.records
        fingerprints = _fingerprints_of(media)
        try:
            self._take_media(record, media, fingerprints, case_id)
        except Refused as refused:
            self._collector.refuse(refused.reason, record, max(1, len(fingerprints)))

    def _take_media(self, record: int, media: _Media, fingerprints: list[tuple[Any, Any]], case_id: str) -> None:
        if not fingerprints:
            raise Refused("no-fingerprint")
        key = self._key(media, case_id)
        category = at_most(text_of(media.category), "label-too-long")
        flags = self._flags(record, media)
        if category not in _HARMLESS_CATEGORIES or flags or media.photodna:
            self._harmful += 1
            if self._known_good:
                raise Refused("not-known-good")
        number = self._number(record, category, flags, self._date(record, media.date_updated))
        texts: list[tuple[Algorithm, str]] = []
        for name, value in fingerprints:
            try:
                algorithm = name if isinstance(name, Algorithm) else algorithm_of(text_of(name), _ALGORITHMS)
                texts.append((algorithm, text_of(value)))
            except Refused as refused:
                self._collector.refuse(refused.reason, record)
        if media.alternative_hashes and len(dict(texts)) < len(texts):
            # Older versions give the SHA-1 once more among the alternative hashes.
            texts = list(_different(texts))
        if texts:
            self._collector.add_texts(record, number, texts, key)

    def _number(self, record: int, category: str, flags: tuple[str, ...], updated_on: str) -> int:
        """The number of what a record states. Looking for what varies costs less than making the statement."""
        said = (category, flags, updated_on)
        number = self._numbers.get(said)
        if number is None:
            default = self._default
            statement = Statement(category or default.label, self._scheme, default.jurisdiction, flags, updated_on)
            number = self._numbers[said] = self._collector.number(statement, record)
        return number

    def _key(self, media: _Media, case_id: str) -> str:
        key = text_of(media.media_id)
        if key == _NO_NUMBER:
            return ""
        if self._holds_cases and key:
            if KEY_SEPARATOR in key:
                raise Refused("bad-value")
            key = f"{case_id}{KEY_SEPARATOR}{key}" if case_id else ""
        return at_most(key, "key-too-long")

    def _flags(self, record: int, media: _Media) -> tuple[str, ...]:
        stated = (
            media.victim_identified,
            media.offender_identified,
            media.is_distributed,
            media.is_precategorized,
            media.series,
            media.tags,
        )
        try:
            flags, refusals = _known_flags_of(*stated)
        except TypeError:
            # Lists, which cannot be looked up, or too long to be kept.
            flags, refusals = _flags_of(*stated)
        for reason in refusals:
            self._collector.refuse(reason, record)
        if len(flags) > MAXIMUM_FLAGS:
            raise Refused("too-many-flags")
        return flags

    def _date(self, record: int, value: Any) -> str:
        if value is None:
            return ""
        try:
            text = text_of(value)
            if text.startswith("/"):
                legacy = _LEGACY_DATE.fullmatch(text)
                return date_of(legacy[1][:-3] if legacy else text, ("unix",))
            moment = moment_of(text)
            return "" if moment is None else moment.date().isoformat()
        except Refused as refused:
            self._collector.refuse(refused.reason, record)
            return ""


def _fingerprints_of(media: _Media) -> list[tuple[Any, Any]]:
    """What stands for fingerprints, blank ones aside: algorithms or names of them, and values."""
    met: list[tuple[Any, Any]] = []
    for algorithm, value in (
        (_MD5, media.md5),
        (_SHA1, media.sha1),
        (_PHOTODNA, media.photodna),
    ):
        if not _is_blank(value):
            met.append((algorithm, value))
    alternatives = media.alternative_hashes
    if isinstance(alternatives, list):
        for each in alternatives:
            if not isinstance(each, dict) or each.keys().isdisjoint(_ALTERNATIVE):
                met.append(("", each))
            elif not _is_blank(each.get("HashValue")):
                met.append((each.get("HashName"), each["HashValue"]))
    elif not _is_blank(alternatives):
        met.append(("", alternatives))
    return met


def _is_blank(value: Any) -> bool:
    return value is None or value == "" or (type(value) is str and value.isspace())


def _flags_of(*stated: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The flags that values state, which stand as in `_FLAG_WORDS`, then series and tags; and why some were refused."""
    words: set[str] = set()
    refusals: list[str] = []
    *truths, series, tags = stated
    for word, value in zip(_FLAG_WORDS, truths, strict=True):
        try:
            if truth_of(text_of(value)):
                words.add(word)
        except Refused as refused:
            refusals.append(refused.reason)
    for kind, value in (("series", series), ("tag", tags)):
        try:
            listed = _listed(value, separated=kind == "tag")
            words.update(at_most(f"{kind}:{each}", "value-too-long") for each in listed)
        except Refused as refused:
            refusals.append(refused.reason)
    return tuple(sorted(words)), tuple(refusals)


# By type, because 1, 1.0 and true are equal.
@functools.lru_cache(maxsize=4_096, typed=True)
def _known_flags_of(*stated: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The same, kept, because most records state what others do. Raises `TypeError` for what is too long to be kept."""
    if not all(map(_is_short, stated)):
        raise TypeError
    return _flags_of(*stated)


def _is_short(value: Any) -> bool:
    return len(value) <= MAXIMUM_TEXT if isinstance(value, str) else value is None or isinstance(value, int)


def _different(fingerprints: list[tuple[Algorithm, str]]) -> Iterator[tuple[Algorithm, str]]:
    """The fingerprints without those that repeat one before. What cannot be read stays, to be refused."""
    met: set[tuple[Algorithm, bytes]] = set()
    for algorithm, text in fingerprints:
        try:
            fingerprint = algorithm, digest_of(algorithm, text, "auto")
        except Refused:
            yield algorithm, text
            continue
        if fingerprint not in met:
            met.add(fingerprint)
            yield algorithm, text


def _listed(value: Any, *, separated: bool) -> list[str]:
    """Series or tags: a list, or a text, in which commas separate tags."""
    values = value if isinstance(value, list) else text_of(value).split(",") if separated else [value]
    return [text for each in values if (text := text_of(each))]
