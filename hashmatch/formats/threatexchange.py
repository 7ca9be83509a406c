"""The format `threatexchange`: updates of indicators of Meta's ThreatExchange, with the descriptors of its members.

How a record is read:

* The key is the indicator's `id`. An indicator that `should_delete`, or has no descriptors (any more), withdraws its
  entry. The state of the later `last_updated` stands.
* Each descriptor is one member's opinion and becomes a statement of its own on the hash; its label is `status`. Each of
  them counts as a fingerprint read.
* What NON_MALICIOUS says is that a hash should not be listed. Beside other opinions it stays, as one that disagrees;
  where every member says so, the entry is withdrawn: nobody claims that it belongs on the list.
* Of descriptors that have a next page, the first one says what it says, and that others are missing is counted. It
  withdraws nothing: a member on the next page may claim the hash.
* Flags are `owner:ID`, the descriptor's tags, and the reactions of other members, `reaction:KEY:MEMBER`. One that
  cannot be read is refused alone.
"""

from __future__ import annotations

from hashmatch.formats._collector import Collector
from hashmatch.formats._json_records import (
    MAXIMUM_FLAGS,
    Flags,
    JsonRecordsParser,
    Record,
    begins_with_key,
    date_at,
    listed,
    plain_text,
    statement_of,
    text_in,
)
from hashmatch.formats._values import Refused, digest_of, truth_of
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.opinions import Statement

SCHEME = "threatexchange"

_ALGORITHMS = {
    "HASH_MD5": Algorithm.MD5,
    "HASH_VIDEO_MD5": Algorithm.MD5,
    "HASH_SHA1": Algorithm.SHA1,
    "HASH_SHA256": Algorithm.SHA256,
    "HASH_SHA512": Algorithm.SHA512,
    "HASH_PDQ": Algorithm.PDQ,
    "HASH_PHOTODNA": Algorithm.PHOTODNA,
}
# Hashes of other kinds, and indicators that are no hashes of files, of which there are many.
_NOT_SERVED = ("HASH_", "TEXT", "URI", "DOMAIN", "IP_", "EMAIL", "FILE", "DEBUG_", "TREND_")


def recognises(head: bytes) -> bool:
    """Whether a delivery that begins with `head` is in this format."""
    return begins_with_key(head, "indicator", "type") and (
        begins_with_key(head, "descriptors") or begins_with_key(head, "should_delete")
    )


class ThreatExchangeParser(JsonRecordsParser):
    """Reads one delivery. The body does not declare how many records there are."""

    member = "data"
    marker = "indicator"

    def take_record(self, number: int, record: Record) -> None:
        """Take one record. Raises `Refused` for one that is quarantined as a whole."""
        key = text_in(record, "id", "key-too-long")
        if not key:
            raise Refused("key-missing")
        as_of = self.moment(record.get("last_updated"))
        descriptors = _descriptors(record)
        is_deleted = truth_of(text_in(record, "should_delete"))
        more = not is_deleted and _have_next_page(record)
        nobody_claims = all(map(_is_denial, descriptors))
        if nobody_claims and more:
            raise Refused("opinions-missing")
        if is_deleted or nobody_claims:
            self.collector.add_key(number, key, removed=True, as_of=as_of)
            return
        algorithm = _algorithm_of(text_in(record, "type").upper())
        text = plain_text(record.get("indicator"))
        if not text:
            raise Refused("no-fingerprint")
        digest = digest_of(algorithm, text, "auto")
        statements = {self._statement(number, descriptor, date_at(as_of)) for descriptor in descriptors}
        for statement in sorted(statements):
            self.collector.add(algorithm, digest, self.collector.number(statement, number), number)
        self.collector.add_key(number, key, as_of=as_of)
        if more:
            self.collector.refuse("opinions-missing", number)

    def _statement(self, number: int, descriptor: Record, date: str) -> Statement:
        label = text_in(descriptor, "status", "label-too-long")
        flags = _flags(descriptor, self.collector, number)
        return statement_of(SCHEME, self.collector.default, label, flags, date)


def _descriptors(record: Record) -> list[Record]:
    value = record.get("descriptors")
    # The one descriptor itself, where a list of one was written without its brackets.
    found = [value] if isinstance(value, dict) and "data" not in value and value else listed(value)
    if not all(isinstance(each, dict) for each in found):
        raise Refused("bad-value")
    return found


def _have_next_page(record: Record) -> bool:
    """Whether there are more descriptors than stand here, as Graph APIs say it."""
    descriptors = record.get("descriptors")
    paging = descriptors.get("paging") if isinstance(descriptors, dict) else None
    return isinstance(paging, dict) and bool(paging.get("next"))


def _is_denial(descriptor: Record) -> bool:
    return text_in(descriptor, "status").upper() == "NON_MALICIOUS"


def _algorithm_of(name: str) -> Algorithm:
    if name in _ALGORITHMS:
        return _ALGORITHMS[name]
    raise Refused("algorithm-not-served" if name.startswith(_NOT_SERVED) else "unknown-algorithm")


def _flags(descriptor: Record, collector: Collector, number: int) -> set[str]:
    flags, by_member, by_key = (Flags(collector, number) for _ in range(3))
    for tag in flags.items(descriptor.get("tags")):
        flags.add("", tag.get("text") if isinstance(tag, dict) else tag)
    owner = descriptor.get("owner")
    flags.add("owner:", owner.get("id") if isinstance(owner, dict) else owner)
    for reaction in flags.objects(descriptor.get("reactions")):
        try:
            key, members = text_in(reaction, "key"), plain_text(reaction.get("value")).split(",")
        except Refused as refused:
            collector.refuse(refused.reason, number)
            continue
        by_key.add("reaction:", key)
        for member in members:
            by_member.add(f"reaction:{key}:", member)
    # Where very many members reacted, what they said is kept, who of them did is not.
    told = by_member if len(flags.words) + len(by_member.words) <= MAXIMUM_FLAGS else by_key
    return flags.words | told.words
