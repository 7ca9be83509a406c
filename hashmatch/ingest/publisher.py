"""Lists and their generations: defining, approving, publishing, rolling back and withdrawing them.

The order of a publication is fixed: the segments are read back and verified, the act is in the audit log, and only then
the manifest is swapped. A crash at any moment leaves the old manifest or the new one.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from hashmatch.ingest.acts import Acts, with_state
from hashmatch.ingest.changes import Changes, RowsChange, withdrawal_of
from hashmatch.ingest.current import CurrentList
from hashmatch.ingest.entry_hashes import EntryHash
from hashmatch.ingest.staging import write_segment
from hashmatch.ingest.withdrawn import with_withdrawals
from hashmatch.model.errors import ErrorReason, HashmatchError, invalid_field
from hashmatch.model.lists import ListDefinition, check_reason
from hashmatch.store.manifest import Generation, ListState, Manifest, ManifestConflictError
from hashmatch.store.segments import SegmentInfo
from hashmatch.store.stagings import DISCARDED, PUBLISHED, STAGED, ApprovalRecord, KindChange, Staging


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

    def define_list(self, definition: ListDefinition, actor: str, *, validate_only: bool = False) -> Manifest:
        """Create a list, or change what is stated about it."""
        definition.validate()

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

        return self._acts.apply(change, "define-list", actor, validate_only, create=True, list_id=definition.list_id)

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

    def approve(self, staging_id: str, approver: str, digest: bytes, note: str = "") -> Staging:
        """Record an approval for the report that has `digest`. Approving twice counts once."""
        check_reason(note, required=False)
        staging = _must_be_open(self.staging(staging_id))
        if approver == staging.staged_by:
            raise HashmatchError(ErrorReason.APPROVER_IS_IMPORTER, "who staged a generation cannot approve it")
        if digest != staging.approval_digest:
            raise HashmatchError(ErrorReason.APPROVAL_DIGEST_MISMATCH, "the approval is for another report")
        if any(approval.approver == approver for approval in staging.approvals):
            return staging
        self._audit.append("approve", approver, staging_id=staging_id, list_id=staging.list_id, note=note)
        approval = ApprovalRecord(approver, self._clock.now(), note)
        staging = msgspec.structs.replace(staging, approvals=(*staging.approvals, approval))
        self._store.stagings.put(staging)
        return staging

    def discard(self, staging_id: str, actor: str, reason: str = "") -> Staging:
        """Drop a staged generation."""
        check_reason(reason, required=False)
        staging = _must_be_open(self.staging(staging_id))
        self._audit.append("discard", actor, staging_id=staging_id, list_id=staging.list_id, reason=reason)
        staging = msgspec.structs.replace(staging, state=DISCARDED)
        self._store.stagings.put(staging)
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
        self._check_approvals(staging)
        _check_gates(staging, accept_gates)
        for info in staging.segments():
            self._store.segments.open(info).verify()

        def change(manifest: Manifest, epoch: int) -> Manifest:
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
                segments=_chain(state, staging.changes),
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
                approvers=tuple(approval.approver for approval in staging.approvals),
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
        self, list_id: str, number: int, actor: str, reason: str = "", *, validate_only: bool = False
    ) -> tuple[Generation, int]:
        """Publish a retained generation again under a new number; 0 means the one before the current."""
        check_reason(reason, required=False)

        def change(manifest: Manifest, epoch: int) -> Manifest:
            state = manifest.state(list_id)
            target = next((each for each in state.retained if number in (0, each.number)), None)
            if target is None:
                raise HashmatchError(
                    ErrorReason.GENERATION_NOT_FOUND,
                    "the generation is not retained",
                    metadata={"retained": ",".join(str(each.number) for each in state.retained)},
                )
            generation = msgspec.structs.replace(
                target, number=state.last_number + 1, epoch=epoch, published_at=self._clock.now()
            )
            state = msgspec.structs.replace(self._acts.succeeded(state, generation), visible_since=epoch)
            before = 0 if state.generation is None else sum(state.generation.counts.values())
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
            change, "roll-back", actor, validate_only, list_id=list_id, generation=number, reason=reason
        )
        generation = manifest.lists[list_id].generation
        assert generation is not None
        return generation, manifest.epoch

    def withdraw_list(self, list_id: str, actor: str, reason: str, *, validate_only: bool = False) -> int:
        """Stop serving a list. Returns the epoch."""
        check_reason(reason)

        def change(manifest: Manifest, epoch: int) -> Manifest:
            state = manifest.state(list_id)
            if state.generation is None:
                raise HashmatchError(ErrorReason.GENERATION_NOT_FOUND, "the list serves nothing")
            removed = sum(state.generation.counts.values())
            record = self._acts.record(epoch, "withdraw-list", actor, list_id=list_id, reason=reason, removed=removed)
            return with_state(manifest, self._acts.succeeded(state, None), record)

        return self._acts.apply(change, "withdraw-list", actor, validate_only, list_id=list_id, reason=reason).epoch

    def withdraw_entries(
        self,
        list_id: str,
        hashes: Sequence[EntryHash],
        source_keys: Sequence[str],
        actor: str,
        reason: str,
        *,
        validate_only: bool = False,
    ) -> tuple[Generation, int, int, int]:
        """Remove entries at the body's word.

        Returns the generation, the epoch, how many hashes are gone, and how many of the given the list did not have.
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

        manifest = self._acts.apply(change, "withdraw-entries", actor, validate_only, list_id=list_id, reason=reason)
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
            self._acts.apply(change, "compact", actor, validate_only=False, list_id=list_id, segments=len(before))
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
        written = [self._write(RowsChange(each.kind, each, replace=True)) for each in rows]
        return msgspec.structs.replace(state, withdrawn=_with_changes(state.withdrawn, written))

    def _check_approvals(self, staging: Staging) -> None:
        required = self._policy.approvals_required
        if len(staging.approvals) < required:
            raise HashmatchError(
                ErrorReason.APPROVALS_MISSING,
                f"{required} approvals are required, there are {len(staging.approvals)}",
                metadata={"required": str(required), "given": str(len(staging.approvals))},
            )

    def _already_published(self, staging: Staging) -> tuple[Generation, int] | None:
        """The outcome of an earlier publication of the same staging, if the crash of its caller hid it."""
        sealed = self._store.manifests.load()
        state = None if sealed is None else sealed.manifest.lists.get(staging.list_id)
        generation = None if state is None else state.generation
        if generation is None or generation.staging_id != staging.staging_id:
            return None
        if staging.state == STAGED:
            self._close(staging, generation.epoch)
        return generation, generation.epoch

    def _close(self, staging: Staging, epoch: int) -> None:
        self._store.stagings.put(msgspec.structs.replace(staging, state=PUBLISHED, published_epoch=epoch))


def _chain(state: ListState, changes: Sequence[KindChange]) -> tuple[SegmentInfo, ...]:
    """The segments after the changes, of each kind oldest first."""
    return _with_changes(() if state.generation is None else state.generation.segments, changes)


def _with_changes(current: Sequence[SegmentInfo], changes: Sequence[KindChange]) -> tuple[SegmentInfo, ...]:
    replaced = {change.kind for change in changes if change.replace}
    kept = [info for info in current if info.kind not in replaced]
    return (*kept, *(change.segment for change in changes if change.segment is not None))


def _must_be_open(staging: Staging) -> Staging:
    if staging.state != STAGED:
        raise HashmatchError(ErrorReason.STAGING_CLOSED, f"the staged generation is already {staging.state}")
    return staging


def _check_gates(staging: Staging, accepted: Sequence[str]) -> None:
    for gate in staging.report.unmet:
        if gate.acceptable and gate.name in accepted:
            continue
        how = f"publish with the gate {gate.name} accepted, or stage again" if gate.acceptable else "stage again"
        raise HashmatchError(
            ErrorReason.GATE_NOT_MET, f"{gate.name}: {gate.detail}; {how}", metadata={"gate": gate.name}
        )
