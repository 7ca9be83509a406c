"""Proposals: acts that are stated first, approved by others, and take effect when they are carried out."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from hashmatch.ingest.acts import Acts, recorded_once
from hashmatch.ingest.approvals import Approved
from hashmatch.model.approvals import ApprovalTerms
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.model.lists import check_reason
from hashmatch.store.manifest import Manifest
from hashmatch.store.proposals import CARRIED_OUT, DISCARDED, OPEN, Proposal

# How long people may take to agree, in seconds.
LIFETIME = 7 * 86_400
# How long a proposal can still be looked at after it has expired.
KEPT = 30 * 86_400
MAXIMUM_OPEN = 1_000
# So that a command can tell it from a staged generation.
PREFIX = "p-"


@dataclass(frozen=True, slots=True)
class PlannedAct:
    """What an act's bytes mean.

    `generation` and `base` tell, under a manifest, the number that the list will have and the digest of what the act is
    worked out from. `carry_out` does it, or with its second argument only checks it, and returns the epoch.
    """

    act: str
    list_id: str
    generation: Callable[[Manifest], int]
    base: Callable[[Manifest], bytes]
    carry_out: Callable[[str, bool, Approved | None], int]


class Proposals:
    """Keeps proposals and carries them out; raises what `Acts` raises. `plan` tells what an act's bytes mean."""

    def __init__(self, acts: Acts, plan: Callable[[bytes], PlannedAct]) -> None:
        self._acts = acts
        self._plan = plan
        self._store = acts.store.proposals
        self._clock = acts.clock

    def propose(self, content: bytes, actor: str) -> Proposal:
        """State an act. What could not be carried out now is refused now."""
        planned = self._plan(content)
        planned.carry_out(actor, True, None)
        manifest = self._acts.manifest()
        if manifest is None:
            raise HashmatchError(ErrorReason.LIST_NOT_FOUND, "no list is defined yet, and nobody is enrolled")
        if len(self.open()) >= MAXIMUM_OPEN:
            raise HashmatchError(
                ErrorReason.OVERLOADED, f"there are {MAXIMUM_OPEN} proposals already: carry some out, or drop them"
            )
        now = self._clock.now()
        proposal_id = PREFIX + secrets.token_hex(8)
        terms = ApprovalTerms(
            act=planned.act,
            subject=proposal_id,
            store=manifest.store_id,
            list_id=planned.list_id,
            generation=planned.generation(manifest),
            base_sha256=planned.base(manifest),
            content_sha256=hashlib.sha256(content).digest(),
            expires_at=int(now) + LIFETIME,
        )
        proposal = Proposal(
            proposal_id=proposal_id,
            state=OPEN,
            content=content,
            proposed_by=actor,
            proposed_at=now,
            terms=terms,
            approvals_required=self._acts.approvals.required,
        )
        self._acts.audit.append("propose", actor, proposal_id=proposal_id, of=terms.act, list_id=terms.list_id)
        self._store.put(proposal)
        return proposal

    def get(self, proposal_id: str) -> Proposal:
        """A proposal; one that took effect says so, also if the crash of a server hid it."""
        return self._as_it_is(self._store.get(proposal_id), self._acts.manifest())

    def open(self) -> list[Proposal]:
        """The proposals that can still be carried out, oldest first."""
        manifest, now = self._acts.manifest(), self._clock.now()
        found = (self._as_it_is(proposal, manifest) for proposal in self._store.all())
        return [proposal for proposal in found if proposal.state == OPEN and proposal.terms.expires_at > now]

    def approve(self, proposal_id: str, caller: str, note: str = "", *, envelope: bytes = b"") -> Proposal:
        """Record an approval: of who signed `envelope`, or else of `caller`. Approving twice counts once."""
        record = recorded_once(self._acts.audit)

        def change(proposal: Proposal) -> Proposal | None:
            manifest = self._acts.manifest()
            self._must_be_open(proposal, manifest)
            assert manifest is not None
            approval = self._acts.approvals.given(
                manifest,
                proposal.terms,
                proposal.proposed_by,
                caller=caller,
                digest=proposal.terms.content_sha256,
                envelope=envelope,
                note=note,
            )
            if any(each.approver == approval.approver for each in proposal.approvals):
                return None
            record(
                "approve",
                approval.approver,
                proposal_id=proposal_id,
                of=proposal.terms.act,
                note=note,
                signed=bool(envelope),
                caller=caller,
            )
            return msgspec.structs.replace(proposal, approvals=(*proposal.approvals, approval))

        return self._store.change(proposal_id, change)

    def carry_out(self, proposal_id: str, actor: str, *, validate_only: bool = False) -> tuple[Proposal, int]:
        """Have a proposal take effect. Returns it and the epoch."""
        proposal = self._must_be_open(self._store.get(proposal_id), self._acts.manifest())
        planned = self._plan(proposal.content)

        def terms_now(manifest: Manifest) -> ApprovalTerms:
            # This is asked whenever the act is about to take effect: somebody may have dropped the proposal since.
            self._must_be_open(self._store.get(proposal_id), manifest)
            return msgspec.structs.replace(
                proposal.terms,
                act=planned.act,
                store=manifest.store_id,
                list_id=planned.list_id,
                generation=planned.generation(manifest),
                base_sha256=planned.base(manifest),
                content_sha256=hashlib.sha256(proposal.content).digest(),
            )

        approved = Approved(
            proposal.terms,
            terms_now,
            proposal.proposed_by,
            proposal.approvals,
            outdated=ErrorReason.PROPOSAL_OUTDATED,
            proposal_id=proposal_id,
        )
        epoch = planned.carry_out(actor, validate_only, approved)
        if not validate_only:
            proposal = self._carried_out(proposal, epoch)
        return proposal, epoch

    def discard(self, proposal_id: str, actor: str, reason: str = "") -> Proposal:
        """Drop a proposal."""
        check_reason(reason, required=False)
        record = recorded_once(self._acts.audit)

        def change(proposal: Proposal) -> Proposal:
            self._must_be_open(proposal, self._acts.manifest())
            record("discard-proposal", actor, proposal_id=proposal_id, of=proposal.terms.act, reason=reason)
            return msgspec.structs.replace(proposal, state=DISCARDED)

        proposal = self._store.change(proposal_id, change)
        # Another server may be carrying it out: either it was faster, or it looks again and finds it dropped.
        self._acts.overtake()
        manifest = self._acts.manifest()
        if manifest is not None and proposal_id in manifest.spent:
            raise _closed(self._carried_out(proposal, 0).state)
        return proposal

    def forget(self) -> int:
        """Forget what has long expired. Returns how many proposals.

        One that cannot be opened is kept; `StoreDamagedError` names it when all else is done.
        """
        proposals, unreadable = self._store.read()
        due = [each for each in proposals if self._clock.now() > each.terms.expires_at + KEPT]
        for proposal in due:
            self._store.remove(proposal.proposal_id)
        self._store.tell(unreadable)
        return len(due)

    def _carried_out(self, proposal: Proposal, epoch: int) -> Proposal:
        """Note that it was carried out, which it was, whatever becomes of the note: the manifest says so."""

        def change(now: Proposal) -> Proposal:
            return msgspec.structs.replace(now, state=CARRIED_OUT, epoch=epoch or now.epoch)

        with contextlib.suppress(HashmatchError):
            return self._store.change(proposal.proposal_id, change)
        return change(proposal)

    def _must_be_open(self, proposal: Proposal, manifest: Manifest | None) -> Proposal:
        proposal = self._as_it_is(proposal, manifest)
        if proposal.state != OPEN:
            raise _closed(proposal.state)
        return proposal

    def _as_it_is(self, proposal: Proposal, manifest: Manifest | None) -> Proposal:
        if proposal.state == OPEN and manifest is not None and proposal.proposal_id in manifest.spent:
            return msgspec.structs.replace(proposal, state=CARRIED_OUT)
        return proposal


def _closed(state: str) -> HashmatchError:
    return HashmatchError(ErrorReason.PROPOSAL_CLOSED, f"the proposal is already {state}", metadata={"state": state})
