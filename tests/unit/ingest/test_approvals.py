"""Signed approvals: for exactly one act, by distinct enrolled people, verified again when it takes effect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import pytest

from hashmatch.ingest.acts import Acts
from hashmatch.ingest.approvals import list_base
from hashmatch.ingest.approvers import Approvers
from hashmatch.ingest.policies import Policies
from hashmatch.ingest.proposals import LIFETIME, Proposals
from hashmatch.ingest.publisher import Publisher
from hashmatch.ingest.staging import Stager
from hashmatch.ingest.suppressor import Suppressor
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.approvals import ApprovalTerms
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.model.lists import ListDefinition, ListNature
from hashmatch.model.vetting import VettingPolicy
from hashmatch.service.planned_acts import ActPlanner
from hashmatch.store.proposals import CARRIED_OUT, Proposal
from hashmatch.store.stagings import Staging
from hashmatch.store.store import Store
from hashmatch.v1 import approval_service_pb2 as pb
from hashmatch.v1 import common_pb2, list_admin_service_pb2, policy_admin_service_pb2
from tests.support.clock import ManualClock
from tests.support.memory import MemoryAudit, MemoryFloor
from tests.support.numbered import reason_of
from tests.support.office import ACTOR, IMPORTER, Office
from tests.support.signatories import Signatory

REASON = "a test"


def digest(number: int) -> bytes:
    return number.to_bytes(32, "big")


@dataclass
class Signing:
    """An office in which nothing takes effect without signatures, with three people enrolled."""

    office: Office
    acts: Acts
    publisher: Publisher
    suppressor: Suppressor
    approvers: Approvers
    proposals: Proposals
    ann: Signatory
    bob: Signatory
    eve: Signatory

    def sign(self, staging: Staging, *people: Signatory, terms: ApprovalTerms | None = None) -> None:
        for person in people:
            self.publisher.approve(staging.staging_id, ACTOR, envelope=person.sign(terms or staging.terms))

    def agree(self, proposal: Proposal, *people: Signatory) -> None:
        for person in people or (self.ann, self.bob):
            self.proposals.approve(proposal.proposal_id, ACTOR, envelope=person.sign(proposal.terms))

    def propose(self, by: str = ACTOR, **act: object) -> Proposal:
        return self.proposals.propose(pb.ProposedAct(**act).SerializeToString(deterministic=True), by)  # type: ignore[arg-type]

    def do(self, **act: object) -> int:
        """Propose, agree, carry out. Returns the epoch."""
        proposal = self.propose(**act)
        self.agree(proposal)
        return self.proposals.carry_out(proposal.proposal_id, ACTOR)[1]

    def deliver(self, *numbers: int) -> Staging:
        staging = self.office.stage_hashes(map(digest, numbers))
        self.sign(staging, self.ann, self.bob)
        unmet = [gate.name for gate in staging.report.unmet]
        self.publisher.publish(staging.staging_id, ACTOR, accept_gates=unmet, reason=REASON)
        return staging

    def suppress_request(self, number: int) -> dict[str, object]:
        hashes = [common_pb2.Hash(algorithm=common_pb2.ALGORITHM_SHA256, value=digest(number))]
        return {"suppress": list_admin_service_pb2.SuppressRequest(hashes=hashes, reason=REASON)}


@pytest.fixture
def signing(store: Store, clock: ManualClock, audit: MemoryAudit, floor: MemoryFloor) -> Signing:
    policy = VettingPolicy(signatures_required=True)
    acts = Acts(store, clock, policy, audit, floor)
    publisher, suppressor, approvers = Publisher(acts), Suppressor(acts), Approvers(acts)
    planner = ActPlanner(publisher, suppressor, Policies(acts), approvers)
    people = [Signatory("ann"), Signatory("bob"), Signatory("eve")]
    assert approvers.enrol_first([person.enrolment for person in people])
    office = Office(store, clock, publisher, Stager(store, clock, policy))
    office.define()
    return Signing(office, acts, publisher, suppressor, approvers, Proposals(acts, planner.plan), *people)


# ---- deliveries


def test_two_signatures_publish_and_it_shows(signing: Signing):
    signing.deliver(1)
    manifest = signing.office.manifest()
    assert manifest.approvals_signed
    assert manifest.history[-1].approvers == ("ann", "bob")
    generation = manifest.state("list").generation
    assert generation is not None
    assert (generation.approvals, generation.approvals_required) == (2, 2)


def test_what_is_not_signed_is_no_approval(signing: Signing):
    staging = signing.office.stage_hashes([digest(1)])
    act = lambda: signing.publisher.approve(staging.staging_id, "spiffe://test/ann", staging.approval_digest)  # noqa: E731
    assert reason_of(act) is ErrorReason.SIGNATURE_REQUIRED


def test_approvals_from_before_signatures_were_required_do_not_count(
    signing: Signing, store: Store, clock: ManualClock, audit: MemoryAudit, floor: MemoryFloor
):
    staging = signing.office.stage_hashes([digest(1)])
    before = Publisher(Acts(store, clock, VettingPolicy(), audit, floor))
    for caller in ("spiffe://test/ann", "spiffe://test/bob"):
        before.approve(staging.staging_id, caller, staging.approval_digest)
    publish = lambda: signing.publisher.publish(staging.staging_id, ACTOR)  # noqa: E731
    assert reason_of(publish) is ErrorReason.SIGNATURE_REQUIRED


def test_one_person_is_one_approval(signing: Signing):
    staging = signing.office.stage_hashes([digest(1)])
    signing.sign(staging, signing.ann, signing.ann)
    assert len(signing.publisher.staging(staging.staging_id).approvals) == 1
    publish = lambda: signing.publisher.publish(staging.staging_id, ACTOR)  # noqa: E731
    assert reason_of(publish) is ErrorReason.APPROVALS_MISSING


def test_who_staged_cannot_sign_it(signing: Signing):
    importer = Signatory("importer", identity=IMPORTER)
    signing.do(enrol_approver=pb.EnrolApproverRequest(enrolment=importer.enrolment, reason=REASON))
    staging = signing.office.stage_hashes([digest(1)])
    assert reason_of(lambda: signing.sign(staging, importer)) is ErrorReason.APPROVER_IS_IMPORTER


def test_who_is_not_enrolled_cannot_sign(signing: Signing):
    staging = signing.office.stage_hashes([digest(1)])
    assert reason_of(lambda: signing.sign(staging, Signatory("mallory"))) is ErrorReason.APPROVER_NOT_ENROLLED
    impostor = Signatory("ann")
    assert reason_of(lambda: signing.sign(staging, impostor)) is ErrorReason.APPROVAL_SIGNATURE_INVALID


@pytest.mark.parametrize("envelope", [b"x", b"{}", b"[]"])
def test_what_is_no_envelope_is_refused(signing: Signing, envelope: bytes):
    staging = signing.office.stage_hashes([digest(1)])
    act = lambda: signing.publisher.approve(staging.staging_id, ACTOR, envelope=envelope)  # noqa: E731
    assert reason_of(act) is ErrorReason.APPROVAL_MALFORMED


def test_an_approval_is_for_one_act_in_one_state_of_one_store(signing: Signing):
    staging = signing.office.stage_hashes([digest(1)])
    changed: dict[str, object] = {
        "act": "withdraw-list",
        "subject": "f" * 16,
        "store": "another",
        "list_id": "other",
        "generation": 2,
        "base_sha256": bytes(32),
        "content_sha256": bytes(32),
        "report_sha256": bytes(32),
        "expires_at": 1,
    }
    assert {*changed} == {*ApprovalTerms.__struct_fields__}
    for field, value in changed.items():
        terms = msgspec.structs.replace(staging.terms, **{field: value})
        with pytest.raises(HashmatchError) as caught:
            signing.sign(staging, signing.ann, terms=terms)
        assert caught.value.reason is ErrorReason.APPROVAL_FOR_ANOTHER_ACT
        assert caught.value.metadata == {"field": field}


def test_an_approval_of_the_same_delivery_is_not_replayed_on_a_later_state(signing: Signing):
    first = signing.deliver(1)
    again = signing.office.stage_hashes([digest(1)])
    assert again.delivery_sha256 == first.delivery_sha256
    for approval in first.approvals or signing.publisher.staging(first.staging_id).approvals:
        act = lambda envelope=approval.envelope: signing.publisher.approve(  # noqa: E731
            again.staging_id, ACTOR, envelope=envelope
        )
        assert reason_of(act) is ErrorReason.APPROVAL_FOR_ANOTHER_ACT


def test_an_approver_who_is_revoked_in_between_stops_it(signing: Signing):
    staging = signing.office.stage_hashes([digest(1)])
    signing.sign(staging, signing.ann, signing.bob)
    signing.do(revoke_approver=pb.RevokeApproverRequest(name="bob", reason=REASON))
    publish = lambda: signing.publisher.publish(staging.staging_id, ACTOR)  # noqa: E731
    assert reason_of(publish) is ErrorReason.APPROVER_REVOKED
    signing.sign(staging, signing.eve)
    publish()


def test_an_approver_whose_term_ends_in_between_stops_it(signing: Signing, clock: ManualClock):
    brief = Signatory("brief", not_after=clock.now() + 60)
    signing.do(enrol_approver=pb.EnrolApproverRequest(enrolment=brief.enrolment, reason=REASON))
    staging = signing.office.stage_hashes([digest(1)])
    signing.sign(staging, signing.ann, brief)
    clock.advance(60)
    publish = lambda: signing.publisher.publish(staging.staging_id, ACTOR)  # noqa: E731
    assert reason_of(publish) is ErrorReason.APPROVER_REVOKED


def test_what_the_store_made_of_an_approval_is_verified_when_it_takes_effect(signing: Signing, store: Store):
    """Whoever could write approvals into a staging still has no signature."""
    staging = signing.office.stage_hashes([digest(1)])
    signing.sign(staging, signing.ann, signing.bob)
    staging = signing.publisher.staging(staging.staging_id)
    one, two = staging.approvals
    forged = msgspec.structs.replace(two, envelope=Signatory("bob").sign(staging.terms))
    store.stagings.put(msgspec.structs.replace(staging, approvals=(one, forged)))
    publish = lambda: signing.publisher.publish(staging.staging_id, ACTOR)  # noqa: E731
    assert reason_of(publish) is ErrorReason.APPROVAL_SIGNATURE_INVALID
    same = msgspec.structs.replace(one, approver="somebody else")
    store.stagings.put(msgspec.structs.replace(staging, approvals=(one, same)))
    assert reason_of(publish) is ErrorReason.APPROVALS_MISSING


def test_what_was_approved_under_another_definition_is_not_published(signing: Signing):
    staging = signing.office.stage_hashes([digest(1)])
    signing.sign(staging, signing.ann, signing.bob)
    definition = ListDefinition(list_id="list", body="another", nature=ListNature.ILLEGAL, max_age=86_400.0)
    signing.publisher.define_list(definition, ACTOR)
    publish = lambda: signing.publisher.publish(staging.staging_id, ACTOR)  # noqa: E731
    assert reason_of(publish) is ErrorReason.STAGING_OUTDATED


# ---- other acts


def test_no_act_that_changes_answers_is_done_by_one(signing: Signing):
    signing.deliver(1)
    hashes = [(int(Algorithm.SHA256), digest(1))]
    publisher, suppressor = signing.publisher, signing.suppressor
    definition = ListDefinition(list_id="list", body="another", nature=ListNature.ILLEGAL, max_age=86_400.0)
    acts: list[Callable[[], object]] = [
        lambda: publisher.roll_back("list", 0, ACTOR, REASON),
        lambda: publisher.withdraw_list("list", ACTOR, REASON),
        lambda: publisher.withdraw_entries("list", hashes, [], ACTOR, REASON),
        lambda: publisher.define_list(definition, ACTOR),
        lambda: suppressor.suppress(hashes, [], ACTOR, REASON),
        lambda: suppressor.lift_suppression(hashes, ACTOR, REASON),
        lambda: Policies(signing.acts).activate("version = 1\n[clients]\n", ACTOR, REASON),
        lambda: signing.approvers.enrol(Signatory("new").enrolment, ACTOR, REASON),
        lambda: signing.approvers.revoke("bob", ACTOR, REASON),
    ]
    before = signing.office.manifest().epoch
    for act in acts:
        assert reason_of(act) is ErrorReason.PROPOSAL_REQUIRED
    assert signing.office.manifest().epoch == before


def test_every_act_can_be_proposed_and_says_who_approved(signing: Signing):
    signing.deliver(1, 2)
    signing.deliver(1, 2, 3)
    pb_admin = list_admin_service_pb2
    hashes = [common_pb2.Hash(algorithm=common_pb2.ALGORITHM_SHA256, value=digest(1))]
    acts: list[dict[str, object]] = [
        {"roll_back": pb_admin.RollBackRequest(list_id="list", generation=1, reason=REASON)},
        {"suppress": pb_admin.SuppressRequest(hashes=hashes, list_ids=["list"], reason=REASON)},
        {"lift_suppression": pb_admin.LiftSuppressionRequest(hashes=hashes, reason=REASON)},
        {"withdraw_entries": pb_admin.WithdrawEntriesRequest(list_id="list", hashes=hashes, reason=REASON)},
        {"withdraw_list": pb_admin.WithdrawListRequest(list_id="list", reason=REASON)},
        {
            "activate_policy": policy_admin_service_pb2.ActivatePolicyRequest(
                document="version = 1\n[clients]\n", reason=REASON
            )
        },
        {"enrol_approver": pb.EnrolApproverRequest(enrolment=Signatory("new").enrolment, reason=REASON)},
        {"revoke_approver": pb.RevokeApproverRequest(name="new", reason=REASON)},
    ]
    for act in acts:
        epoch = signing.do(**act)
        manifest = signing.office.manifest()
        assert (manifest.epoch, manifest.history[-1].approvers) == (epoch, ("ann", "bob"))
    policy = signing.office.manifest().policy
    assert policy is not None
    assert policy.approvers == ("ann", "bob")


def test_a_proposal_needs_its_approvals(signing: Signing):
    proposal = signing.propose(**signing.suppress_request(1))
    carry_out = lambda: signing.proposals.carry_out(proposal.proposal_id, ACTOR)  # noqa: E731
    assert reason_of(carry_out) is ErrorReason.APPROVALS_MISSING
    signing.agree(proposal, signing.ann)
    assert reason_of(carry_out) is ErrorReason.APPROVALS_MISSING
    signing.agree(proposal, signing.bob)
    assert carry_out()[0].state == CARRIED_OUT


def test_who_proposed_cannot_approve(signing: Signing):
    proposal = signing.propose(signing.ann.identity, **signing.suppress_request(1))
    assert reason_of(lambda: signing.agree(proposal, signing.ann)) is ErrorReason.APPROVER_IS_IMPORTER


def test_a_proposal_is_carried_out_once_also_if_the_store_forgets_that_it_was(signing: Signing, store: Store):
    proposal = signing.propose(**signing.suppress_request(1))
    signing.agree(proposal)
    approved = store.proposals.get(proposal.proposal_id)
    carry_out = lambda: signing.proposals.carry_out(proposal.proposal_id, ACTOR)  # noqa: E731
    carry_out()
    assert reason_of(carry_out) is ErrorReason.PROPOSAL_CLOSED
    hashes = [common_pb2.Hash(algorithm=common_pb2.ALGORITHM_SHA256, value=digest(1))]
    signing.do(lift_suppression=list_admin_service_pb2.LiftSuppressionRequest(hashes=hashes, reason=REASON))
    # Somebody puts back what lay in the store before.
    store.proposals.put(approved)
    assert reason_of(carry_out) is ErrorReason.PROPOSAL_CLOSED
    assert signing.proposals.get(proposal.proposal_id).state == CARRIED_OUT


def test_approvals_of_one_proposal_are_of_no_use_for_the_same_act_proposed_again(signing: Signing):
    one = signing.propose(**signing.suppress_request(1))
    signing.agree(one)
    two = signing.propose(**signing.suppress_request(1))
    envelope = signing.proposals.get(one.proposal_id).approvals[0].envelope
    act = lambda: signing.proposals.approve(two.proposal_id, ACTOR, envelope=envelope)  # noqa: E731
    assert reason_of(act) is ErrorReason.APPROVAL_FOR_ANOTHER_ACT


@pytest.mark.parametrize("other", ["the hash", "the list", "the approvers", "the policy"])
def test_a_proposal_is_for_the_state_that_it_was_worked_out_from(signing: Signing, other: str):
    signing.deliver(1)
    signing.deliver(1, 2)
    document = "version = {}\n[clients]\n"
    activate = policy_admin_service_pb2.ActivatePolicyRequest
    withdraw = list_admin_service_pb2.WithdrawListRequest(list_id="list", reason=REASON)
    enrol = pb.EnrolApproverRequest(enrolment=Signatory("new").enrolment, reason=REASON)
    proposed, meanwhile = {
        "the hash": (signing.suppress_request(1), signing.suppress_request(1)),
        "the list": (
            {"roll_back": list_admin_service_pb2.RollBackRequest(list_id="list", generation=1)},
            {"withdraw_list": withdraw},
        ),
        "the approvers": (
            {"enrol_approver": enrol},
            {"revoke_approver": pb.RevokeApproverRequest(name="eve", reason=REASON)},
        ),
        "the policy": (
            {"activate_policy": activate(document=document.format(7), reason=REASON)},
            {"activate_policy": activate(document=document.format(6), reason=REASON)},
        ),
    }[other]
    proposal = signing.propose(**proposed)
    signing.agree(proposal)
    signing.do(**meanwhile)
    carry_out = lambda: signing.proposals.carry_out(proposal.proposal_id, ACTOR)  # noqa: E731
    assert reason_of(carry_out) is ErrorReason.PROPOSAL_OUTDATED


def test_other_lists_and_hashes_do_not_outdate_a_proposal(signing: Signing):
    signing.deliver(1)
    proposal = signing.propose(**signing.suppress_request(1))
    signing.agree(proposal)
    signing.do(**signing.suppress_request(2))
    signing.deliver(1, 2)
    signing.proposals.carry_out(proposal.proposal_id, ACTOR)


def test_a_proposal_expires(signing: Signing, clock: ManualClock):
    proposal = signing.propose(**signing.suppress_request(1))
    signing.agree(proposal)
    clock.advance(LIFETIME)
    carry_out = lambda: signing.proposals.carry_out(proposal.proposal_id, ACTOR)  # noqa: E731
    assert reason_of(carry_out) is ErrorReason.PROPOSAL_CLOSED
    assert signing.proposals.open() == []


def test_the_bytes_of_a_proposal_are_what_was_approved(signing: Signing, store: Store):
    proposal = signing.propose(**signing.suppress_request(1))
    signing.agree(proposal)
    other = pb.ProposedAct(**signing.suppress_request(2)).SerializeToString()  # type: ignore[arg-type]
    store.proposals.put(msgspec.structs.replace(store.proposals.get(proposal.proposal_id), content=other))
    carry_out = lambda: signing.proposals.carry_out(proposal.proposal_id, ACTOR)  # noqa: E731
    assert reason_of(carry_out) is ErrorReason.PROPOSAL_OUTDATED


def test_what_cannot_be_done_is_not_proposed(signing: Signing):
    request = list_admin_service_pb2.WithdrawListRequest(list_id="unknown", reason=REASON)
    assert reason_of(lambda: signing.propose(withdraw_list=request)) is ErrorReason.LIST_NOT_FOUND
    assert reason_of(lambda: signing.proposals.propose(b"\xff", ACTOR)) is ErrorReason.INVALID_FIELD
    assert reason_of(lambda: signing.proposals.propose(b"", ACTOR)) is ErrorReason.INVALID_FIELD


# ---- approvers


def test_the_first_approvers_are_enrolled_once(signing: Signing):
    assert not signing.approvers.enrol_first([Signatory("mallory").enrolment])
    assert [each.key.name for each in signing.approvers.enrolled()] == ["ann", "bob", "eve"]


def test_fewer_first_approvers_than_approvals_would_lock_everybody_out(
    store: Store, clock: ManualClock, audit: MemoryAudit, floor: MemoryFloor
):
    approvers = Approvers(Acts(store, clock, VettingPolicy(signatures_required=True), audit, floor))
    act = lambda: approvers.enrol_first([Signatory("ann").enrolment])  # noqa: E731
    assert reason_of(act) is ErrorReason.INVALID_FIELD


def test_two_keys_are_two_people_and_neither_comes_again(signing: Signing):
    bob = signing.bob

    def enrol(new: Signatory) -> Callable[[], object]:
        return lambda: signing.propose(enrol_approver=pb.EnrolApproverRequest(enrolment=new.enrolment, reason=REASON))

    signing.do(revoke_approver=pb.RevokeApproverRequest(name="bob", reason=REASON))
    assert reason_of(enrol(Signatory("other", private_key=bob.private_key))) is ErrorReason.INVALID_FIELD
    assert reason_of(enrol(Signatory("other", identity=signing.ann.identity))) is ErrorReason.INVALID_FIELD
    assert reason_of(enrol(Signatory("bob", identity="spiffe://test/new"))) is ErrorReason.INVALID_FIELD
    # Bob himself, with a new name and key, may come back.
    enrol(Signatory("bob-2027", identity=bob.identity))()


def test_so_many_stay_that_somebody_can_be_enrolled(signing: Signing):
    signing.do(revoke_approver=pb.RevokeApproverRequest(name="eve", reason=REASON))
    act = lambda: signing.propose(revoke_approver=pb.RevokeApproverRequest(name="bob", reason=REASON))  # noqa: E731
    assert reason_of(act) is ErrorReason.INVALID_FIELD


def test_the_base_of_a_list_is_of_one_store(signing: Signing):
    manifest = signing.office.manifest()
    other = msgspec.structs.replace(manifest, store_id="another")
    assert list_base(manifest, "list") != list_base(other, "list")


def test_what_was_proposed_and_approved_is_in_the_audit_log(signing: Signing, audit: MemoryAudit):
    signing.do(**signing.suppress_request(1))
    acts = [(record.act, record.actor) for record in audit.records[-5:]]
    assert acts == [
        ("propose", ACTOR),
        ("approve", "ann"),
        ("approve", "bob"),
        ("suppress", ACTOR),
        ("in-effect", ACTOR),
    ]
