"""The suite bites where lists come from other instances: without a guard, what it guards against goes through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tuf.api.metadata import Root, Signed, TargetFile, Targets

from hashmatch.trust import exchange_client, exchange_repository, trust_state
from tests.support.exchange import Hotline
from tests.unit.trust import test_exchange

hotline, state = test_exchange.hotline, test_exchange.state

Bug = Callable[[pytest.MonkeyPatch], None]
Check = Callable[[Hotline, Path, Path], None]


def last_week_is_refused(hotline: Hotline, state: Path, scratch: Path) -> None:
    test_exchange.test_last_weeks_repository_is_a_rollback(hotline, state, scratch)


def standing_still_is_refused(hotline: Hotline, state: Path, scratch: Path) -> None:
    test_exchange.test_a_repository_that_stands_still_is_a_freeze(hotline, state)


def too_few_signatures_are_refused(hotline: Hotline, state: Path, scratch: Path) -> None:
    test_exchange.test_too_few_signatures_are_refused(hotline, state)


def other_bytes_are_refused(hotline: Hotline, state: Path, scratch: Path) -> None:
    test_exchange.test_a_bundle_that_was_changed_cut_or_exchanged_is_refused(hotline, state)


def damage_is_refused(hotline: Hotline, state: Path, scratch: Path) -> None:
    test_exchange.test_a_damaged_trust_state_is_not_begun_anew(state, hotline, "older part")


def setting_back_is_noticed(hotline: Hotline, state: Path, scratch: Path) -> None:
    test_exchange.test_a_trust_state_that_was_set_back_is_noticed(state, hotline)


def one_at_a_time(hotline: Hotline, state: Path, scratch: Path) -> None:
    test_exchange.test_a_trust_state_is_for_one_at_a_time(state, hotline)


def bodies_stay_below_their_names(hotline: Hotline, state: Path, scratch: Path) -> None:
    test_exchange.test_a_body_publishes_only_below_its_own_name(hotline, state)


def what_verified_is_remembered(hotline: Hotline, state: Path, scratch: Path) -> None:
    test_exchange.test_what_verified_before_a_failure_is_remembered(hotline, state, scratch)


def remember_nothing(patch: pytest.MonkeyPatch) -> None:
    """What was seen is not kept, so that everything is new."""
    patch.setattr(trust_state.TrustState, "replace", lambda _self, _metadata: None)


def remember_only_success(patch: pytest.MonkeyPatch) -> None:
    """What verified is kept when the whole did."""
    proper = exchange_client._verified

    def verified(directory: Path) -> dict[str, bytes]:
        found = proper(directory)
        return {"root": found["root"]}

    patch.setattr(exchange_client, "_verified", verified)


def never_expire(patch: pytest.MonkeyPatch) -> None:
    """Metadata is good for ever."""
    patch.setattr(Signed, "is_expired", lambda _self, _time=None: False)


def take_any_signature(patch: pytest.MonkeyPatch) -> None:
    """Thresholds are not looked at."""
    for delegator in (Root, Targets):
        patch.setattr(delegator, "verify_delegate", lambda *_arguments: None)


def take_any_bundle(patch: pytest.MonkeyPatch) -> None:
    """The bytes of a target are not compared."""
    patch.setattr(TargetFile, "verify_length_and_hashes", lambda _self, _data: None)


def begin_anew(patch: pytest.MonkeyPatch) -> None:
    """A damaged trust state is read as far as it goes."""

    def read(directory: Path) -> dict[str, bytes]:
        stored: Any = msgspec.json.decode((directory / "trust.json").read_bytes(), type=trust_state._Stored)
        return stored.metadata

    patch.setattr(trust_state, "_read", read)


def forget_the_checkpoint(patch: pytest.MonkeyPatch) -> None:
    """What the published generation says of the versions is not looked at."""
    proper = exchange_client.pull
    patch.setattr(test_exchange, "pull", lambda state, fetch, target, **_rest: proper(state, fetch, target))


def lock_nothing(patch: pytest.MonkeyPatch) -> None:
    """Two may use a trust state at a time."""
    patch.setattr(trust_state.fcntl, "flock", lambda *_arguments: None)


def delegate_everything(patch: pytest.MonkeyPatch) -> None:
    """A body may publish any path."""
    proper = exchange_repository.DelegatedRole

    def role(name, key_ids, threshold, terminating, paths):
        return proper(name, key_ids, threshold, False, paths=["*/*"])

    patch.setattr(exchange_repository, "DelegatedRole", role)


CAUGHT_BY: dict[Bug, Check] = {
    remember_nothing: last_week_is_refused,
    remember_only_success: what_verified_is_remembered,
    never_expire: standing_still_is_refused,
    take_any_signature: too_few_signatures_are_refused,
    take_any_bundle: other_bytes_are_refused,
    begin_anew: damage_is_refused,
    forget_the_checkpoint: setting_back_is_noticed,
    lock_nothing: one_at_a_time,
    delegate_everything: bodies_stay_below_their_names,
}


@pytest.mark.parametrize("bug", CAUGHT_BY, ids=lambda bug: bug.__name__)
def test_a_seeded_bug_is_caught(tmp_path: Path, bug: Bug) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if bug is delegate_everything:
            bug(patch)
        hotline = Hotline(tmp_path / "repository")
        hotline.publish(test_exchange.FIRST)
        trust_state.begin_trust(tmp_path / "state", hotline.first_root)
        bug(patch)
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            CAUGHT_BY[bug](hotline, tmp_path / "state", tmp_path / "before")


@pytest.mark.parametrize("check", sorted(set(CAUGHT_BY.values()), key=lambda check: check.__name__))
def test_what_holds_without_a_bug(hotline: Hotline, state: Path, tmp_path: Path, check: Check) -> None:
    check(hotline, state, tmp_path / "before")
