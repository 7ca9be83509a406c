"""The format `stopncii`: the hashes of StopNCII, which people make of their own intimate images.

How a record is read:

* The body gives its records no key: a record is what it says of one hash. The key is made of the kind of the signal and
  a digest of the hash, so that a key shows no hash.
* A record that is `Withdrawn` or `Deleted` withdraws its entry. The state of the later `lastModtimestamp` stands.
* The label is `hashStatus`. What cases and service providers say of the hash are flags: `case:STATUS` without the
  number of the case, `feedback:SOURCE:VALUE` and `feedback:SOURCE:tag:TAG`. Words that are not known are kept, those
  that cannot be read are refused alone. Where there are too many, the tags are left out, then the sources.
* `signalType` says what the hash is. Texts and URLs are no hashes of files, and TMK is not served: they are refused.
"""

from __future__ import annotations

import hashlib

from hashmatch.formats._collector import Collector
from hashmatch.formats._json_records import (
    MAXIMUM_FLAGS,
    Flags,
    JsonRecordsParser,
    Record,
    begins_with_key,
    date_at,
    plain_text,
    statement_of,
    text_in,
)
from hashmatch.formats._values import Refused, digest_of
from hashmatch.model.algorithms import Algorithm

SCHEME = "stopncii"

# As the body spells them, which is how they stand in keys.
_SIGNALS = {"ImagePDQ": Algorithm.PDQ, "VideoMD5": Algorithm.MD5, "ImageMD5": Algorithm.MD5}
_SPELLINGS = {signal.casefold(): signal for signal in _SIGNALS}
_NOT_SERVED = frozenset({"videotmk", "text", "url"})
_GONE = frozenset({"withdrawn", "deleted"})
# With the kind of the signal and a colon; fewer digits than the shortest hash has.
_KEY_BYTES = 12


def recognises(head: bytes) -> bool:
    """Whether a delivery that begins with `head` is in this format."""
    return begins_with_key(head, "hashRecords") or begins_with_key(head, "hashValue", "signalType")


def key_of(signal: str, digest: bytes) -> str:
    """The key of the entry for a hash of the kind that the body calls `signal`."""
    return f"{signal}:{hashlib.blake2b(digest, digest_size=_KEY_BYTES).hexdigest()}"


class StopNciiParser(JsonRecordsParser):
    """Reads one delivery. `tally.declared_records` is the sum of what the pages declare."""

    member = "hashRecords"
    marker = "hashValue"

    def take_record(self, number: int, record: Record) -> None:
        """Take one record. Raises `Refused` for one that is quarantined as a whole."""
        folded = text_in(record, "signalType").casefold()
        if folded in _NOT_SERVED:
            raise Refused("algorithm-not-served")
        # A record in another spelling is about the same entry.
        signal = _SPELLINGS.get(folded)
        if signal is None:
            raise Refused("unknown-algorithm")
        algorithm = _SIGNALS[signal]
        text = plain_text(record.get("hashValue"))
        if not text:
            raise Refused("no-fingerprint")
        digest = digest_of(algorithm, text, "auto")
        status = text_in(record, "hashStatus", "label-too-long")
        as_of = self.moment(record.get("lastModtimestamp"))
        key = key_of(signal, digest)
        if status.casefold() in _GONE:
            self.collector.add_key(number, key, removed=True, as_of=as_of)
            return
        statement = statement_of(
            SCHEME, self.collector.default, status, _flags(record, self.collector, number), date_at(as_of)
        )
        self.collector.add(algorithm, digest, self.collector.number(statement, number), number)
        self.collector.add_key(number, key, as_of=as_of)


def _flags(record: Record, collector: Collector, number: int) -> set[str]:
    """What cases and providers say. Of very many words the tags go, then who said what: the hash is not dropped."""
    flags, tags, values = (Flags(collector, number) for _ in range(3))
    cases = record.get("caseNumbers")
    for status in flags.items(list(cases.values()) if isinstance(cases, dict) else cases):
        flags.add("case:", status)
    for feedback in flags.objects(record.get("CSPFeedbacks")):
        value = feedback.get("feedbackValue")
        try:
            whose = f"feedback:{text_in(feedback, 'source')}:"
        except Refused as refused:
            collector.refuse(refused.reason, number)
            continue
        values.add(whose, value)
        for tag in flags.items(feedback.get("tags")):
            tags.add(f"{whose}tag:", tag)
    said = flags.words | values.words
    if len(said) + len(tags.words) <= MAXIMUM_FLAGS:
        return said | tags.words
    if len(said) <= MAXIMUM_FLAGS:
        return said
    return flags.words | {f"feedback:{word.rpartition(':')[2]}" for word in values.words}
