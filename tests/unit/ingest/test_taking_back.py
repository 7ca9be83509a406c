"""Taking back what was published: rolling back, withdrawing, suppressing."""

from __future__ import annotations

import pytest

from hashmatch.ingest.publisher import Publisher
from hashmatch.ingest.suppressor import Suppressor
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.model.verdicts import Verdict
from hashmatch.model.vetting import DeliveryMode
from tests.support.numbered import digests, listed, reason_of
from tests.support.office import ACTOR, APPROVERS, Office, row

MD5 = Algorithm.MD5
INCREMENTAL = DeliveryMode.INCREMENTAL
ANN, BOB = APPROVERS


@pytest.fixture
def office(office: Office) -> Office:
    """With one list."""
    office.define()
    return office


# ---- rolling back and withdrawing


def test_rolling_back_serves_the_old_entries_under_a_new_number(office: Office, publisher: Publisher):
    office.deliver_hashes(digests(1, 2))
    office.deliver_hashes(digests(2, 3))
    office.deliver_hashes(digests(4))
    generation, epoch = publisher.roll_back("list", 0, ACTOR)
    assert listed(office, 1, 2, 3, 4) == [False, True, True, False]
    assert (generation.number, generation.epoch, epoch) == (4, epoch, office.manifest().epoch)
    publisher.roll_back("list", 1, ACTOR)
    assert listed(office, 1, 2, 3, 4) == [True, True, False, False]
    # All that came back counts as added, all that was there as removed.
    first, second = office.manifest().history[-2:]
    assert (first.act, first.added, first.removed) == ("roll-back", 2, 1)
    assert (second.act, second.added, second.removed) == ("roll-back", 2, 2)
    # What came back counts as new: who asks for news since then must be told.
    answer = office.ask(MD5, digests(1))
    assert answer.findings[0].opinions[0].since_epoch == office.manifest().epoch


def test_what_was_withdrawn_comes_back_with_a_roll_back_only_on_the_record(office: Office, publisher: Publisher):
    office.deliver(row(key="a", md5=digests(1)[0]) + row(key="b", md5=digests(2)[0]) + row(key="c", md5=digests(3)[0]))
    publisher.withdraw_entries("list", [(1, digests(1)[0])], ["b"], ACTOR, "the body says so")
    with pytest.raises(HashmatchError) as refused:
        publisher.roll_back("list", 1, ACTOR, "why")
    assert refused.value.reason is ErrorReason.GATE_NOT_MET
    assert refused.value.metadata == {"gate": "withdrawn"}
    assert "withdrawn: 2 hashes and 1 entries that were withdrawn since would come back" in str(refused.value)
    assert listed(office, 1, 2, 3) == [False, False, True]
    unreasoned = lambda: publisher.roll_back("list", 1, ACTOR, accept_gates=["withdrawn"])  # noqa: E731
    assert reason_of(unreasoned) is ErrorReason.INVALID_FIELD
    publisher.roll_back("list", 1, ACTOR, "the withdrawal was a mistake", accept_gates=["withdrawn"])
    assert listed(office, 1, 2, 3) == [True, True, True]
    # They are on the list now: what is served already cannot come back.
    publisher.roll_back("list", 1, ACTOR, "why")


def test_a_roll_back_to_a_generation_without_them_needs_no_acceptance(office: Office, publisher: Publisher):
    office.deliver_hashes(digests(2))
    office.deliver_hashes(digests(1, 2))
    publisher.withdraw_entries("list", [(1, digests(1)[0])], [], ACTOR, "the body says so")
    publisher.roll_back("list", 1, ACTOR)
    assert listed(office, 1, 2) == [False, True]


def test_only_retained_generations_can_be_rolled_back_to(office: Office, publisher: Publisher):
    assert reason_of(lambda: publisher.roll_back("list", 0, ACTOR)) is ErrorReason.GENERATION_NOT_FOUND
    for number in range(6):
        office.deliver_hashes(digests(number))
    assert [each.number for each in office.manifest().lists["list"].retained] == [5, 4, 3]
    assert reason_of(lambda: publisher.roll_back("list", 2, ACTOR)) is ErrorReason.GENERATION_NOT_FOUND
    assert reason_of(lambda: publisher.roll_back("other", 0, ACTOR)) is ErrorReason.LIST_NOT_FOUND


def test_a_withdrawn_list_serves_nothing_and_can_return(office: Office, publisher: Publisher):
    office.deliver_hashes(digests(1))
    publisher.withdraw_list("list", ACTOR, "the body asks for it")
    assert listed(office, 1) == [False]
    assert reason_of(lambda: publisher.withdraw_list("list", ACTOR, "again")) is ErrorReason.GENERATION_NOT_FOUND
    publisher.roll_back("list", 0, ACTOR)
    assert listed(office, 1) == [True]
    assert office.ask(MD5, digests(1)).findings[0].opinions[0].since_epoch == office.manifest().epoch


def test_an_incremental_delivery_to_a_withdrawn_list_starts_from_nothing(office: Office, publisher: Publisher):
    office.deliver_hashes(digests(1))
    publisher.withdraw_list("list", ACTOR, "why")
    office.deliver_hashes(digests(2), mode=INCREMENTAL)
    assert listed(office, 1, 2) == [False, True]


def test_withdrawing_entries_names_what_was_not_there(office: Office, publisher: Publisher):
    office.deliver(row(key="a", md5=digests(1)[0]) + row(key="b", md5=digests(2)[0]) + row(key="c", md5=digests(2)[0]))
    generation, epoch, removed, missing = publisher.withdraw_entries(
        "list", [(1, digests(1)[0]), (1, digests(9)[0])], ["b", "nobody"], ACTOR, "why"
    )
    # Another entry still carries hash 2.
    assert (removed, missing) == (1, 2)
    assert (generation.number, generation.epoch, generation.counts) == (2, epoch, {1: 1})
    assert listed(office, 1, 2) == [False, True]
    for hashes, keys, reason in (([], [], "why"), ([(1, digests(2)[0])], [], " ")):
        act = lambda h=hashes, k=keys, r=reason: publisher.withdraw_entries("list", h, k, ACTOR, r)  # noqa: E731
        assert reason_of(act) is ErrorReason.INVALID_FIELD


def test_a_list_is_filled_again_after_its_last_entry_was_withdrawn(office: Office, publisher: Publisher):
    """What is left of the list is a base and a delta without any live row between them."""
    office.deliver_hashes(digests(1))
    publisher.withdraw_entries("list", [(1, digests(1)[0])], [], ACTOR, "why")
    staging = office.stage_hashes(digests(1, 2))
    assert (staging.report.added, staging.report.unchanged) == (2, 0)
    office.publish(staging)
    assert listed(office, 1, 2) == [True, True]


# ---- suppressions


def test_a_suppressed_hash_is_left_out_also_after_the_next_delivery(office: Office, suppressor: Suppressor):
    office.deliver_hashes(digests(1, 2))
    assert suppressor.suppress([(1, digests(1)[0])] * 2, [], ACTOR, "a false positive")[1] == 1
    assert listed(office, 1, 2) == [False, True]
    office.deliver_hashes(digests(1, 2, 3))
    assert listed(office, 1, 2) == [False, True]
    assert office.ask(MD5, digests(1)).findings[0].suppressed


def test_a_suppression_of_one_list_leaves_the_others_their_say(office: Office, suppressor: Suppressor):
    office.define("other")
    for list_id in ("list", "other"):
        office.deliver_hashes(digests(1), list_id)
    hashes = [(1, digests(1)[0])]
    suppressor.suppress(hashes, ["list"], ACTOR, "why")
    (finding,) = office.ask(MD5, digests(1)).findings
    assert [opinion.list_id for opinion in finding.opinions] == ["other"]
    # Lists add up, and a suppression everywhere stays one.
    assert suppressor.suppress(hashes, ["other"], ACTOR, "why")[1] == 1
    assert listed(office, 1) == [False]
    assert suppressor.suppress(hashes, [], ACTOR, "why")[1] == 1
    assert suppressor.suppress(hashes, ["list"], ACTOR, "why")[1] == 0
    assert listed(office, 1) == [False]


def test_a_lifted_suppression_makes_the_hash_newly_visible(office: Office, suppressor: Suppressor):
    office.deliver_hashes(digests(1))
    hashes = [(1, digests(1)[0])]
    suppressor.suppress(hashes, [], ACTOR, "why")
    epoch, lifted = suppressor.lift_suppression([*hashes, (1, digests(2)[0])], ACTOR, "it was right after all")
    assert lifted == 1
    (finding,) = office.ask(MD5, digests(1)).findings
    assert (finding.verdict, finding.opinions[0].since_epoch) == (Verdict.MATCH, epoch)
    assert suppressor.lift_suppression(hashes, ACTOR, "again")[1] == 0
    suppressor.suppress(hashes, [], ACTOR, "once more")
    assert listed(office, 1) == [False]


def test_a_suppression_has_a_hash_a_reason_and_lists_that_exist(office: Office, suppressor: Suppressor):
    hashes = [(1, digests(1)[0])]
    assert reason_of(lambda: suppressor.suppress([], [], ACTOR, "why")) is ErrorReason.INVALID_FIELD
    assert reason_of(lambda: suppressor.suppress(hashes, [], ACTOR, "")) is ErrorReason.INVALID_FIELD
    assert reason_of(lambda: suppressor.suppress(hashes, ["nowhere"], ACTOR, "why")) is ErrorReason.LIST_NOT_FOUND
    assert reason_of(lambda: suppressor.lift_suppression(hashes, ACTOR, " ")) is ErrorReason.INVALID_FIELD


def test_suppressions_are_bounded(office: Office, suppressor: Suppressor, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hashmatch.ingest.suppressor.MAXIMUM_SUPPRESSIONS", 3)
    suppressor.suppress([(1, each) for each in digests(1, 2, 3)], [], ACTOR, "why")
    act = lambda: suppressor.suppress([(1, digests(4)[0])], [], ACTOR, "why")  # noqa: E731
    assert reason_of(act) is ErrorReason.INVALID_FIELD
