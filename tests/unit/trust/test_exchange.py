"""What another instance publishes is taken as it signed it, or refused with what is wrong."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

import pytest

from hashmatch.trust.exchange_client import Fetch, Pulled, position_of, pull, versions_in
from hashmatch.trust.exchange_repository import PublishingError, public_key_id
from hashmatch.trust.trust_state import ExchangeError, ExchangeFailure, begin_trust, open_trust
from tests.support.exchange import BODY, LIST, TARGET, Hotline, keys, with_changed, with_signatures

FIRST, SECOND = b'{"the": "first"}\n', b'{"the": "second one"}\n'


@pytest.fixture
def hotline(tmp_path: Path) -> Hotline:
    hotline = Hotline(tmp_path / "repository")
    hotline.publish(FIRST)
    return hotline


@pytest.fixture
def state(tmp_path: Path, hotline: Hotline) -> Path:
    begin_trust(tmp_path / "state", hotline.first_root)
    return tmp_path / "state"


def pulled(state: Path, fetch: Fetch, target: str = TARGET, **rest: dict[str, int]) -> Pulled:
    with open_trust(state) as opened:
        return pull(opened, fetch, target, **rest)


def refused(state: Path, fetch: Fetch, target: str = TARGET, **rest: dict[str, int]) -> ExchangeFailure:
    with pytest.raises(ExchangeError) as caught:
        pulled(state, fetch, target, **rest)
    return caught.value.reason


def old(hotline: Hotline, place: Path) -> Fetch:
    """The repository as it was, after which the hotline published something else."""
    before = hotline.copy(place)
    hotline.publish(SECOND)
    return lambda path: (before / path).read_bytes() if (before / path).exists() else None


# ---- what is published is pulled


def test_what_was_published_last_is_pulled(hotline: Hotline, state: Path):
    assert pulled(state, hotline.fetch).bundle == FIRST
    versions = hotline.publish(SECOND)
    assert pulled(state, hotline.fetch) == Pulled(SECOND, versions)


def test_a_repository_is_kept_fresh_with_the_online_key_alone(hotline: Hotline, state: Path):
    before = pulled(state, hotline.fetch).versions
    after = hotline.release()
    assert pulled(state, hotline.fetch).versions == after
    assert after == {**before, "snapshot": before["snapshot"] + 1, "timestamp": before["timestamp"] + 1}


def test_a_list_that_is_not_published_is_said_to_be_so(hotline: Hotline, state: Path):
    assert refused(state, hotline.fetch, f"{BODY}/other.bundle") is ExchangeFailure.NOT_PUBLISHED
    hotline.repository().withdraw(BODY, LIST)
    hotline.sign(hotline.body[1])
    hotline.release()
    assert refused(state, hotline.fetch) is ExchangeFailure.NOT_PUBLISHED


def test_keys_rotate_and_subscribers_follow(hotline: Hotline, state: Path):
    new_root, new_targets, new_online = (keys(1)[0] for _ in range(3))
    repository = hotline.repository()
    repository.rotate("root", [new_root.public_key()], [public_key_id(hotline.root[0].public_key())], None)
    repository.rotate("targets", [new_targets.public_key()], [public_key_id(hotline.targets[0].public_key())], None)
    repository.rotate("snapshot", [new_online.public_key()], [public_key_id(hotline.online.public_key())], None)
    # Two of those who were trusted, and two of those who will be.
    hotline.sign(hotline.root[0], hotline.root[1], new_root, hotline.targets[1], new_targets)
    hotline.online = new_online
    hotline.publish(SECOND)
    assert pulled(state, hotline.fetch).bundle == SECOND
    # And to new subscribers from the first root on.
    begin_trust(state.parent / "another", hotline.first_root)
    assert pulled(state.parent / "another", hotline.fetch).bundle == SECOND


# ---- what somebody in between can do


def test_last_weeks_repository_is_a_rollback(hotline: Hotline, state: Path, tmp_path: Path):
    before = old(hotline, tmp_path / "before")
    pulled(state, hotline.fetch)
    assert refused(state, before) is ExchangeFailure.ROLLBACK
    assert pulled(state, hotline.fetch).bundle == SECOND


def test_a_new_timestamp_of_an_old_snapshot_is_a_rollback(hotline: Hotline, state: Path, tmp_path: Path):
    """Whoever has the online key alone cannot set the lists back either."""
    before = hotline.copy(tmp_path / "before")
    hotline.publish(SECOND)
    pulled(state, hotline.fetch)
    thief = Hotline.__new__(Hotline)
    thief.directory, thief.online, thief.days = before, hotline.online, 7
    for _ in range(4):
        thief.release()
    assert refused(state, thief.fetch) is ExchangeFailure.ROLLBACK


def test_a_repository_that_stands_still_is_a_freeze(hotline: Hotline, state: Path):
    pulled(state, hotline.fetch)
    hotline.days = 2
    hotline.publish(SECOND, ago=3)
    assert refused(state, hotline.fetch) is ExchangeFailure.FREEZE
    hotline.days = 7
    hotline.release()
    assert pulled(state, hotline.fetch).bundle == SECOND


@pytest.mark.parametrize("role", ["snapshot", "targets", BODY])
def test_metadata_of_different_states_is_mix_and_match(hotline: Hotline, state: Path, tmp_path: Path, role: str):
    hotline.repository().delegate(BODY, [key.public_key() for key in hotline.body], 1)
    hotline.sign(*hotline.targets, hotline.body[0])
    hotline.publish(SECOND)
    versions = json.loads(position_of(pulled(state, hotline.fetch).versions))
    name = f"{versions[role]}.{role}.json"
    other = (hotline.directory / "metadata" / f"{versions[role] - 1}.{role}.json").read_bytes()
    fresh = state.parent / "fresh"
    begin_trust(fresh, hotline.first_root)
    mixed = with_changed(hotline.fetch, name, lambda _content: other)
    assert refused(fresh, mixed) is ExchangeFailure.MIX_AND_MATCH


def test_metadata_that_is_left_out_is_mix_and_match(hotline: Hotline, state: Path):
    without = with_changed(hotline.fetch, f".{BODY}.json", lambda _content: None)
    assert refused(state, without) is ExchangeFailure.MIX_AND_MATCH


def test_where_no_timestamp_is_there_is_no_repository(hotline: Hotline, state: Path):
    without = with_changed(hotline.fetch, "timestamp.json", lambda _content: None)
    assert refused(state, without) is ExchangeFailure.UNREACHABLE


def test_too_few_signatures_are_refused(hotline: Hotline, state: Path):
    unsigned = with_changed(hotline.fetch, "timestamp.json", lambda content: with_signatures(content, 0))
    assert refused(state, unsigned) is ExchangeFailure.TOO_FEW_SIGNATURES
    hotline.repository().rotate("root", [keys(1)[0].public_key()], [], None)
    hotline.sign(*hotline.root[:2])
    hotline.release()
    one = with_changed(hotline.fetch, "2.root.json", lambda content: with_signatures(content, 1))
    assert refused(state, one) is ExchangeFailure.TOO_FEW_SIGNATURES


@pytest.mark.parametrize("part", ["timestamp.json", ".snapshot.json", ".targets.json", f".{BODY}.json"])
def test_metadata_that_was_changed_or_cut_is_refused(hotline: Hotline, state: Path, part: str):
    changed = with_changed(hotline.fetch, part, lambda content: content.replace(b'"expires"', b'"expireS"'))
    assert refused(state, changed) in (ExchangeFailure.TAMPERED, ExchangeFailure.TOO_FEW_SIGNATURES)
    for size in (0, 1, 40, 400):
        cut = with_changed(hotline.fetch, part, lambda content, size=size: content[:size])
        assert refused(state, cut) is ExchangeFailure.TRUNCATED
    endless = with_changed(hotline.fetch, part, lambda content: content + b" " * 10_000_000)
    assert refused(state, endless) is ExchangeFailure.TAMPERED


def test_a_bundle_that_was_changed_cut_or_exchanged_is_refused(hotline: Hotline, state: Path):
    for change, reason in (
        (lambda content: content[:-2] + b"?\n", ExchangeFailure.TAMPERED),
        (lambda content: content[:-1], ExchangeFailure.TRUNCATED),
        (lambda content: content + b"\n", ExchangeFailure.TAMPERED),
        (lambda _content: b"", ExchangeFailure.TRUNCATED),
        (lambda _content: None, ExchangeFailure.MIX_AND_MATCH),
    ):
        assert refused(state, with_changed(hotline.fetch, ".bundle", change)) is reason


def test_a_body_publishes_only_below_its_own_name(hotline: Hotline, state: Path):
    other = keys(1)
    hotline.repository().delegate("other", [other[0].public_key()], 1)
    hotline.repository().publish("other", LIST, SECOND)
    # The other body signs a target that is not below its name.
    staged = hotline.directory / "staged" / "other.json"
    document = json.loads(staged.read_bytes())
    document["signed"]["targets"][f"{BODY}/stolen.bundle"] = document["signed"]["targets"][f"other/{LIST}.bundle"]
    staged.write_text(json.dumps(document))
    hotline.sign(*hotline.targets, other[0])
    hotline.release()
    assert refused(state, hotline.fetch, f"{BODY}/stolen.bundle") is ExchangeFailure.NOT_PUBLISHED
    assert pulled(state, hotline.fetch, f"other/{LIST}.bundle").bundle == SECOND


def test_what_goes_wrong_on_the_way_comes_out_as_it_is(state: Path):
    def unreachable(_path: str) -> bytes:
        raise TimeoutError("no answer")

    with pytest.raises(TimeoutError):
        pulled(state, unreachable)


# ---- the trust state


def test_without_a_trust_state_nothing_is_pulled(tmp_path: Path, hotline: Hotline):
    assert refused(tmp_path / "nowhere", hotline.fetch) is ExchangeFailure.STATE_MISSING
    assert not (tmp_path / "nowhere").exists()


def test_a_trust_state_is_begun_once(state: Path, hotline: Hotline):
    with pytest.raises(ExchangeError) as refused:
        begin_trust(state, hotline.first_root)
    assert refused.value.reason is ExchangeFailure.STATE_EXISTS


def test_where_a_trust_state_was_deleted_none_is_begun_either(state: Path, hotline: Hotline):
    (state / "trust.json").unlink()
    with pytest.raises(ExchangeError) as refused:
        begin_trust(state, hotline.first_root)
    assert refused.value.reason is ExchangeFailure.STATE_EXISTS
    assert not (state / "trust.json").exists()


def test_a_root_that_is_not_signed_by_its_own_keys_is_not_trusted(tmp_path: Path, hotline: Hotline):
    for root in (with_signatures(hotline.first_root, 1), b"", b"{}", b"[]", hotline.first_root[:-9]):
        with pytest.raises(ExchangeError) as caught:
            begin_trust(tmp_path / "another", root)
        assert caught.value.reason is ExchangeFailure.TOO_FEW_SIGNATURES


@pytest.mark.parametrize("harm", ["cut", "bit", "emptied", "no text", "older part", "root gone"])
def test_a_damaged_trust_state_is_not_begun_anew(state: Path, hotline: Hotline, harm: str):
    pulled(state, hotline.fetch)
    file = state / "trust.json"
    content = file.read_bytes()
    document = json.loads(content)
    if harm == "older part":
        del document["metadata"]["timestamp"]
    if harm == "root gone":
        document["metadata"] = {}
    file.write_bytes(
        {
            "cut": content[:-1],
            "bit": content.replace(b"A", b"B", 1),
            "emptied": b"",
            "no text": content.replace(b"A", b"\xff", 1),
        }.get(harm, json.dumps(document).encode())
    )
    assert refused(state, hotline.fetch) is ExchangeFailure.STATE_DAMAGED


def test_a_trust_state_that_was_set_back_is_noticed(state: Path, hotline: Hotline):
    begun = (state / "trust.json").read_bytes()
    position = position_of(pulled(state, hotline.fetch).versions)
    (state / "trust.json").write_bytes(begun)
    assert refused(state, hotline.fetch, at_least=versions_in(position)) is ExchangeFailure.STATE_OUTDATED


def test_a_trust_state_is_for_one_at_a_time(state: Path, hotline: Hotline):
    descriptor = os.open(state / "lock", os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert refused(state, hotline.fetch) is ExchangeFailure.STATE_LOCKED
    finally:
        os.close(descriptor)
    assert pulled(state, hotline.fetch).bundle == FIRST


def test_what_verified_before_a_failure_is_remembered(hotline: Hotline, state: Path, tmp_path: Path):
    before = old(hotline, tmp_path / "before")
    broken = with_changed(hotline.fetch, ".bundle", lambda content: content[:-1])
    assert refused(state, broken) is ExchangeFailure.TRUNCATED
    assert refused(state, before) is ExchangeFailure.ROLLBACK


# ---- publishing


def test_nothing_is_released_without_its_signatures(hotline: Hotline):
    hotline.repository().publish(BODY, LIST, SECOND)
    with pytest.raises(PublishingError, match="hotline lacks signatures"):
        hotline.release()
    stranger = keys(1)[0]
    assert hotline.repository().sign(stranger) == []
    assert hotline.repository().sign(hotline.body[1]) == [BODY]
    hotline.release()


def test_the_old_root_has_to_agree_to_a_new_one(hotline: Hotline):
    new = keys(2)
    old_ids = [public_key_id(key.public_key()) for key in hotline.root]
    hotline.repository().rotate("root", [key.public_key() for key in new], old_ids, 2)
    hotline.sign(*new)
    with pytest.raises(PublishingError, match="root lacks signatures"):
        hotline.release()
    hotline.sign(*hotline.root[:2])
    hotline.release()


def test_a_threshold_can_be_met(hotline: Hotline):
    repository = hotline.repository()
    with pytest.raises(PublishingError, match="threshold"):
        repository.rotate("root", [], [public_key_id(key.public_key()) for key in hotline.root[:2]], None)
    with pytest.raises(PublishingError, match="threshold"):
        repository.delegate("other", [], 1)


def test_only_the_online_key_releases(hotline: Hotline):
    hotline.online = keys(1)[0]
    with pytest.raises(PublishingError, match="online"):
        hotline.release()


def test_how_it_stands_is_told(hotline: Hotline):
    hotline.repository().publish(BODY, LIST, SECOND)
    states = {state.role: state for state in hotline.repository().states()}
    assert {*states} == {"root", "targets", BODY, "snapshot", "timestamp"}
    waiting = states[BODY]
    assert (waiting.version, waiting.staged, waiting.signatures, waiting.threshold) == (2, 3, 0, 1)
    assert (states["root"].signatures, states["root"].threshold, len(states["root"].key_ids)) == (2, 2, 3)


@pytest.mark.parametrize("position", ["", "[]", "7", '{"root": "x"}', "{"])
def test_a_checkpoint_that_names_no_versions_is_refused(position: str):
    with pytest.raises(ExchangeError):
        versions_in(position)
