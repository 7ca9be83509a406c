"""An act of administration: one new manifest, recorded before it takes effect and put in place in one step."""

from __future__ import annotations

import contextlib
import functools
import secrets
from collections.abc import Callable
from typing import Protocol

import msgspec

from hashmatch.columns.placement import PlacementSecret
from hashmatch.ingest.approvals import Approvals, Approved
from hashmatch.model.clock import Clock
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.model.vetting import VettingPolicy
from hashmatch.store.floor import FloorError, ManifestRefusedError
from hashmatch.store.manifest import (
    MAXIMUM_GENERATION_EPOCHS,
    MAXIMUM_HISTORY,
    UNSEEN_ACTS,
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
# Whether an act, upon a manifest, changes nothing that anybody is answered, so that nobody has to approve it.
Harmless = Callable[[Manifest], bool]


def never(_manifest: Manifest) -> bool:
    """What most acts are."""
    return False


def always(_manifest: Manifest) -> bool:
    """What acts are that only change how things lie in the store."""
    return True


class Audit(Protocol):
    """Where acts are recorded before they take effect."""

    def append(self, act: str, actor: str, **details: str | int | float | bool) -> object:
        """Record durably, or raise."""
        ...


def recorded_once(audit: Audit) -> Callable[..., object]:
    """`audit.append` for one act, which writes each record once however often the change has to be tried."""
    return functools.cache(audit.append)


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
        self.approvals = Approvals(clock, policy)
        self._floor = floor

    def apply(
        self,
        change: Change,
        act: str,
        actor: str,
        validate_only: bool,
        *,
        create: bool = False,
        approved: Approved | None = None,
        harmless: Harmless = never,
        **details: str | int,
    ) -> Manifest:
        """Make the next manifest and put it in place; again from the start if somebody else was faster.

        Whether enough people agreed is looked at here, upon the very manifest that the act changes: what has become of
        the approvers since they approved counts. `change` adds one record to the history, which gets their names.
        """
        recorded = False
        act_id = secrets.token_hex(8)
        for _ in range(_ATTEMPTS):
            sealed = self._load(create)
            epoch = sealed.manifest.epoch + 1
            approvers = self._approvers(sealed.manifest, approved, harmless, validate_only)
            manifest = change(sealed.manifest, epoch)
            if validate_only:
                return manifest
            if not recorded:
                self.audit.append(act, actor, **details)
                recorded = True
            now = self.clock.now()
            manifest = msgspec.structs.replace(
                _with_approvals(_marked(manifest, epoch, act_id), approved, approvers, now),
                epoch=epoch,
                renewals=0,
                published_at=now,
                expires_at=now + MANIFEST_LIFETIME,
                approvals_required=self.policy.approvals_required,
                approvals_signed=self.policy.signatures_required,
            )
            self._note_dropped(sealed.manifest, manifest, now)
            try:
                published = self.store.manifests.replace(sealed.raw, manifest)
            except ManifestConflictError:
                if not self._took_effect(act_id):
                    continue
            else:
                # It is published now, whatever becomes of our own notes: the record says what was intended, the
                # manifest's history that it happened, and a floor that cannot be raised stops this server from serving
                # it. A floor that is above it already has seen what others built upon it.
                with contextlib.suppress(FloorError, ManifestRefusedError):
                    self._floor.raise_to(published)
            with contextlib.suppress(AuditError):
                self.audit.append("in-effect", actor, epoch=epoch, of=act)
            return manifest
        raise HashmatchError(
            ErrorReason.CONFLICT, "others kept changing the lists at the same time; try again", retry_after=1.0
        )

    def _took_effect(self, act_id: str) -> bool:
        """Whether an act is in place though the store says that it is not the one.

        The word that it is was lost, the request was repeated, and meanwhile others have built upon it.
        """
        manifest = self.manifest()
        return manifest is not None and any(record.act_id == act_id for record in manifest.history)

    def _approvers(
        self, manifest: Manifest, approved: Approved | None, harmless: Harmless, validate_only: bool
    ) -> tuple[str, ...]:
        """Who approved. Raises `HashmatchError` unless that is enough."""
        if approved is not None:
            return self.approvals.check(manifest, approved)
        if self.approvals.needed and not validate_only and not harmless(manifest):
            raise HashmatchError(
                ErrorReason.PROPOSAL_REQUIRED,
                f"this takes {self.approvals.required} signed approvals: propose it, and carry it out when approved",
                metadata={"required": str(self.approvals.required)},
            )
        return ()

    def manifest(self) -> Manifest | None:
        """What is published now, None if nothing ever was. Raises `StoreUnavailableError` and `StoreDamagedError`."""
        sealed = self.store.manifests.load()
        return None if sealed is None else sealed.manifest

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
                self.store.stagings.note(segment_id, PendingNote(now, segment=info, staging_id=""))
        dropped = before.suppressions
        if dropped is not None and dropped != after.suppressions:
            self.store.stagings.note(dropped.blob_id, PendingNote(now, suppressions=dropped, staging_id=""))

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
        if sealed is None or sealed.manifest.expires_at - self.clock.now() > MANIFEST_LIFETIME / 2:
            return False
        return self._vouch_for(sealed)

    def overtake(self) -> None:
        """Have whoever is about to put an act in place start again, and so look at what waits as it is now.

        Whoever was faster is found in the manifest after this.
        """
        sealed = self.store.manifests.load()
        if sealed is not None:
            self._vouch_for(sealed)

    def _vouch_for(self, sealed: SealedManifest) -> bool:
        """Put the same manifest in its place, good for longer. Returns whether nobody was faster."""
        try:
            self._floor.check(sealed.manifest)
        except ManifestRefusedError:
            return False
        renewed = msgspec.structs.replace(
            sealed.manifest,
            renewals=sealed.manifest.renewals + 1,
            expires_at=self.clock.now() + MANIFEST_LIFETIME,
        )
        try:
            self.store.manifests.replace(sealed.raw, renewed)
        except ManifestConflictError:
            return False
        return True


def _marked(manifest: Manifest, epoch: int, act_id: str) -> Manifest:
    """The manifest with the act's own id at its record, which is the last."""
    *before, record = manifest.history
    if record.epoch != epoch:
        return manifest
    return msgspec.structs.replace(manifest, history=(*before, msgspec.structs.replace(record, act_id=act_id)))


def _with_approvals(manifest: Manifest, approved: Approved | None, approvers: tuple[str, ...], now: float) -> Manifest:
    """The manifest with who approved what was done last, and with what must not be done again."""
    if approved is None:
        return manifest
    *before, record = manifest.history
    spent = {proposal_id: expires_at for proposal_id, expires_at in manifest.spent.items() if expires_at > now}
    if approved.proposal_id:
        spent[approved.proposal_id] = approved.terms.expires_at
    policy = manifest.policy
    if policy is not None and policy.epoch == record.epoch:
        policy = msgspec.structs.replace(policy, approvers=approvers)
    return msgspec.structs.replace(
        manifest, history=(*before, msgspec.structs.replace(record, approvers=approvers)), policy=policy, spent=spent
    )


def with_state(manifest: Manifest, state: ListState, record: HistoryRecord) -> Manifest:
    """The manifest with a list's new state and one more record of history."""
    # Compaction changes how a list lies in the store, and nothing that anybody can see.
    if record.act not in UNSEEN_ACTS:
        state = msgspec.structs.replace(state, changed_epoch=record.epoch, changed_at=record.at)
    return with_record(
        msgspec.structs.replace(manifest, lists={**manifest.lists, state.definition.list_id: state}), record
    )


def with_record(manifest: Manifest, record: HistoryRecord) -> Manifest:
    """The manifest with one more record of history."""
    return msgspec.structs.replace(manifest, history=(*manifest.history, record)[-MAXIMUM_HISTORY:])
