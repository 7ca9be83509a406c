"""Stagings: generations that are written and vetted but serve nobody, and notes of what may be collected."""

from __future__ import annotations

import msgspec

from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.model.feeds import FeedCheckpoint
from hashmatch.model.lists import ListNature
from hashmatch.model.vetting import DeliveryMode, VettingReport
from hashmatch.store.connection import Connection
from hashmatch.store.keys import Keys
from hashmatch.store.manifest import SuppressionsInfo
from hashmatch.store.segments import SegmentInfo, StoreDamagedError
from hashmatch.trust.sealing import SealingError, SealingKey

STAGED = "staged"
PUBLISHED = "published"
DISCARDED = "discarded"


class KindChange(msgspec.Struct, frozen=True):
    """What a generation changes in one kind of rows: a new base (`replace`), a delta on top, or nothing left."""

    kind: int
    segment: SegmentInfo | None
    replace: bool


class ApprovalRecord(msgspec.Struct, frozen=True):
    """Somebody's approval."""

    approver: str
    approved_at: float
    note: str = ""


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

    def segments(self) -> list[SegmentInfo]:
        """The segments that were written for it."""
        return [change.segment for change in self.changes if change.segment is not None]


class PendingNote(msgspec.Struct, frozen=True):
    """Something that nothing refers to yet, or any longer: it is deleted later unless something does by then."""

    noted_at: float
    segment: SegmentInfo | None = None
    suppressions: SuppressionsInfo | None = None


class StagingStore:
    """Keeps stagings and notes, sealed. Methods raise `StoreUnavailableError`."""

    def __init__(self, connection: Connection, keys: Keys, sealing_key: SealingKey) -> None:
        self._connection = connection
        self._keys = keys
        self._sealer = sealing_key.sealer(b"", b"stagings")

    def put(self, staging: Staging) -> None:
        """Write or replace a staging."""
        sealed = self._sealer.seal_with_random_nonce(msgspec.msgpack.encode(staging), staging.staging_id.encode())
        self._connection.hash_set(self._keys.stagings, staging.staging_id, sealed)

    def get(self, staging_id: str) -> Staging:
        """A staging. Raises `HashmatchError` STAGING_NOT_FOUND and `StoreDamagedError`."""
        sealed = self._connection.hash_get(self._keys.stagings, staging_id)
        if sealed is None:
            raise HashmatchError(ErrorReason.STAGING_NOT_FOUND, "there is no such staged generation")
        return self._open(staging_id, sealed)

    def all(self) -> list[Staging]:
        """Every staging, oldest first."""
        found = self._connection.hash_all(self._keys.stagings)
        stagings = [self._open(staging_id.decode(), sealed) for staging_id, sealed in found.items()]
        return sorted(stagings, key=lambda staging: (staging.staged_at, staging.staging_id))

    def remove(self, staging_id: str) -> None:
        """Forget a staging."""
        self._connection.hash_delete(self._keys.stagings, staging_id)

    def note(self, identifier: str, note: PendingNote) -> None:
        """Note what may be collected."""
        self._connection.hash_set(self._keys.pending, identifier, msgspec.msgpack.encode(note))

    def notes(self) -> dict[str, PendingNote]:
        """Every note. Raises `StoreDamagedError`."""
        try:
            return {
                identifier.decode(): msgspec.msgpack.decode(note, type=PendingNote)
                for identifier, note in self._connection.hash_all(self._keys.pending).items()
            }
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise StoreDamagedError("the notes of what to collect cannot be read") from error

    def remove_note(self, identifier: str) -> None:
        """Forget a note."""
        self._connection.hash_delete(self._keys.pending, identifier)

    def _open(self, staging_id: str, sealed: bytes) -> Staging:
        try:
            plain = self._sealer.open_with_nonce(sealed, staging_id.encode())
            return msgspec.msgpack.decode(plain, type=Staging)
        except (SealingError, msgspec.MsgspecError) as error:
            raise StoreDamagedError("a staged generation does not verify") from error
