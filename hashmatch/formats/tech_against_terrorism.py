"""The format `tech-against-terrorism`: the hash list of Tech Against Terrorism's content platform.

How a record is read:

* The key is `id`. A record that is `deleted` withdraws its entry. The state of the later `updated_on` stands; a record
  that says nothing of it comes after those before it. Where there is none, `created_on` is the date of the statement.
* The label is `ideology`; the kind of the file is the flag `file-type:KIND`.
* `count` is how many records there are from the page on. What the first page declares is held against what came.
"""

from __future__ import annotations

from hashmatch.formats._json_records import (
    Counts,
    Flags,
    JsonRecordsParser,
    Record,
    begins_with_key,
    date_at,
    plain_text,
    seconds_of,
    statement_of,
    text_in,
)
from hashmatch.formats._values import Refused, algorithm_of, digest_of, truth_of

SCHEME = "tech-against-terrorism"


def recognises(head: bytes) -> bool:
    """Whether a delivery that begins with `head` is in this format."""
    return begins_with_key(head, "hash_digest") or begins_with_key(head, "results", "checkpoint")


class TechAgainstTerrorismParser(JsonRecordsParser):
    """Reads one delivery. `tally.declared_records` is what the first page declares."""

    member = "results"
    marker = "hash_digest"

    def take_record(self, number: int, record: Record) -> None:
        """Take one record. Raises `Refused` for one that is quarantined as a whole."""
        key = text_in(record, "id", "key-too-long")
        if not key:
            raise Refused("key-missing")
        # Not by when the record was made: a deletion that says no other time would lose to the state that it deletes.
        as_of = self.moment(record.get("updated_on"))
        if truth_of(text_in(record, "deleted")):
            self.collector.add_key(number, key, removed=True, as_of=as_of)
            return
        text = plain_text(record.get("hash_digest"))
        if not text:
            raise Refused("no-fingerprint")
        algorithm = algorithm_of(text_in(record, "algorithm"), {})
        digest = digest_of(algorithm, text, "auto")
        flags = Flags(self.collector, number)
        flags.add("file-type:", record.get("file_type"))
        statement = statement_of(
            SCHEME,
            self.collector.default,
            text_in(record, "ideology", "label-too-long"),
            flags.words,
            date_at(seconds_of(record.get("updated_on")) or seconds_of(record.get("created_on"))),
        )
        self.collector.add(algorithm, digest, self.collector.number(statement, number), number)
        self.collector.add_key(number, key, as_of=as_of)

    def declared(self, counts: Counts) -> int | None:
        """What the first page declares: a later one counts what is left, or everything again."""
        return counts.first
