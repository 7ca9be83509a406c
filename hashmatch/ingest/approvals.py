"""Which approvals count: when they are given, and again at the moment at which what they are for takes effect."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from hashmatch.model.approvals import ApprovalRecord, ApprovalTerms, Approver
from hashmatch.model.clock import Clock
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.model.lists import check_reason
from hashmatch.model.vetting import VettingPolicy
from hashmatch.store.manifest import Manifest
from hashmatch.store.stagings import Staging
from hashmatch.trust.signing import EnvelopeError, SignatureError, SignedApproval


@dataclass(frozen=True, slots=True)
class Approved:
    """An act with what was approved of it.

    `terms` is what the approvals are for, and `terms_now` tells what they would have to be for under a manifest:
    where the two differ, the act is another one by now, and `outdated` is the reason to refuse it with. `proposer` is
    who proposed or staged it. `proposal_id` is empty for what cannot take effect twice anyway.
    """

    terms: ApprovalTerms
    terms_now: Callable[[Manifest], ApprovalTerms]
    proposer: str
    approvals: tuple[ApprovalRecord, ...]
    outdated: ErrorReason
    proposal_id: str = ""


class Approvals:
    """Judges approvals under one policy, by the approvers in a manifest and the time."""

    def __init__(self, clock: Clock, policy: VettingPolicy) -> None:
        self._clock = clock
        self.required = policy.approvals_required
        self.signed = policy.signatures_required

    @property
    def needed(self) -> bool:
        """Whether acts that change what is answered need approvals, each of them."""
        return self.signed and self.required > 0

    def given(
        self,
        manifest: Manifest,
        terms: ApprovalTerms,
        proposer: str,
        *,
        caller: str,
        digest: bytes,
        envelope: bytes,
        note: str,
    ) -> ApprovalRecord:
        """The record of an approval that is given now, for `terms`, by the signer of `envelope`, or else by `caller`.

        `digest` is that of the report that the approver saw, or of the act's bytes. Raises `HashmatchError`.
        """
        check_reason(note, required=False)
        if envelope:
            signed = _read(envelope)
            approver = self._enrolled(manifest, signed.approver)
            self._check_signed(signed, approver, terms, proposer)
            return ApprovalRecord(approver.key.name, self._clock.now(), note, envelope)
        if self.signed:
            raise HashmatchError(
                ErrorReason.SIGNATURE_REQUIRED,
                "approvals are signed here, with the key of an enrolled approver",
            )
        if caller == proposer:
            raise _own()
        if digest != (terms.report_sha256 or terms.content_sha256):
            raise HashmatchError(ErrorReason.APPROVAL_DIGEST_MISMATCH, "the approval is for another report")
        return ApprovalRecord(caller, self._clock.now(), note)

    def check(self, manifest: Manifest, approved: Approved) -> tuple[str, ...]:
        """Who approved, verified from the beginning: this is asked when the act takes effect.

        Raises `HashmatchError` unless enough distinct people, none of whom proposed it, agreed to exactly this act and
        may still agree.
        """
        if approved.proposal_id in manifest.spent:
            raise HashmatchError(
                ErrorReason.PROPOSAL_CLOSED, "the proposal was carried out already", metadata={"state": "carried-out"}
            )
        terms = approved.terms
        if terms.expires_at and self._clock.now() >= terms.expires_at:
            raise HashmatchError(
                ErrorReason.PROPOSAL_CLOSED, "the proposal has expired; propose it again", metadata={"state": "expired"}
            )
        if approved.terms_now(manifest) != terms:
            raise HashmatchError(
                approved.outdated, "what was approved was worked out from another state; it has to be done again"
            )
        people: dict[str, str] = {}
        refusal: HashmatchError | None = None
        for record in approved.approvals:
            try:
                person = self._person(manifest, record, terms, approved.proposer)
            except HashmatchError as error:
                refusal = error
            else:
                people.setdefault(person, record.approver)
        if len(people) < self.required:
            raise refusal or HashmatchError(
                ErrorReason.APPROVALS_MISSING,
                f"{self.required} approvals are required, there are {len(people)}",
                metadata={"required": str(self.required), "given": str(len(people))},
            )
        return tuple(people.values())

    def _person(self, manifest: Manifest, record: ApprovalRecord, terms: ApprovalTerms, proposer: str) -> str:
        """The identity behind an approval that still counts. Raises `HashmatchError` for one that does not."""
        if not record.envelope:
            if self.signed:
                raise HashmatchError(ErrorReason.SIGNATURE_REQUIRED, "an approval from before is not signed")
            if record.approver == proposer:
                raise _own()
            return record.approver
        signed = _read(record.envelope)
        try:
            approver = self._enrolled(manifest, signed.approver)
        except HashmatchError as error:
            raise HashmatchError(
                ErrorReason.APPROVER_REVOKED,
                "an approver was revoked, or is no longer valid, since the approval: somebody else has to approve",
                metadata={"approver": record.approver},
            ) from error
        self._check_signed(signed, approver, terms, proposer)
        return approver.key.identity

    def _enrolled(self, manifest: Manifest, name: str) -> Approver:
        now = self._clock.now()
        for approver in manifest.approvers:
            if approver.key.name == name and approver.counts(now):
                return approver
        raise HashmatchError(ErrorReason.APPROVER_NOT_ENROLLED, "whoever signed is not enrolled, or not at this time")

    def _check_signed(self, signed: SignedApproval, approver: Approver, terms: ApprovalTerms, proposer: str) -> None:
        try:
            signed.verify(approver.key)
        except SignatureError as error:
            raise HashmatchError(ErrorReason.APPROVAL_SIGNATURE_INVALID, str(error)) from error
        for field in ApprovalTerms.__struct_fields__:
            if getattr(signed.terms, field) != getattr(terms, field):
                raise HashmatchError(
                    ErrorReason.APPROVAL_FOR_ANOTHER_ACT,
                    f"the approval was signed for another act: {field} differs",
                    metadata={"field": field},
                )
        if approver.key.identity == proposer:
            raise _own()


def approved_staging(staging: Staging) -> Approved:
    """What the publication of a staged generation rests on."""

    def terms_now(manifest: Manifest) -> ApprovalTerms:
        state = manifest.lists.get(staging.list_id)
        return msgspec.structs.replace(
            staging.terms,
            store=manifest.store_id,
            generation=1 + (0 if state is None else state.last_number),
            base_sha256=list_base(manifest, staging.list_id),
        )

    return Approved(
        staging.terms, terms_now, staging.staged_by, staging.approvals, outdated=ErrorReason.STAGING_OUTDATED
    )


def list_base(manifest: Manifest, list_id: str) -> bytes:
    """The digest of what an act upon a list is worked out from: which list of which store, as stated, how far on."""
    state = manifest.lists.get(list_id)
    content = (None, 0) if state is None else (state.definition, state.last_number)
    return state_digest(manifest, "list", list_id, *content)


def state_digest(manifest: Manifest, *state: object) -> bytes:
    """The digest of a part of the state of one store."""
    return hashlib.sha256(msgspec.msgpack.encode(("hashmatch state v1", manifest.store_id, *state))).digest()


def approvers_base(manifest: Manifest) -> bytes:
    """The digest of who is enrolled."""
    return state_digest(manifest, "approvers", manifest.approvers)


def valid_approvers(approvers: Sequence[Approver], now: float) -> int:
    """How many people can approve at this time."""
    return sum(approver.counts(now) for approver in approvers)


def _read(envelope: bytes) -> SignedApproval:
    try:
        return SignedApproval(envelope)
    except EnvelopeError as error:
        raise HashmatchError(ErrorReason.APPROVAL_MALFORMED, str(error)) from error


def _own() -> HashmatchError:
    return HashmatchError(ErrorReason.APPROVER_IS_IMPORTER, "who staged or proposed something cannot approve it")
