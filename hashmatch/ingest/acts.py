"""An act of administration: one new manifest, recorded before it takes effect and put in place in one step."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from typing import Protocol

import msgspec

from hashmatch.columns.placement import PlacementSecret
from hashmatch.model.clock import Clock
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.model.vetting import VettingPolicy
from hashmatch.store.floor import FloorError, ManifestRefusedError
from hashmatch.store.manifest import (
    MAXIMUM_GENERATION_EPOCHS,
    MAXIMUM_HISTORY,
    Generation,
    HistoryRecord,
    ListState,
    Manifest,
    ManifestConflictError,
    SealedManifest,
)
from hashmatch.store.stagings import PendingNote
from hashmatch.store.store import Store
from hashmatch.trust.audit import AuditError

# How long a manifest is good for. Servers with the publisher's role renew it long before.
MANIFEST_LIFETIME = 7 * 86_400.0
_ATTEMPTS = 20

# Makes the next manifest from the current one; the second argument is the epoch that it will have.
Change = Callable[[Manifest, int], Manifest]


class Audit(Protocol):
    """Where acts are recorded before they take effect."""

    def append(self, act: str, actor: str, **details: str | int | float | bool) -> object:
        """Record durably, or raise."""
        ...


class Floor(Protocol):
    """What is remembered of the newest manifest ever served here; see `store.floor`."""

    def highest(self) -> int:
        """Its epoch; 0 if none."""
        ...

    def check(self, manifest: Manifest) -> None:
        """Raise `ManifestRefusedError` for a manifest that must not be served."""
        ...

    def raise_to(self, sealed: SealedManifest) -> None:
        """Remember a manifest."""
        ...


class Acts:
    """Carries out acts on one store; thread-safe.

    Methods raise `HashmatchError`, `StoreUnavailableError`, `StoreDamagedError` and what the audit log raises; then
    nothing has changed.
    """

    def __init__(self, store: Store, clock: Clock, policy: VettingPolicy, audit: Audit, floor: Floor) -> None:
        self.store = store
        self.clock = clock
        self.policy = policy
        self.audit = audit
        self._floor = floor

    def apply(
        self,
        change: Change,
        act: str,
        actor: str,
        validate_only: bool,
        *,
        create: bool = False,
        **details: str | int,
    ) -> Manifest:
        """Make the next manifest and put it in place; again from the start if somebody else was faster."""
        recorded = False
        for _ in range(_ATTEMPTS):
            sealed = self._load(create)
            epoch = sealed.manifest.epoch + 1
            manifest = change(sealed.manifest, epoch)
            if validate_only:
                return manifest
            if not recorded:
                self.audit.append(act, actor, **details)
                recorded = True
            now = self.clock.now()
            manifest = msgspec.structs.replace(
                manifest,
                epoch=epoch,
                renewals=0,
                published_at=now,
                expires_at=now + MANIFEST_LIFETIME,
                approvals_required=self.policy.approvals_required,
            )
            self._note_dropped(sealed.manifest, manifest, now)
            try:
                published = self.store.manifests.replace(sealed.raw, manifest)
            except ManifestConflictError:
                continue
            # It is published now, whatever becomes of our own notes: the record says what was intended, the manifest's
            # history that it happened, and a floor that cannot be raised stops this server from serving it.
            with contextlib.suppress(FloorError):
                self._floor.raise_to(published)
            with contextlib.suppress(AuditError):
                self.audit.append("in-effect", actor, epoch=epoch, of=act)
            return manifest
        raise HashmatchError(
            ErrorReason.CONFLICT, "others kept changing the lists at the same time; try again", retry_after=1.0
        )

    def _load(self, create: bool) -> SealedManifest:
        sealed = self.store.manifests.load()
        if sealed is not None:
            try:
                self._floor.check(sealed.manifest)
            except ManifestRefusedError as error:
                # To build on what the store lost would publish, under a new epoch, the loss of everybody's changes.
                raise HashmatchError(ErrorReason.STORE_DAMAGED, f"{error}; restore the store first") from error
            return sealed
        if not create:
            raise HashmatchError(ErrorReason.LIST_NOT_FOUND, "no list is defined yet")
        if self._floor.highest():
            # An empty store under a server that knows better has lost its data: it is to be restored, not begun anew.
            raise HashmatchError(ErrorReason.STORE_DAMAGED, "the store has lost the manifest; restore it first")
        now = self.clock.now()
        first = Manifest(
            store_id=secrets.token_hex(8),
            epoch=0,
            published_at=now,
            expires_at=now + MANIFEST_LIFETIME,
            placement=PlacementSecret.random(),
            approvals_required=self.policy.approvals_required,
        )
        return SealedManifest(b"", first)

    def _note_dropped(self, before: Manifest, after: Manifest, now: float) -> None:
        kept = after.segments()
        for segment_id, info in before.segments().items():
            if segment_id not in kept:
                self.store.stagings.note(segment_id, PendingNote(now, segment=info))
        if before.suppressions is not None and before.suppressions != after.suppressions:
            self.store.stagings.note(before.suppressions.blob_id, PendingNote(now, suppressions=before.suppressions))

    def record(self, epoch: int, act: str, actor: str, **rest: object) -> HistoryRecord:
        """What the history will say of an act."""
        return msgspec.convert(
            {"epoch": epoch, "at": self.clock.now(), "act": act, "actor": actor, **rest}, HistoryRecord
        )

    def succeeded(self, state: ListState, generation: Generation | None) -> ListState:
        """The state after `generation`, or nothing, took the place of the current one."""
        retained = state.retained if state.generation is None else (state.generation, *state.retained)
        number = state.last_number + 1
        epochs = state.epochs if generation is None else (*state.epochs, (number, generation.epoch))
        return msgspec.structs.replace(
            state,
            generation=generation,
            retained=retained[: self.policy.retained_generations],
            last_number=number,
            epochs=epochs[-MAXIMUM_GENERATION_EPOCHS:],
        )

    def renew(self) -> bool:
        """Vouch for the current manifest once more if half of its lifetime is over. Returns whether it was."""
        sealed = self.store.manifests.load()
        now = self.clock.now()
        if sealed is None or sealed.manifest.expires_at - now > MANIFEST_LIFETIME / 2:
            return False
        try:
            self._floor.check(sealed.manifest)
        except ManifestRefusedError:
            return False
        renewed = msgspec.structs.replace(
            sealed.manifest, renewals=sealed.manifest.renewals + 1, expires_at=now + MANIFEST_LIFETIME
        )
        try:
            self.store.manifests.replace(sealed.raw, renewed)
        except ManifestConflictError:
            return False
        return True


def with_state(manifest: Manifest, state: ListState, record: HistoryRecord) -> Manifest:
    """The manifest with a list's new state and one more record of history."""
    # Compaction changes how a list lies in the store, and nothing that anybody can see.
    if record.act != "compact":
        state = msgspec.structs.replace(state, changed_epoch=record.epoch, changed_at=record.at)
    return with_record(
        msgspec.structs.replace(manifest, lists={**manifest.lists, state.definition.list_id: state}), record
    )


def with_record(manifest: Manifest, record: HistoryRecord) -> Manifest:
    """The manifest with one more record of history."""
    return msgspec.structs.replace(manifest, history=(*manifest.history, record)[-MAXIMUM_HISTORY:])
