"""Lists and their generations: defining, approving, publishing, rolling back and withdrawing them.

The order of a publication is fixed: the segments are read back and verified, the act is in the audit log, and only then
the manifest is swapped. A crash at any moment leaves the old manifest or the new one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import msgspec

from hashmatch.ingest.acts import Acts, always, recorded_once, with_state
from hashmatch.ingest.approvals import Approved, approved_staging
from hashmatch.ingest.changes import Changes, RowsChange, withdrawal_of
from hashmatch.ingest.current import CurrentList
from hashmatch.ingest.entry_hashes import EntryHash
from hashmatch.ingest.gates import check_gates, gate_not_met
from hashmatch.ingest.staging import write_segment
from hashmatch.ingest.withdrawn import WITHDRAWN, returning_with, with_withdrawals
from hashmatch.model.errors import ErrorReason, HashmatchError, invalid_field
from hashmatch.model.lists import ListDefinition, check_reason
from hashmatch.store.manifest import Generation, ListState, Manifest, ManifestConflictError, list_not_found
from hashmatch.store.segments import SegmentInfo, StoreDamagedError
from hashmatch.store.stagings import DISCARDED, PUBLISHED, STAGED, KindChange, Staging


class _NothingToWithdrawError(Exception):
    """The list has nothing of what is to be withdrawn: a generation of its own would only drop one that is retained."""

    def __init__(self, generation: Generation, epoch: int, missing: int) -> None:
        super().__init__("nothing to withdraw")
        self.generation = generation
        self.epoch = epoch
        self.missing = missing


class Publisher:
    """The acts on lists; thread-safe.

    Methods raise what `Acts` raises; then nothing has changed.
    """

    def __init__(self, acts: Acts) -> None:
        self._acts = acts
        self._store = acts.store
        self._clock = acts.clock
        self._policy = acts.policy
        self._audit = acts.audit

    # ---- lists

    def define_list(
        self, definition: ListDefinition, actor: str, *, validate_only: bool = False, approved: Approved | None = None
    ) -> Manifest:
        """Create a list, or change what is stated about it."""
        definition.validate()

        def serves_nothing(manifest: Manifest) -> bool:
            state = manifest.lists.get(definition.list_id)
            return state is None or not state.last_number

        def change(manifest: Manifest, epoch: int) -> Manifest:
            state = manifest.lists.get(definition.list_id)
            if state is not None and state.last_number and state.definition.nature is not definition.nature:
                # What was vetted as one thing would be served as another.
                raise invalid_field("nature", "is settled by the first publication; define another list")
            if state is not None and state.last_number and state.definition.jurisdiction != definition.jurisdiction:
                # Policies go by it: what some may not see would come before them, or what they saw be gone.
                raise invalid_field("jurisdiction", "is settled by the first publication; define another list")
            state = (
                ListState(definition=definition)
                if state is None
                else msgspec.structs.replace(state, definition=definition)
            )
            record = self._acts.record(epoch, "define-list", actor, list_id=definition.list_id)
            return with_state(manifest, state, record)

        return self._acts.apply(
            change,
            "define-list",
            actor,
            validate_only,
            create=True,
            approved=approved,
            harmless=serves_nothing,
            list_id=definition.list_id,
        )

    # ---- stagings

    def staging(self, staging_id: str) -> Staging:
        """A staged generation."""
        return self._store.stagings.get(staging_id)

    def stagings(self, list_id: str = "") -> list[Staging]:
        """The staged generations that are neither published nor discarded, oldest first."""
        return [
            staging
            for staging in self._store.stagings.all()
            if staging.state == STAGED and list_id in ("", staging.list_id)
        ]

    def approve(
        self, staging_id: str, caller: str, digest: bytes = b"", note: str = "", *, envelope: bytes = b""
    ) -> Staging:
        """Record an approval: of who signed `envelope`, or else of `caller` for the report that has `digest`.

        Approving twice counts once.
        """
        record = recorded_once(self._audit)

        def change(staging: Staging) -> Staging | None:
            _must_be_open(staging)
            manifest = self._acts.manifest()
            if manifest is None:
                raise list_not_found(staging.list_id)
            approval = self._acts.approvals.given(
                manifest, staging.terms, staging.staged_by, caller=caller, digest=digest, envelope=envelope, note=note
            )
            if any(each.approver == approval.approver for each in staging.approvals):
                return None
            record(
                "approve",
                approval.approver,
                staging_id=staging_id,
                list_id=staging.list_id,
                note=note,
                signed=bool(envelope),
                caller=caller,
            )
            return msgspec.structs.replace(staging, approvals=(*staging.approvals, approval))

        return self._store.stagings.change(staging_id, change)

    def discard(self, staging_id: str, actor: str, reason: str = "") -> Staging:
        """Drop a staged generation. One that was published before that is found to be is not dropped."""
        check_reason(reason, required=False)
        record = recorded_once(self._audit)

        def change(staging: Staging) -> Staging:
            _must_be_open(staging)
            self._must_not_be_published(staging)
            record("discard", actor, staging_id=staging_id, list_id=staging.list_id, reason=reason)
            return msgspec.structs.replace(staging, state=DISCARDED)

        staging = self._store.stagings.change(staging_id, change)
        # Another server may be publishing it: either it was faster, or it looks again and finds it dropped.
        self._acts.overtake()
        self._must_not_be_published(staging)
        return staging

    def publish(
        self,
        staging_id: str,
        actor: str,
        *,
        accept_gates: Sequence[str] = (),
        reason: str = "",
        validate_only: bool = False,
    ) -> tuple[Generation, int]:
        """Make a staged generation visible; publishing again what is published changes nothing.

        Returns the generation and the epoch.
        """
        check_reason(reason, required=bool(accept_gates))
        staging = self.staging(staging_id)
        done = self._already_published(staging)
        if done is not None:
            return done
        _must_be_open(staging)
        approved = approved_staging(staging)
        manifest = self._acts.manifest()
        if manifest is not None:
            # Before segments are read back, which takes long; it is looked at again when it takes effect.
            self._acts.approvals.check(manifest, approved)
        check_gates(staging.report, accept_gates)
        for info in staging.segments():
            self._store.segments.open(info).verify()

        def change(manifest: Manifest, epoch: int) -> Manifest:
            # Somebody may have dropped it since, also while it was read back, or sealed it under another key.
            now = _must_be_open(self.staging(staging_id))
            if now.changes != staging.changes:
                for info in now.segments():
                    self._store.segments.open(info).verify()
            state = manifest.state(staging.list_id)
            if state.last_number != staging.base_number:
                raise HashmatchError(
                    ErrorReason.STAGING_OUTDATED, "the list has changed since the generation was staged; stage it again"
                )
            if staging.nature not in (None, state.definition.nature):
                raise HashmatchError(
                    ErrorReason.STAGING_OUTDATED, "the delivery was vetted for a list of another nature; stage it again"
                )
            generation = Generation(
                number=state.last_number + 1,
                epoch=epoch,
                published_at=self._clock.now(),
                as_of=staging.as_of,
                segments=_chain(state, now.changes),
                counts=staging.report.counts,
                approvals=len(staging.approvals),
                approvals_required=self._policy.approvals_required,
                delivery_sha256=staging.delivery_sha256,
                staging_id=staging_id,
                checkpoint=staging.checkpoint,
            )
            record = self._acts.record(
                epoch,
                "publish",
                actor,
                list_id=staging.list_id,
                generation=generation.number,
                reason=reason,
                added=staging.report.added,
                removed=staging.report.removed,
            )
            return with_state(manifest, self._acts.succeeded(state, generation), record)

        manifest = self._acts.apply(
            change,
            "publish",
            actor,
            validate_only,
            approved=approved,
            list_id=staging.list_id,
            staging_id=staging_id,
            reason=reason,
            accepted_gates=",".join(accept_gates),
        )
        generation = manifest.lists[staging.list_id].generation
        assert generation is not None
        if not validate_only:
            self._close(staging, generation.epoch)
        return generation, manifest.epoch

    # ---- published lists

    def roll_back(
        self,
        list_id: str,
        number: int,
        actor: str,
        reason: str = "",
        *,
        accept_gates: Sequence[str] = (),
        validate_only: bool = False,
        approved: Approved | None = None,
    ) -> tuple[Generation, int]:
        """Publish a retained generation again under a new number; 0 means the one before the current.

        What the body withdrew since may not come back unless the gate `withdrawn` is accepted.
        """
        check_reason(reason, required=bool(accept_gates))
        wanted = number

        def change(manifest: Manifest, epoch: int) -> Manifest:
            nonlocal wanted
            state = manifest.state(list_id)
            target = next((each for each in state.retained if wanted in (0, each.number)), None)
            if target is None:
                raise HashmatchError(
                    ErrorReason.GENERATION_NOT_FOUND,
                    "the generation is not retained",
                    metadata={"retained": ",".join(str(each.number) for each in state.retained)},
                )
            # Once it is known which that is, it stays that one: where somebody else rolled back at the same moment, the
            # one before is what both want to get rid of.
            wanted = target.number
            if WITHDRAWN not in accept_gates:
                try:
                    hashes, entries = returning_with(target, state, manifest.placement, self._store.segments)
                except StoreDamagedError:
                    raise gate_not_met(
                        WITHDRAWN,
                        "what would come back of what was withdrawn since cannot be read",
                        f"roll back with the gate {WITHDRAWN} accepted",
                    ) from None
                if hashes or entries:
                    raise gate_not_met(
                        WITHDRAWN,
                        f"{hashes} hashes and {entries} entries that were withdrawn since would come back",
                        f"roll back with the gate {WITHDRAWN} accepted",
                    )
            generation = msgspec.structs.replace(
                target, number=state.last_number + 1, epoch=epoch, published_at=self._clock.now()
            )
            before = 0 if state.generation is None else sum(state.generation.counts.values())
            state = msgspec.structs.replace(self._acts.succeeded(state, generation), visible_since=epoch)
            record = self._acts.record(
                epoch,
                "roll-back",
                actor,
                list_id=list_id,
                generation=generation.number,
                reason=reason,
                added=sum(generation.counts.values()),
                removed=before,
            )
            return with_state(manifest, state, record)

        manifest = self._acts.apply(
            change,
            "roll-back",
            actor,
            validate_only,
            approved=approved,
            list_id=list_id,
            generation=number,
            reason=reason,
            accepted_gates=",".join(accept_gates),
        )
        generation = manifest.lists[list_id].generation
        assert generation is not None
        return generation, manifest.epoch

    def withdraw_list(
        self, list_id: str, actor: str, reason: str, *, validate_only: bool = False, approved: Approved | None = None
    ) -> int:
        """Stop serving a list. Returns the epoch."""
        check_reason(reason)

        def change(manifest: Manifest, epoch: int) -> Manifest:
            state = manifest.state(list_id)
            if state.generation is None:
                raise HashmatchError(ErrorReason.GENERATION_NOT_FOUND, "the list serves nothing")
            removed = sum(state.generation.counts.values())
            record = self._acts.record(epoch, "withdraw-list", actor, list_id=list_id, reason=reason, removed=removed)
            return with_state(manifest, self._acts.succeeded(state, None), record)

        return self._acts.apply(
            change, "withdraw-list", actor, validate_only, approved=approved, list_id=list_id, reason=reason
        ).epoch

    def withdraw_entries(
        self,
        list_id: str,
        hashes: Sequence[EntryHash],
        source_keys: Sequence[str],
        actor: str,
        reason: str,
        *,
        validate_only: bool = False,
        approved: Approved | None = None,
    ) -> tuple[Generation, int, int, int]:
        """Remove entries at the body's word.

        Returns the generation, the epoch, how many hashes are gone, and how many of the given the list did not have.
        Where it had none, the generation is the one that there is.
        """
        check_reason(reason)
        if not hashes and not source_keys:
            raise invalid_field("hashes", "name hashes or source keys to withdraw")
        outcome: list[tuple[Changes, int]] = []

        def change(manifest: Manifest, epoch: int) -> Manifest:
            state = manifest.state(list_id)
            served = state.generation
            if served is None:
                raise HashmatchError(ErrorReason.GENERATION_NOT_FOUND, "the list serves nothing")
            current = CurrentList(state, manifest.placement, self._store.segments)
            number = state.last_number + 1
            changes, missing = withdrawal_of(list(hashes), list(source_keys), current, manifest.placement, number)
            if not changes.rows:
                raise _NothingToWithdrawError(served, manifest.epoch, missing)
            outcome[:] = [(changes, missing)]
            written: list[KindChange] = []
            if not validate_only:
                written = [self._write(each) for each in changes.rows]
                state = self._with_record_of(changes, state, manifest)
            generation = msgspec.structs.replace(
                served,
                number=number,
                epoch=epoch,
                published_at=self._clock.now(),
                segments=_chain(state, written),
                counts=changes.counts,
            )
            record = self._acts.record(
                epoch,
                "withdraw-entries",
                actor,
                list_id=list_id,
                generation=number,
                reason=reason,
                removed=changes.removed,
            )
            return with_state(manifest, self._acts.succeeded(state, generation), record)

        try:
            manifest = self._acts.apply(
                change, "withdraw-entries", actor, validate_only, approved=approved, list_id=list_id, reason=reason
            )
        except _NothingToWithdrawError as nothing:
            return nothing.generation, nothing.epoch, 0, nothing.missing
        generation = manifest.lists[list_id].generation
        assert generation is not None
        changes, missing = outcome[0]
        return generation, manifest.epoch, changes.removed, missing

    def replace_segments(
        self, list_id: str, before: Sequence[SegmentInfo], after: Sequence[SegmentInfo], actor: str
    ) -> bool:
        """Put compacted segments in the place of those they were made from; the generation stays the same.

        Returns False, and changes nothing, if the list has moved on.
        """

        def change(manifest: Manifest, epoch: int) -> Manifest:
            state = manifest.lists.get(list_id)
            if state is None or state.generation is None or not set(before) <= set(state.generation.segments):
                raise ManifestConflictError("the list has moved on")
            segments = list(state.generation.segments)
            # In the place of those that they were made from: a base stays older than deltas that were folded.
            at = min(segments.index(info) for info in before)
            segments[at:] = [*after, *(info for info in segments[at:] if info not in set(before))]
            generation = msgspec.structs.replace(state.generation, segments=tuple(segments))
            record = self._acts.record(epoch, "compact", actor, list_id=list_id, generation=generation.number)
            return with_state(manifest, msgspec.structs.replace(state, generation=generation), record)

        try:
            self._acts.apply(
                change,
                "compact",
                actor,
                validate_only=False,
                harmless=always,
                list_id=list_id,
                segments=len(before),
            )
        except ManifestConflictError:
            return False
        return True

    def _write(self, change: RowsChange) -> KindChange:
        """Write a change, and read back what was written."""
        if change.rows is None:
            return KindChange(change.kind, None, change.replace)
        segment = write_segment(self._store, self._clock, change)
        self._store.segments.open(segment).verify()
        return KindChange(change.kind, segment, change.replace)

    def _with_record_of(self, withdrawal: Changes, state: ListState, manifest: Manifest) -> ListState:
        """The state with a record of what a withdrawal takes off the list."""
        rows = with_withdrawals(state.withdrawn, withdrawal.rows, manifest.placement, self._store.segments)
        written = [self._write(each) for each in rows]
        return msgspec.structs.replace(state, withdrawn=_with_changes(state.withdrawn, written))

    def _already_published(self, staging: Staging) -> tuple[Generation, int] | None:
        """The outcome of an earlier publication of the same staging, if the crash of its caller hid it."""
        sealed = self._store.manifests.load()
        state = None if sealed is None else sealed.manifest.lists.get(staging.list_id)
        generation = None if state is None else state.generation
        if generation is None or generation.staging_id != staging.staging_id:
            return None
        if staging.state != PUBLISHED:
            self._close(staging, generation.epoch)
        return generation, generation.epoch

    def _must_not_be_published(self, staging: Staging) -> None:
        if self._already_published(staging) is not None:
            raise _closed(PUBLISHED)

    def _close(self, staging: Staging, epoch: int) -> None:
        """Note that it is published, which it is, whatever becomes of the note: the manifest says so."""
        with contextlib.suppress(HashmatchError):
            self._store.stagings.change(
                staging.staging_id,
                lambda now: msgspec.structs.replace(now, state=PUBLISHED, published_epoch=epoch),
            )


def _chain(state: ListState, changes: Sequence[KindChange]) -> tuple[SegmentInfo, ...]:
    """The segments after the changes, of each kind oldest first."""
    return _with_changes(() if state.generation is None else state.generation.segments, changes)


def _with_changes(current: Sequence[SegmentInfo], changes: Sequence[KindChange]) -> tuple[SegmentInfo, ...]:
    replaced = {change.kind for change in changes if change.replace}
    kept = [info for info in current if info.kind not in replaced]
    return (*kept, *(change.segment for change in changes if change.segment is not None))


def _must_be_open(staging: Staging) -> Staging:
    if staging.state != STAGED:
        raise _closed(staging.state)
    return staging


def _closed(state: str) -> HashmatchError:
    return HashmatchError(ErrorReason.STAGING_CLOSED, f"the staged generation is already {state}")
