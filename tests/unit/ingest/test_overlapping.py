"""Two people, on two servers, work on one staged generation or proposal at once: none undoes what the other did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from hashmatch.ingest.acts import Acts
from hashmatch.ingest.proposals import PlannedAct, Proposals
from hashmatch.ingest.publisher import Publisher
from hashmatch.model.errors import ErrorReason
from hashmatch.store.connection import Connection
from hashmatch.store.manifest import ManifestStore
from hashmatch.store.proposals import CARRIED_OUT, DISCARDED, OPEN, Proposal
from hashmatch.store.segments import SegmentStore
from hashmatch.store.stagings import PUBLISHED, STAGED, Staging
from hashmatch.store.store import Store
from tests.support.memory import MemoryAudit
from tests.support.numbered import digests, listed, reason_of
from tests.support.office import ACTOR, APPROVERS, Office

ANN, BOB = APPROVERS
PLAN = b"a plan"


@pytest.fixture
def staging(office: Office) -> Staging:
    office.define()
    return office.stage_hashes(digests(1))


@pytest.fixture
def proposals(acts: Acts, staging: Staging) -> Proposals:
    """Proposals of an act that does nothing but take effect."""

    def carry_out(actor: str, validate_only: bool, approved: object) -> int:
        return acts.apply(
            lambda manifest, _: manifest,
            "nothing",
            actor,
            validate_only,
            approved=approved,  # type: ignore[arg-type]
        ).epoch

    planned = PlannedAct("nothing", "list", lambda _: 1, lambda _: b"", carry_out)
    return Proposals(acts, lambda _: planned)


@pytest.fixture
def proposal(proposals: Proposals) -> Proposal:
    return proposals.propose(PLAN, ACTOR)


@contextmanager
def meanwhile(patch: pytest.MonkeyPatch, owner: type, method: str, act: Callable[[], object]) -> Iterator[list[object]]:
    """Have `act` done by somebody else just before `method` is called for the first time. What came of it."""
    proper, came = getattr(owner, method), []

    def second(*arguments: object, **named: object) -> object:
        with patch.context() as undone:
            undone.setattr(owner, method, proper)
            if not came:
                came.append(None)
                came[0] = act()
        return proper(*arguments, **named)

    with patch.context() as patched:
        patched.setattr(owner, method, second)
        yield came
    assert came, "nobody did anything"


def test_what_is_discarded_while_somebody_approves_it_stays_discarded(
    publisher: Publisher, staging: Staging, monkeypatch: pytest.MonkeyPatch
):
    def discard() -> object:
        return publisher.discard(staging.staging_id, ACTOR)

    def approve() -> object:
        return publisher.approve(staging.staging_id, ANN, staging.approval_digest)

    with meanwhile(monkeypatch, Connection, "hash_compare_and_set", discard):
        assert reason_of(approve) is ErrorReason.STAGING_CLOSED
    assert publisher.staging(staging.staging_id).state == DISCARDED


def test_two_approvals_at_once_both_count_and_are_recorded_once(
    publisher: Publisher, staging: Staging, audit: MemoryAudit, monkeypatch: pytest.MonkeyPatch
):
    def approve(person: str) -> Staging:
        return publisher.approve(staging.staging_id, person, staging.approval_digest)

    with meanwhile(monkeypatch, Connection, "hash_compare_and_set", lambda: approve(BOB)):
        assert {each.approver for each in approve(ANN).approvals} == {ANN, BOB}
    assert {each.approver for each in publisher.staging(staging.staging_id).approvals} == {ANN, BOB}
    assert sorted(each.actor for each in audit.records if each.act == "approve") == sorted((ANN, BOB))


# The first is while it is read back, and at the second everything was looked at, and the manifest is left to swap.
@pytest.mark.parametrize(("owner", "method"), [(SegmentStore, "open"), (ManifestStore, "replace")])
def test_what_is_discarded_before_it_is_published_is_not(
    office: Office,
    publisher: Publisher,
    staging: Staging,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    method: str,
):
    office.approve(staging)
    before = office.manifest()

    def discard() -> object:
        return publisher.discard(staging.staging_id, BOB)

    with meanwhile(monkeypatch, owner, method, discard) as came:
        assert reason_of(lambda: publisher.publish(staging.staging_id, ACTOR)) is ErrorReason.STAGING_CLOSED
    assert isinstance(came[0], Staging)
    assert publisher.staging(staging.staging_id).state == DISCARDED
    assert listed(office, 1) == [False]
    # Discarding shows nowhere.
    after = office.manifest()
    assert (after.epoch, after.history, after.lists) == (before.epoch, before.history, before.lists)


def test_what_is_published_while_somebody_discards_it_is_published(
    office: Office, publisher: Publisher, staging: Staging, monkeypatch: pytest.MonkeyPatch
):
    office.approve(staging)

    def discard() -> object:
        return publisher.discard(staging.staging_id, BOB)

    def publish() -> object:
        return publisher.publish(staging.staging_id, ACTOR)

    with meanwhile(monkeypatch, Connection, "hash_compare_and_set", publish):
        assert reason_of(discard) is ErrorReason.STAGING_CLOSED
    assert publisher.staging(staging.staging_id).state == PUBLISHED
    assert listed(office, 1) == [True]


def test_what_a_crash_left_published_is_not_discarded(
    office: Office, publisher: Publisher, store: Store, staging: Staging
):
    office.approve(staging)
    before = store.stagings.get(staging.staging_id)
    publisher.publish(staging.staging_id, ACTOR)
    store.stagings.put(before)
    assert reason_of(lambda: publisher.discard(staging.staging_id, ACTOR)) is ErrorReason.STAGING_CLOSED
    assert publisher.staging(staging.staging_id).state == PUBLISHED


def test_a_publication_is_no_failure_because_its_staging_was_collected(
    office: Office, publisher: Publisher, store: Store, staging: Staging, monkeypatch: pytest.MonkeyPatch
):
    office.approve(staging)
    with meanwhile(monkeypatch, Connection, "hash_compare_and_set", lambda: store.stagings.remove(staging.staging_id)):
        assert publisher.publish(staging.staging_id, ACTOR)[0].number == 1
    assert listed(office, 1) == [True]


def test_who_is_never_first_is_told_to_try_again(
    publisher: Publisher, staging: Staging, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr(Connection, "hash_compare_and_set", lambda *_: False)
        assert reason_of(lambda: publisher.discard(staging.staging_id, ACTOR)) is ErrorReason.CONFLICT
    assert publisher.staging(staging.staging_id).state == STAGED


def test_a_proposal_that_is_dropped_while_somebody_approves_it_stays_dropped(
    proposals: Proposals, proposal: Proposal, monkeypatch: pytest.MonkeyPatch
):
    def discard() -> object:
        return proposals.discard(proposal.proposal_id, ACTOR)

    with meanwhile(monkeypatch, Connection, "hash_compare_and_set", discard):
        assert reason_of(lambda: proposals.approve(proposal.proposal_id, ANN)) is ErrorReason.PROPOSAL_CLOSED
    assert proposals.get(proposal.proposal_id).state == DISCARDED


def test_two_approvals_of_a_proposal_at_once_both_count(
    proposals: Proposals, proposal: Proposal, monkeypatch: pytest.MonkeyPatch
):
    with meanwhile(
        monkeypatch, Connection, "hash_compare_and_set", lambda: proposals.approve(proposal.proposal_id, BOB)
    ):
        proposals.approve(proposal.proposal_id, ANN)
    assert {each.approver for each in proposals.get(proposal.proposal_id).approvals} == {ANN, BOB}


@pytest.mark.parametrize(("owner", "method"), [(Acts, "_load"), (ManifestStore, "replace")])
def test_a_proposal_that_is_dropped_before_it_takes_effect_does_not(
    office: Office,
    proposals: Proposals,
    proposal: Proposal,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    method: str,
):
    for person in (ANN, BOB):
        proposals.approve(proposal.proposal_id, person)
    epoch = office.manifest().epoch

    def discard() -> object:
        return proposals.discard(proposal.proposal_id, ANN)

    with meanwhile(monkeypatch, owner, method, discard) as came:
        assert reason_of(lambda: proposals.carry_out(proposal.proposal_id, ACTOR)) is ErrorReason.PROPOSAL_CLOSED
    assert isinstance(came[0], Proposal)
    assert office.manifest().epoch == epoch


def test_a_proposal_that_takes_effect_while_somebody_drops_it_is_carried_out(
    proposals: Proposals, proposal: Proposal, monkeypatch: pytest.MonkeyPatch
):
    for person in (ANN, BOB):
        proposals.approve(proposal.proposal_id, person)

    def discard() -> object:
        return proposals.discard(proposal.proposal_id, ANN)

    def carry_out() -> object:
        return proposals.carry_out(proposal.proposal_id, ACTOR)

    with meanwhile(monkeypatch, Connection, "hash_compare_and_set", carry_out):
        assert reason_of(discard) is ErrorReason.PROPOSAL_CLOSED
    assert proposals.get(proposal.proposal_id).state == CARRIED_OUT
    assert OPEN not in {each.state for each in proposals.open()}
