"""The suite bites where people have to agree: without a guard, the attack that it stops succeeds."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from hashmatch.ingest import acts
from hashmatch.ingest.approvals import Approvals
from hashmatch.model.approvals import Approver
from hashmatch.model.clock import Clock
from hashmatch.model.errors import HashmatchError
from hashmatch.store.store import Store
from hashmatch.trust.signing import SignedApproval
from tests.unit.ingest import test_approvals
from tests.unit.ingest.test_approvals import Signing

signing = test_approvals.signing

Bug = Callable[[pytest.MonkeyPatch], None]
Check = Callable[[Signing, Store, Clock], None]


# ---- what holds


def one_cannot_act_alone(signing: Signing, store: Store, clock: Clock) -> None:
    test_approvals.test_no_act_that_changes_answers_is_done_by_one(signing)


def an_approval_is_for_one_act(signing: Signing, store: Store, clock: Clock) -> None:
    test_approvals.test_an_approval_of_the_same_delivery_is_not_replayed_on_a_later_state(signing)


def nobody_approves_their_own(signing: Signing, store: Store, clock: Clock) -> None:
    test_approvals.test_who_staged_cannot_sign_it(signing)


def who_was_revoked_does_not_count(signing: Signing, store: Store, clock: Clock) -> None:
    test_approvals.test_an_approver_who_is_revoked_in_between_stops_it(signing)


def what_is_kept_is_verified(signing: Signing, store: Store, clock: Clock) -> None:
    test_approvals.test_what_the_store_made_of_an_approval_is_verified_when_it_takes_effect(signing, store)


def nothing_is_carried_out_twice(signing: Signing, store: Store, clock: Clock) -> None:
    test_approvals.test_a_proposal_is_carried_out_once_also_if_the_store_forgets_that_it_was(signing, store)


def the_state_is_the_approved_one(signing: Signing, store: Store, clock: Clock) -> None:
    test_approvals.test_a_proposal_is_for_the_state_that_it_was_worked_out_from(signing, "the list")


# ---- what somebody could break


def let_one_act_alone(patch: pytest.MonkeyPatch) -> None:
    """Only deliveries need approvals."""
    patch.setattr(Approvals, "needed", property(lambda _self: False))


def take_any_signed_approval(patch: pytest.MonkeyPatch) -> None:
    """The signature is verified, and what it is for is not looked at."""

    def check(self, signed, approver, terms, proposer) -> None:
        signed.verify(approver.key)

    patch.setattr(Approvals, "_check_signed", check)


def forget_who_staged(patch: pytest.MonkeyPatch) -> None:
    """An approver counts, whoever staged it."""
    proper = Approvals._check_signed

    def check(self, signed, approver, terms, proposer) -> None:
        proper(self, signed, approver, terms, "")

    patch.setattr(Approvals, "_check_signed", check)


def let_the_revoked_approve(patch: pytest.MonkeyPatch) -> None:
    """Whoever was enrolled once is enrolled."""
    patch.setattr(Approver, "counts", lambda _self, _now: True)


def believe_what_was_recorded(patch: pytest.MonkeyPatch) -> None:
    """Approvals are verified when they are given, and counted when they take effect."""

    def check(self, manifest, approved) -> tuple[str, ...]:
        return tuple(each.approver for each in approved.approvals)

    patch.setattr(Approvals, "check", check)


def skip_the_signature(patch: pytest.MonkeyPatch) -> None:
    """An envelope is read, and not verified."""
    patch.setattr(SignedApproval, "verify", lambda _self, _key: None)


def forget_what_was_carried_out(patch: pytest.MonkeyPatch) -> None:
    """Whether a proposal was carried out is known to the proposal alone."""
    proper = acts._with_approvals

    def with_approvals(*arguments):
        return msgspec.structs.replace(proper(*arguments), spent={})

    patch.setattr(acts, "_with_approvals", with_approvals)


def approve_whatever_state(patch: pytest.MonkeyPatch) -> None:
    """The state in which an act takes effect is not compared with the one that was approved."""
    proper = Approvals.check

    def check(self, manifest, approved) -> tuple[str, ...]:
        object.__setattr__(approved, "terms_now", lambda _manifest: approved.terms)
        return proper(self, manifest, approved)

    patch.setattr(Approvals, "check", check)


CAUGHT_BY: dict[Bug, Check] = {
    let_one_act_alone: one_cannot_act_alone,
    take_any_signed_approval: an_approval_is_for_one_act,
    forget_who_staged: nobody_approves_their_own,
    let_the_revoked_approve: who_was_revoked_does_not_count,
    believe_what_was_recorded: who_was_revoked_does_not_count,
    skip_the_signature: what_is_kept_is_verified,
    forget_what_was_carried_out: nothing_is_carried_out_twice,
    approve_whatever_state: the_state_is_the_approved_one,
}


@pytest.mark.parametrize("bug", CAUGHT_BY, ids=lambda bug: bug.__name__)
def test_a_seeded_bug_is_caught(signing: Signing, store: Store, clock: Clock, bug: Bug) -> None:
    with pytest.MonkeyPatch.context() as patch:
        bug(patch)
        with pytest.raises((AssertionError, pytest.fail.Exception, HashmatchError)):
            CAUGHT_BY[bug](signing, store, clock)


@pytest.mark.parametrize("check", sorted(set(CAUGHT_BY.values()), key=lambda check: check.__name__))
def test_what_holds_without_a_bug(signing: Signing, store: Store, clock: Clock, check: Check) -> None:
    check(signing, store, clock)
