"""Who approves: enrolling and revoking approvers, acts like any other, recorded in the manifest."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from hashmatch.ingest.acts import Acts, always, with_record
from hashmatch.ingest.approvals import Approved, valid_approvers
from hashmatch.model.approvals import Approver, ApproverKey
from hashmatch.model.errors import ErrorReason, HashmatchError, invalid_field
from hashmatch.model.lists import check_reason
from hashmatch.store.manifest import Manifest
from hashmatch.trust.signing import EnvelopeError, SignatureError, read_enrolment

# Those who were revoked stay, so that neither their names nor their keys come again.
MAXIMUM_APPROVERS = 200
_CONFIGURATION = "configuration"


class Approvers:
    """Enrols and revokes approvers; raises what `Acts` raises."""

    def __init__(self, acts: Acts) -> None:
        self._acts = acts
        self._clock = acts.clock

    def enrolled(self) -> tuple[Approver, ...]:
        """Everybody who is or was enrolled, by name. Raises `StoreUnavailableError` and `StoreDamagedError`."""
        manifest = self._acts.manifest()
        return () if manifest is None else manifest.approvers

    def enrol(
        self,
        enrolment: bytes,
        actor: str,
        reason: str,
        *,
        validate_only: bool = False,
        approved: Approved | None = None,
    ) -> int:
        """Enrol whoever an enrolment is of. Returns the epoch."""
        check_reason(reason)
        key = _read(enrolment)

        def change(manifest: Manifest, epoch: int) -> Manifest:
            record = self._acts.record(epoch, "enrol-approver", actor, reason=reason)
            return with_record(_with(manifest, key, epoch), record)

        return self._acts.apply(
            change,
            "enrol-approver",
            actor,
            validate_only,
            create=True,
            approved=approved,
            approver=key.name,
            identity=key.identity,
            reason=reason,
        ).epoch

    def revoke(
        self, name: str, actor: str, reason: str, *, validate_only: bool = False, approved: Approved | None = None
    ) -> int:
        """End an enrolment: approvals that have not taken effect no longer count. Returns the epoch."""
        check_reason(reason)

        def change(manifest: Manifest, epoch: int) -> Manifest:
            found = next(
                (each for each in manifest.approvers if each.key.name == name and not each.revoked_epoch), None
            )
            if found is None:
                raise HashmatchError(ErrorReason.APPROVER_NOT_FOUND, "nobody of that name is enrolled")
            approvers = tuple(
                msgspec.structs.replace(each, revoked_epoch=epoch) if each is found else each
                for each in manifest.approvers
            )
            if valid_approvers(approvers, self._clock.now()) < self._acts.approvals.required:
                raise invalid_field(
                    "name", "too few approvers would be left to approve anything, also a new one: enrol another first"
                )
            record = self._acts.record(epoch, "revoke-approver", actor, reason=reason)
            return with_record(msgspec.structs.replace(manifest, approvers=approvers), record)

        return self._acts.apply(
            change, "revoke-approver", actor, validate_only, approved=approved, approver=name, reason=reason
        ).epoch

    def enrol_first(self, enrolments: Sequence[bytes]) -> bool:
        """Enrol the first approvers, whom nobody can approve. Returns whether that was done: once, and never again.

        They come from whoever holds the server's configuration and with it the sealing key, and nobody else.
        Raises what `enrol` raises.
        """
        keys = [_read(enrolment) for enrolment in enrolments]
        if not keys or self.enrolled():
            return False
        if valid_approvers([Approver(key=key, enrolled_epoch=0) for key in keys], self._clock.now()) < (
            self._acts.approvals.required
        ):
            raise invalid_field("approvals.first_approvers", "there are fewer of them than approvals are required")

        def change(manifest: Manifest, epoch: int) -> Manifest:
            if manifest.approvers:
                raise _SomebodyWasFasterError
            for key in keys:
                manifest = _with(manifest, key, epoch)
            reason = "first approvers: " + ", ".join(key.name for key in keys)
            return with_record(manifest, self._acts.record(epoch, "enrol-approver", _CONFIGURATION, reason=reason))

        try:
            self._acts.apply(
                change,
                "enrol-approver",
                _CONFIGURATION,
                validate_only=False,
                create=True,
                harmless=always,
                approver=",".join(key.name for key in keys),
            )
        except _SomebodyWasFasterError:
            return False
        return True


class _SomebodyWasFasterError(Exception):
    """Another server has enrolled the first approvers."""


def _with(manifest: Manifest, key: ApproverKey, epoch: int) -> Manifest:
    """The manifest with one approver more. Raises `HashmatchError` for one who cannot be told from another."""
    if len(manifest.approvers) >= MAXIMUM_APPROVERS:
        raise invalid_field("enrolment", f"at most {MAXIMUM_APPROVERS} approvers, with those who were revoked")
    for known in manifest.approvers:
        if known.key.name == key.name:
            raise invalid_field("enrolment", "the name is, or was, somebody's; names never come again")
        if known.key.public_key == key.public_key:
            raise invalid_field("enrolment", "the key is, or was, somebody's; keys never come again")
        if known.key.identity == key.identity and not known.revoked_epoch:
            # Two keys of one person would count as two people.
            raise invalid_field("enrolment", "the identity is enrolled already, under another name")
    enrolled = (*manifest.approvers, Approver(key=key, enrolled_epoch=epoch))
    return msgspec.structs.replace(manifest, approvers=tuple(sorted(enrolled, key=lambda each: each.key.name)))


def _read(enrolment: bytes) -> ApproverKey:
    try:
        return read_enrolment(enrolment)
    except EnvelopeError as error:
        raise HashmatchError(ErrorReason.APPROVAL_MALFORMED, str(error)) from error
    except SignatureError as error:
        raise HashmatchError(ErrorReason.APPROVAL_SIGNATURE_INVALID, str(error)) from error
