"""Stagings: generations that are written and vetted but serve nobody, and notes of what may be collected."""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec

from hashmatch.model.approvals import ApprovalRecord, ApprovalTerms
from hashmatch.model.decoding import UNREADABLE
from hashmatch.model.errors import ErrorReason
from hashmatch.model.feeds import FeedCheckpoint
from hashmatch.model.lists import ListNature
from hashmatch.model.vetting import DeliveryMode, VettingReport
from hashmatch.store.connection import Connection
from hashmatch.store.keys import Keys
from hashmatch.store.manifest import SuppressionsInfo
from hashmatch.store.sealed_records import Read, SealedRecords
from hashmatch.store.segments import SegmentInfo, StoreDamagedError
from hashmatch.trust.sealing import SealingKey

STAGED = "staged"
PUBLISHED = "published"
DISCARDED = "discarded"


class KindChange(msgspec.Struct, frozen=True):
    """What a generation changes in one kind of rows: a new base (`replace`), a delta on top, or nothing left."""

    kind: int
    segment: SegmentInfo | None
    replace: bool


class Staging(msgspec.Struct, frozen=True, kw_only=True):
    """A generation that is not served yet. `base_number` is the list's last generation number when it was computed."""

    staging_id: str
    list_id: str
    state: str
    base_number: int
    mode: DeliveryMode
    staged_by: str
    staged_at: float
    as_of: float
    file_name: str
    delivery_sha256: bytes
    delivery_bytes: int
    report: VettingReport
    changes: tuple[KindChange, ...]
    approval_digest: bytes
    approvals: tuple[ApprovalRecord, ...] = ()
    approvals_required: int = 2
    published_epoch: int = 0
    request_id: str = ""
    checkpoint: FeedCheckpoint | None = None
    # What the list was about when the delivery was vetted; None in stagings from before natures were recorded.
    nature: ListNature | None = None
    # The digest of the list's state that it was computed from; empty in stagings from before approvals were signed.
    base_sha256: bytes = b""
    store_id: str = ""

    @property
    def terms(self) -> ApprovalTerms:
        """What exactly an approval of it is for."""
        return ApprovalTerms(
            act="publish",
            subject=self.staging_id,
            store=self.store_id,
            list_id=self.list_id,
            generation=self.base_number + 1,
            base_sha256=self.base_sha256,
            content_sha256=self.delivery_sha256,
            report_sha256=self.approval_digest,
        )

    def segments(self) -> list[SegmentInfo]:
        """The segments that were written for it."""
        return [change.segment for change in self.changes if change.segment is not None]


class PendingNote(msgspec.Struct, frozen=True):
    """Something that nothing refers to yet, or any longer: it is deleted later unless something does by then.

    `staging_id` is the staging that it was written for, so that it stays where that cannot be opened: empty for none,
    None in notes from before it was stated.
    """

    noted_at: float
    segment: SegmentInfo | None = None
    suppressions: SuppressionsInfo | None = None
    staging_id: str | None = None


_NOTE_READER = msgspec.msgpack.Decoder(PendingNote)
_STAGING_READER = msgspec.msgpack.Decoder(Staging)


class StagingStore:
    """Keeps stagings and notes, sealed. Methods raise `StoreUnavailableError`."""

    def __init__(self, connection: Connection, keys: Keys, sealing_key: SealingKey) -> None:
        self._connection = connection
        self._keys = keys
        self._records = SealedRecords(
            connection,
            keys.stagings,
            sealing_key,
            _STAGING_READER,
            purpose=b"stagings",
            what="staged generation",
            unknown=ErrorReason.STAGING_NOT_FOUND,
        )

    def put(self, staging: Staging) -> None:
        """Write a new staging; what is there is changed with `change`."""
        self._records.put(staging.staging_id, staging)

    def get(self, staging_id: str) -> Staging:
        """A staging. Raises `HashmatchError` STAGING_NOT_FOUND and `StoreDamagedError`."""
        return self._records.get(staging_id)

    def change(self, staging_id: str, change: Callable[[Staging], Staging | None]) -> Staging:
        """Put what `change` makes of a staging in its place; see `SealedRecords.change`."""
        return self._records.change(staging_id, change)

    def read(self) -> Read[Staging]:
        """Every staging that can be opened, oldest first, and the ids of the others."""
        found = self._records.read()
        found.records.sort(key=lambda staging: (staging.staged_at, staging.staging_id))
        return found

    def all(self) -> list[Staging]:
        """Every staging that can be opened, oldest first."""
        return self.read().records

    def tell(self, unreadable: Collection[str]) -> None:
        """Raise `StoreDamagedError` that names stagings which cannot be opened, if there are any."""
        self._records.tell(unreadable)

    def under(self, key_ids: Collection[str]) -> list[Staging]:
        """Those that are sealed under one of these keys, and can be opened."""
        return self._records.under(key_ids)

    def remove(self, staging_id: str) -> None:
        """Forget a staging."""
        self._records.remove(staging_id)

    def note(self, identifier: str, note: PendingNote) -> None:
        """Note what may be collected."""
        self._connection.hash_set(self._keys.pending, identifier, msgspec.msgpack.encode(note))

    def notes(self) -> dict[str, PendingNote]:
        """Every note. Raises `StoreDamagedError`."""
        try:
            return {
                identifier.decode(): _NOTE_READER.decode(note)
                for identifier, note in self._connection.hash_all(self._keys.pending).items()
            }
        except UNREADABLE as error:
            raise StoreDamagedError("the notes of what to collect cannot be read") from error

    def is_noted(self, identifier: str, note: PendingNote) -> bool:
        """Whether a note is still this one: what is dropped once more is noted anew. Raises `StoreDamagedError`."""
        return self._noted(identifier, note) is not None

    def remove_note(self, identifier: str, note: PendingNote) -> None:
        """Forget a note, unless it is another one by now. Raises `StoreDamagedError`."""
        noted = self._noted(identifier, note)
        if noted is not None:
            self._connection.hash_compare_and_delete(self._keys.pending, identifier, noted)

    def _noted(self, identifier: str, note: PendingNote) -> bytes | None:
        """The note as it is kept, if it is this one."""
        kept = self._connection.hash_get(self._keys.pending, identifier)
        try:
            return kept if kept is not None and _NOTE_READER.decode(kept) == note else None
        except UNREADABLE as error:
            raise StoreDamagedError("a note of what to collect cannot be read") from error
