"""Stages a delivery: parse, compare, vet, write sealed segments that nobody is served from yet."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec

from hashmatch.formats.containers import OpenedParser
from hashmatch.formats.delivery import ParserOptions, Tally
from hashmatch.formats.registry import format_named, open_parser
from hashmatch.ingest.approvals import list_base
from hashmatch.ingest.assembly import Assembler
from hashmatch.ingest.changes import Changes, RowsChange, changes_of
from hashmatch.ingest.current import CurrentList
from hashmatch.ingest.evidence import gather
from hashmatch.ingest.vetting import Dates, report_on
from hashmatch.model.clock import Clock
from hashmatch.model.errors import ErrorReason, HashmatchError, invalid_field
from hashmatch.model.feeds import FeedCheckpoint
from hashmatch.model.lists import ListDefinition
from hashmatch.model.vetting import DeliveryMode, VettingPolicy, VettingReport
from hashmatch.store.manifest import ListState, Manifest, SuppressionsInfo, list_not_found
from hashmatch.store.segments import SegmentInfo
from hashmatch.store.stagings import STAGED, KindChange, PendingNote, Staging
from hashmatch.store.store import Store
from hashmatch.store.suppressions import Suppression

# Up to where a delivery goes that a feed pulled: known only when it was read.
CheckpointAtEnd = Callable[[], FeedCheckpoint | None]

MAXIMUM_FILE_NAME = 256
MAXIMUM_REQUEST_ID = 64


class DeliveryHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What a delivery is, ahead of its bytes. `as_of` in seconds since 1970, 0 for now.

    A feed states in `base_number` the list's last generation number that the delivery continues: it means nothing on
    top of another.
    """

    list_id: str
    format: str
    mode: DeliveryMode
    staged_by: str
    as_of: float = 0.0
    label: str = ""
    scheme: str = ""
    jurisdiction: str = ""
    profile: str = ""
    file_name: str = ""
    declared_records: int | None = None
    validate_only: bool = False
    request_id: str = ""
    delivery_sha256: bytes = b""
    base_number: int | None = None

    def validate(self, now: float, policy: VettingPolicy) -> None:
        """Raise `HashmatchError` INVALID_FIELD for the first field that is out of range."""
        if self.as_of > now + policy.clock_skew_seconds:
            raise invalid_field("header.as_of", "lies in the future")
        if self.as_of < 0:
            raise invalid_field("header.as_of", "lies before 1970")
        if len(self.file_name) > MAXIMUM_FILE_NAME or not self.file_name.isprintable():
            raise invalid_field("header.file_name", f"at most {MAXIMUM_FILE_NAME} printable characters")
        if len(self.request_id) > MAXIMUM_REQUEST_ID or not self.request_id.isprintable():
            raise invalid_field("header.request_id", f"at most {MAXIMUM_REQUEST_ID} printable characters")
        if self.delivery_sha256 and len(self.delivery_sha256) != hashlib.sha256().digest_size:
            raise invalid_field("header.delivery_sha256", "32 bytes")


def no_checkpoint() -> None:
    """What a delivery has that did not come from a feed."""


class Stager:
    """Stages deliveries for one store. It works for as long as the delivery is large: give it a thread or a process."""

    def __init__(self, store: Store, clock: Clock, policy: VettingPolicy) -> None:
        self._store = store
        self._clock = clock
        self._policy = policy

    def stage(
        self, header: DeliveryHeader, delivery: Iterable[bytes], checkpoint: CheckpointAtEnd = no_checkpoint
    ) -> Staging:
        """Take in a delivery. With `validate_only` nothing is written and the staging has no id.

        `checkpoint` is asked when the delivery was read to its end.

        Raises `HashmatchError`, `StoreUnavailableError` and `StoreDamagedError`; then nothing is staged.
        """
        now = self._clock.now()
        manifest = self.check(header)
        state = manifest.state(header.list_id)
        if header.base_number not in (None, state.last_number):
            raise HashmatchError(ErrorReason.STAGING_OUTDATED, "the list has changed since its feed began to read")
        earlier = _staged_before(header, self._store.stagings.all()) if header.request_id else None
        if earlier is not None:
            return earlier
        digest = hashlib.sha256()
        report, changes, size = self._vet(header, state, manifest, delivery, digest, now)
        if header.delivery_sha256 and header.delivery_sha256 != digest.digest():
            raise HashmatchError(
                ErrorReason.DELIVERY_DIGEST_MISMATCH, "the delivery's bytes do not have the SHA-256 that was stated"
            )
        staging_id = "" if header.validate_only else secrets.token_hex(8)
        written = () if header.validate_only else tuple(self._write(change, staging_id) for change in changes.rows)
        staging = Staging(
            staging_id=staging_id,
            list_id=header.list_id,
            state=STAGED,
            base_number=state.last_number,
            mode=header.mode,
            staged_by=header.staged_by,
            staged_at=now,
            as_of=header.as_of or now,
            file_name=header.file_name,
            delivery_sha256=digest.digest(),
            delivery_bytes=size,
            report=report,
            changes=written,
            approval_digest=approval_digest(digest.digest(), header.list_id, state.last_number, report),
            approvals_required=self._policy.approvals_required,
            request_id=header.request_id,
            checkpoint=checkpoint(),
            nature=state.definition.nature,
            base_sha256=list_base(manifest, header.list_id),
            store_id=manifest.store_id,
        )
        if not header.validate_only:
            self._store.stagings.put(staging)
        return staging

    def check(self, header: DeliveryHeader) -> Manifest:
        """Refuse what can be refused before the delivery is read; returns the manifest. Raises like `stage`.

        Deliveries that are read at the same moment do not see each other: a few more may come to wait than may.
        """
        header.validate(self._clock.now(), self._policy)
        sealed = self._store.manifests.load()
        if sealed is None:
            raise list_not_found(header.list_id)
        definition = sealed.manifest.state(header.list_id).definition
        check_nature_of(header.format, definition)
        open_parser(header.format, _options(header, definition))
        self._check_room(header, sealed.manifest)
        return sealed.manifest

    def _check_room(self, header: DeliveryHeader, manifest: Manifest) -> None:
        """Raise `HashmatchError` STAGINGS_FULL if as many stagings wait as may. A repeated request takes no place."""
        if header.validate_only:
            return
        stagings = self._store.stagings.all()
        waiting = [each for each in stagings if each.state == STAGED and not is_outdated(each, manifest)]
        of_list = sum(each.list_id == header.list_id for each in waiting)
        limits = (
            (of_list, self._policy.maximum_open_stagings_of_list, f"the list {header.list_id} has"),
            (len(waiting), self._policy.maximum_open_stagings, "all lists together have"),
        )
        for (count, maximum, whose), metadata in zip(limits, ({"list_id": header.list_id}, {}), strict=True):
            if count >= maximum and _staged_before(header, stagings) is None:
                raise HashmatchError(
                    ErrorReason.STAGINGS_FULL,
                    f"{whose} {count} staged generations that wait: publish or discard some first",
                    metadata={**metadata, "open": str(count), "maximum": str(maximum)},
                )

    def _vet(
        self,
        header: DeliveryHeader,
        state: ListState,
        manifest: Manifest,
        delivery: Iterable[bytes],
        digest: hashlib._Hash,
        now: float,
    ) -> tuple[VettingReport, Changes, int]:
        parser = OpenedParser(open_parser(header.format, _options(header, state.definition)))
        assembler = Assembler()
        size = 0
        with ThreadPoolExecutor(1, thread_name_prefix="digest") as hasher:
            hashed: Future[None] | None = None
            for data in delivery:
                if hashed is not None:
                    hashed.result()
                # The digest of the delivery takes as long as its parsing, and goes on beside it.
                hashed = hasher.submit(digest.update, data)
                size += len(data)
                for chunk in parser.feed(data):
                    assembler.add(chunk)
                check_declared_nature(parser.tally, state.definition)
        for chunk in parser.finish():
            assembler.add(chunk)
        check_declared_nature(parser.tally, state.definition)
        entries = assembler.finish(parser.statements)
        current = CurrentList(state, manifest.placement, self._store.segments)
        before = sum(current.counts.values())
        changes = changes_of(entries, header.mode, current, manifest.placement, state.last_number + 1)
        evidence = gather(changes, current, manifest, self._store)
        pulled = header.base_number is not None
        served = None if state.generation is None else state.generation.as_of
        report = report_on(
            parser.tally,
            changes,
            before,
            self._policy,
            evidence,
            Dates(header.as_of or now, served, by_clock=pulled or not header.as_of),
            declared_records=header.declared_records,
            pulled=pulled,
        )
        return report, changes, size

    def _write(self, change: RowsChange, staging_id: str) -> KindChange:
        if change.rows is None:
            return KindChange(change.kind, None, replace=True)
        return KindChange(change.kind, write_segment(self._store, self._clock, change, staging_id), change.replace)


def is_outdated(staging: Staging, manifest: Manifest) -> bool:
    """Whether the list has moved on, so that the staging can never be published."""
    state = manifest.lists.get(staging.list_id)
    return state is None or state.last_number != staging.base_number


def _staged_before(header: DeliveryHeader, stagings: Iterable[Staging]) -> Staging | None:
    """What the same request has staged already."""
    if not header.request_id or header.validate_only:
        return None
    for staging in stagings:
        if (staging.request_id, staging.staged_by) != (header.request_id, header.staged_by):
            continue
        if staging.list_id != header.list_id or header.delivery_sha256 not in (b"", staging.delivery_sha256):
            raise invalid_field("header.request_id", "was used for another delivery before")
        return staging
    return None


def check_nature_of(format_name: str, definition: ListDefinition) -> None:
    """Raise `HashmatchError` for a delivery of known-good files to a list that answers are given from.

    A corpus takes any format: it accuses nobody, and bodies deliver harmless files in the formats of their other lists.
    """
    if format_named(format_name).known_good and definition.nature.is_served:
        raise invalid_field(
            "header.format", f"{format_name} carries known-good files: only a list of the nature known-good takes them"
        )


def check_declared_nature(tally: Tally, definition: ListDefinition) -> None:
    """Raise `HashmatchError` for a delivery that says itself that it is about something else than the list.

    A match on exploitative or on test material must never read as one on illegal material.
    """
    declared = tally.declared_nature
    if declared is not None and not definition.nature.takes(declared):
        raise invalid_field(
            "header.list_id",
            f"the delivery says that it is of the nature {declared.title}, which a list of the nature "
            f"{definition.nature.title} does not take",
        )


def _options(header: DeliveryHeader, definition: ListDefinition) -> ParserOptions:
    return ParserOptions(
        label=header.label,
        scheme=header.scheme or definition.scheme,
        jurisdiction=header.jurisdiction or definition.jurisdiction,
        profile=header.profile,
    )


def write_segment(store: Store, clock: Clock, change: RowsChange, staging_id: str = "") -> SegmentInfo:
    """Write the rows of a change as a segment that nothing refers to yet, for a staging unless that is empty."""
    assert change.rows is not None

    def note(info: SegmentInfo) -> None:
        store.stagings.note(info.segment_id, PendingNote(clock.now(), segment=info, staging_id=staging_id))

    return store.segments.write(change.rows, note_pending=note)


def write_suppressions(store: Store, clock: Clock, suppressions: Iterable[Suppression]) -> SuppressionsInfo:
    """Write a version of the suppressions that nothing refers to yet."""

    def note(info: SuppressionsInfo) -> None:
        store.stagings.note(info.blob_id, PendingNote(clock.now(), suppressions=info, staging_id=""))

    return store.suppressions.write(suppressions, note_pending=note)


def approval_digest(delivery_sha256: bytes, list_id: str, base_number: int, report: VettingReport) -> bytes:
    """What an approval is for: the exact delivery, the state of the list it was compared with, and the report."""
    content = ("hashmatch approval v1", delivery_sha256, list_id, base_number, report)
    return hashlib.sha256(msgspec.msgpack.encode(content)).digest()
