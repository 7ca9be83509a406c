"""The format `ncmec`: NCMEC's hash sharing API, version 2, as its XML comes over the wire.

A delivery is one `queryResult` or several, one after the other: the pages of a query, as a feed received them.

How an entry is read:

* An `image` or `video` states an entry, a `deletedImage` or `deletedVideo` withdraws one. The key is the member's id, a
  slash, and the member's own id of the entry. An entry without either is refused: nothing could withdraw it later.
* The entries of a query are not ordered by time. Where a key occurs twice, the state of the later `timestamp` stands,
  and of two with the same one the later in the delivery.
* A fingerprint that cannot be read or is of a type that is not served is refused alone; so is a timestamp that cannot
  be read, and then the entry counts as older than every dated state of it.
* An entry of which no fingerprint can be read changes nothing: what it stated before still stands.
* Entries stand in groups, `images` and `videos`, named in any case. What is named like an entry and stands elsewhere is
  refused: nobody knows what it means there, and a withdrawal may not vanish.
* What other members said of a fingerprint is a flag of its entry: `affirmative-feedback:TYPE` or
  `negative-feedback:TYPE`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from hashmatch.formats._collector import Collector, Limits
from hashmatch.formats._text import BLOCK_SIZE, Blocks, head_text
from hashmatch.formats._values import Refused, algorithm_of, at_most, moment_of
from hashmatch.formats._xml_stream import Part, XmlDocuments
from hashmatch.formats.delivery import Chunk, ParserOptions
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.lists import MAXIMUM_TEXT
from hashmatch.model.opinions import Statement

NAMESPACE = "https://hashsharing.ncmec.org/hashsharing/v2"
SCHEME = "ncmec"
# Between the two ids of a key. A member's id has none, so that the first one in a key is this.
KEY_SEPARATOR = "/"
MAXIMUM_FLAGS = 64

_GROUPS = frozenset({f"{NAMESPACE} images", f"{NAMESPACE} videos"})
_PAGING = f"{NAMESPACE} paging"
# The elements that are records, and whether they withdraw the entry.
_KINDS = {"image": False, "video": False, "deletedImage": True, "deletedVideo": True}
_RECORDS = {f"{NAMESPACE} {kind}": withdraws for kind, withdraws in _KINDS.items()}
_MEMBER = f"{NAMESPACE} member"
_TIMESTAMP = f"{NAMESPACE} timestamp"
_ID = f"{NAMESPACE} id"
_CLASSIFICATION = f"{NAMESPACE} classification"
_FINGERPRINTS = f"{NAMESPACE} fingerprints"
_FEEDBACK = {
    f"{NAMESPACE} affirmativeFeedback": "affirmative-feedback",
    f"{NAMESPACE} negativeFeedback": "negative-feedback",
}
# An entry as the body writes it, in characters that are what they look like: no brackets and ampersands, nothing that
# an encoding may replace, lines that end with LF. What could be read in two ways is possessive, so that a failure costs
# one reading; groups are not, because Python before 3.14 may lose what they captured.
_SPACE, _TEXT, _VALUE = r"[ \t\r\n]*+", r"[\t\n !\"#%'-;=?A-Z_a-z|]*+", r"[ !#%'-;=?A-Z_a-z|]*+"
_TYPE = r"[A-Za-z][A-Za-z0-9_.-]{0,31}+"
_PLAIN_ENTRY = re.compile(
    rf"{_SPACE}<({'|'.join(_KINDS)})>{_SPACE}"
    rf'<member id="({_VALUE})">{_TEXT}</member>{_SPACE}'
    rf"<timestamp>({_TEXT})</timestamp>{_SPACE}"
    rf"<id>({_TEXT})</id>{_SPACE}"
    rf"(?:<classification>({_TEXT})</classification>{_SPACE})?"
    rf"(?:<fingerprints>((?:{_SPACE}<({_TYPE})>{_TEXT}</\7>)*){_SPACE}</fingerprints>{_SPACE})?"
    r"</\1>"
).match
_PLAIN_FINGERPRINTS = re.compile(r"<([^</>]++)>([^<]*+)").findall
# The body's own name of a type, and types that it documents and that no comparison of ours serves.
_ALGORITHMS = {"pdna": Algorithm.PHOTODNA}
_NOT_SERVED = frozenset({"netclean", "tmkpdqf", "videntifier", "ssvhpdna", "ssvhsaferhash"})
# In any case, because what is not recognised as a withdrawal would go on being served.
_RECORDS_IN_ANY_CASE = {name.lower(): withdraws for name, withdraws in _RECORDS.items()}
_LOCAL_NAMES = frozenset(kind.lower() for kind in _KINDS)


@dataclass(slots=True)
class _Entry:
    """What the element of an entry says. `refused` has the reasons to refuse types of fingerprints."""

    member: str = ""
    entry_id: str = ""
    timestamp: str = ""
    classification: str = ""
    fingerprints: list[tuple[Algorithm, str]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    feedback: set[str] = field(default_factory=set)

    def add_fingerprints(self, named: Iterable[tuple[str, str]]) -> None:
        """Add what stands inside `fingerprints`: names of elements and texts. What is blank is not there."""
        for name, value in named:
            algorithm = _known_type_of(name) if len(name) <= MAXIMUM_TEXT else _type_of(name)
            if isinstance(algorithm, str):
                self.refused.append(algorithm)
            elif value := value.strip():
                self.fingerprints.append((algorithm, value))


def recognises(head: bytes) -> bool:
    """Whether a delivery that begins with `head` is in this format."""
    text = head_text(head)
    return "queryResult" in text and NAMESPACE in text


class NcmecParser:
    """Reads one delivery. Records are the entries, numbered from 1.

    `tally.declared_records` is the sum of what the documents declare; None if one of them does not.
    """

    def __init__(self, options: ParserOptions, limits: Limits | None = None) -> None:
        self._collector = Collector(options, limits)
        self.statements = self._collector.statements
        self.tally = self._collector.tally
        default = self._collector.default
        self._default = default._replace(scheme=default.scheme or SCHEME)
        self._blocks = Blocks()
        self._documents = XmlDocuments(f"{NAMESPACE} queryResult", _KINDS, self)
        self._declared: int | None = 0
        self._numbers: dict[tuple[str, tuple[str, ...], str], int] = {}

    @property
    def record(self) -> int:
        """The number of the last record."""
        return self.tally.records

    def feed(self, data: bytes) -> Iterator[Chunk]:
        """Take the next bytes, of any number, cut anywhere."""
        if block := self._blocks.add(data):
            yield from self._read(block)

    def finish(self) -> Iterator[Chunk]:
        """Take the end of the delivery. Raises `DeliveryError` if it is truncated."""
        yield from self._read(self._blocks.rest())
        self._documents.finish()
        self.tally.declared_records = self._declared
        if not self._collector.is_empty:
            yield self._collector.take()

    def _read(self, block: bytes) -> Iterator[Chunk]:
        try:
            for start in range(0, len(block), BLOCK_SIZE):
                self._documents.feed(block[start : start + BLOCK_SIZE])
                if self._collector.is_full:
                    yield self._collector.take()
        finally:
            self._collector.settle()

    def start_group(self, name: str, attributes: dict[str, str]) -> None:
        """Take an element right inside the root."""
        holds_entries = name.lower() in _GROUPS
        if not holds_entries and _is_named_like_an_entry(name):
            self._take(_Entry(), None)
        elif holds_entries or ("count" in attributes and name.lower() != _PAGING):
            count = attributes.get("count", "")
            is_number = count.isascii() and count.isdecimal() and len(count) < 16
            self._declared = None if self._declared is None or not is_number else self._declared + int(count)

    def take_record(self, group: str, name: str, parts: list[Part]) -> None:
        """Take an element two levels inside the root."""
        if group.lower() in _GROUPS:
            withdraws = _RECORDS.get(name)
            if withdraws is None:
                withdraws = _RECORDS_IN_ANY_CASE.get(name.lower())
            self._take(_entry_of(parts), withdraws)
        elif group.lower() != _PAGING and _is_named_like_an_entry(name):
            self._take(_entry_of(parts), None)

    def take_plain(self, group: str, text: str, start: int) -> int:
        """Take entries as the body writes them, of which others have said nothing."""
        if group.lower() not in _GROUPS:
            return start
        while match := _PLAIN_ENTRY(text, start):
            kind, member, timestamp, entry_id, classification, fingerprints = match.group(1, 2, 3, 4, 5, 6)
            entry = _Entry(member.strip(), entry_id.strip(), timestamp.strip(), (classification or "").strip())
            if fingerprints:
                entry.add_fingerprints(_PLAIN_FINGERPRINTS(fingerprints))
            self._take(entry, _KINDS[kind])
            start = match.end()
        return start

    def _take(self, entry: _Entry, withdraws: bool | None) -> None:
        self.tally.records += 1
        record = self.tally.records
        try:
            if withdraws is None:
                raise Refused("unknown-record")
            self._take_entry(record, entry, withdraws=withdraws)
        except Refused as refused:
            self._collector.refuse(refused.reason, record, max(1, len(entry.fingerprints) + len(entry.refused)))

    def _take_entry(self, record: int, entry: _Entry, *, withdraws: bool) -> None:
        key = _key_of(entry)
        label = at_most(entry.classification, "label-too-long")
        flags = self._flags(record, entry.feedback) if entry.feedback else ()
        if not withdraws and not entry.fingerprints and not entry.refused:
            raise Refused("no-fingerprint")
        updated_on, as_of = self._moment(record, entry.timestamp)
        if withdraws:
            self._collector.add_key(record, key, removed=True, as_of=as_of)
            return
        number = self._number(record, label, flags, updated_on)
        for reason in entry.refused:
            self._collector.refuse(reason, record)
        if entry.fingerprints:
            self._collector.add_texts(record, number, entry.fingerprints, key, as_of)

    def _number(self, record: int, label: str, flags: tuple[str, ...], updated_on: str) -> int:
        """The number of what an entry states. Looking for what varies costs less than making the statement."""
        said = (label, flags, updated_on)
        number = self._numbers.get(said)
        if number is None:
            default = self._default
            scheme = SCHEME if label else default.scheme
            statement = Statement(label or default.label, scheme, default.jurisdiction, flags, updated_on)
            number = self._numbers[said] = self._collector.number(statement, record)
        return number

    def _flags(self, record: int, feedback: set[str]) -> tuple[str, ...]:
        """What other members said, of which a text that is too long is refused alone."""
        too_long = {word for word in feedback if len(word) > MAXIMUM_TEXT}
        if too_long:
            self._collector.refuse("value-too-long", record, len(too_long))
        if len(feedback) > MAXIMUM_FLAGS:
            raise Refused("too-many-flags")
        return tuple(sorted(feedback - too_long))

    def _moment(self, record: int, text: str) -> tuple[str, float]:
        """The date and the time in seconds since 1970; the time is 0 if it is not known."""
        try:
            moment = moment_of(text)
        except Refused as refused:
            self._collector.refuse(refused.reason, record)
            return "", 0.0
        return ("", 0.0) if moment is None else (moment.date().isoformat(), moment.timestamp())


def _entry_of(parts: list[Part]) -> _Entry:
    entry = _Entry()
    for name, attributes, text, children in parts:
        if name == _FINGERPRINTS:
            entry.add_fingerprints((kind, value) for kind, _, value in children)
        elif name == _MEMBER:
            entry.member = attributes.get("id", "").strip()
        elif name == _TIMESTAMP:
            entry.timestamp = text.strip()
        elif name == _ID:
            entry.entry_id = text.strip()
        elif name == _CLASSIFICATION:
            entry.classification = text.strip()
        else:
            for kind, said, _ in children:
                if kind in _FEEDBACK:
                    entry.feedback.add(f"{_FEEDBACK[kind]}:{_bare(said.get('type', ''))}")
    return entry


def _is_named_like_an_entry(name: str) -> bool:
    """Whether an element has the name of one that is an entry, in any case and namespace."""
    return name.rpartition(" ")[2].lower() in _LOCAL_NAMES


def _key_of(entry: _Entry) -> str:
    if not entry.member or not entry.entry_id:
        raise Refused("key-missing")
    if KEY_SEPARATOR in entry.member:
        raise Refused("bad-value")
    return at_most(f"{entry.member}{KEY_SEPARATOR}{entry.entry_id}", "key-too-long")


def _bare(name: str) -> str:
    """A name of a type without what it varies in."""
    return "".join(character for character in name.lower() if character.isalnum())


def _type_of(name: str) -> Algorithm | str:
    """The algorithm of an element inside `fingerprints`, or the reason for which it is refused."""
    bare = _bare(name.rpartition(" ")[2])
    if bare in _NOT_SERVED:
        return "algorithm-not-served"
    try:
        return algorithm_of(bare, _ALGORITHMS)
    except Refused as refused:
        return refused.reason


# As many as a body has types.
_known_type_of = functools.lru_cache(maxsize=256)(_type_of)
