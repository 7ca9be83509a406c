"""Suppressions and stagings: sealed, in their place, and missing only as an error."""

from __future__ import annotations

import pytest
import redis

from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.model.vetting import DeliveryMode, VettingReport
from hashmatch.store.connection import Connection
from hashmatch.store.manifest import SuppressionsInfo
from hashmatch.store.segments import SegmentInfo, StoreDamagedError
from hashmatch.store.stagings import STAGED, KindChange, PendingNote, Staging
from hashmatch.store.store import Store
from hashmatch.store.suppressions import Suppression
from hashmatch.trust.sealing import KEY_SIZE, SealingKey

REPORT = VettingReport(
    records=1,
    read=1,
    stored=1,
    duplicates=0,
    quarantined=0,
    removals=0,
    counts={1: 1},
    added=1,
    removed=0,
    changed=0,
    unchanged=0,
)
INFO = SegmentInfo("0" * 16, b"salt", 1, 1, 1, 1, 1, "00000000")


def unnoted(_info: SuppressionsInfo) -> None:
    """What is written here needs no collecting."""


def suppression(**changes: object) -> Suppression:
    stated = {"algorithm": 1, "digest": b"d" * 16, "list_ids": (), "reason": "why", "actor": "ann", "changed": {"": 3}}
    return Suppression(**stated | changes)


def staging(staging_id: str, staged_at: float = 1.0) -> Staging:
    return Staging(
        staging_id=staging_id,
        list_id="list",
        state=STAGED,
        base_number=0,
        mode=DeliveryMode.FULL,
        staged_by="ann",
        staged_at=staged_at,
        as_of=1.0,
        file_name="",
        delivery_sha256=b"",
        delivery_bytes=1,
        report=REPORT,
        changes=(KindChange(1, INFO, replace=True), KindChange(2, None, replace=True)),
        approval_digest=b"digest",
    )


def test_suppressions_come_back_as_they_were_written(store: Store):
    given = [
        suppression(),
        suppression(digest=b"e" * 16, list_ids=("a", "b"), changed={"a": 9, "b": 4}, lifted={"a": 9}),
    ]
    info = store.suppressions.write(given, note_pending=unnoted)
    assert info.count == 2
    assert store.suppressions.read(info) == given
    assert store.suppressions.read(None) == []


def test_a_suppression_covers_its_lists_or_all(store: Store):
    assert suppression().covers("any")
    assert suppression(list_ids=("a",)).covers("a")
    assert not suppression(list_ids=("a",)).covers("b")


def test_what_is_done_about_one_list_tells_nothing_of_another():
    everywhere = suppression(changed={"": 3, "a": 9}, lifted={"a": 9})
    assert [everywhere.seen_again_since(each) for each in "ab"] == [9, 0]
    assert [everywhere.changed_for({each}) for each in "ab"] == [9, 3]
    assert suppression(changed={"a": 9}, lifted={"a": 9}).changed_for({"b"}) == 0


@pytest.mark.parametrize("harm", ["missing", "flipped", "cut short", "an older version"])
def test_suppressions_that_are_not_what_was_written_are_damage(store: Store, valkey: redis.Redis, harm: str):
    """To serve on without them would bring back what somebody took out of every answer."""
    older, info = (
        store.suppressions.write([], note_pending=unnoted),
        store.suppressions.write([suppression()], note_pending=unnoted),
    )
    key = store.keys.suppressions(info.blob_id)
    sealed = valkey.get(key)
    harmed = {
        "missing": None,
        "flipped": sealed[:-1] + bytes([sealed[-1] ^ 1]),
        "cut short": sealed[:10],
        "an older version": valkey.get(store.keys.suppressions(older.blob_id)),
    }[harm]
    valkey.delete(key) if harmed is None else valkey.set(key, harmed)
    with pytest.raises(StoreDamagedError):
        store.suppressions.read(info)


def test_a_deleted_version_is_gone(store: Store, valkey: redis.Redis):
    store.suppressions.delete(store.suppressions.write([suppression()], note_pending=unnoted))
    assert valkey.dbsize() == 0
    with pytest.raises(StoreDamagedError):
        store.suppressions.read(SuppressionsInfo("0" * 16, 1))


def test_stagings_come_back_oldest_first(store: Store):
    for each in (staging("a", 3.0), staging("c", 1.0), staging("b", 1.0)):
        store.stagings.put(each)
    assert [each.staging_id for each in store.stagings.all()] == ["b", "c", "a"]
    assert store.stagings.get("a") == staging("a", 3.0)
    assert store.stagings.get("a").segments() == [INFO]
    store.stagings.remove("a")
    with pytest.raises(HashmatchError) as caught:
        store.stagings.get("a")
    assert caught.value.reason is ErrorReason.STAGING_NOT_FOUND


def test_a_staging_in_the_place_of_another_is_damage_and_told_alone(store: Store, valkey: redis.Redis):
    store.stagings.put(staging("a"))
    valkey.hset(store.keys.stagings, "b", valkey.hget(store.keys.stagings, "a"))
    with pytest.raises(StoreDamagedError):
        store.stagings.get("b")
    assert store.stagings.read() == ([staging("a")], ["b"])
    assert store.stagings.all() == [staging("a")]


def test_what_is_sealed_under_a_key_that_is_not_here_stays_and_is_told(
    store: Store, connection: Connection, valkey: redis.Redis
):
    elsewhere = Store(connection, SealingKey(bytes(KEY_SIZE)))
    elsewhere.stagings.put(staging("a"))
    store.stagings.put(staging("b"))
    assert store.stagings.read() == ([staging("b")], ["a"])
    assert [each.staging_id for each in store.stagings.under([store.sealing_key.key_id])] == ["b"]
    assert elsewhere.stagings.get("a") == staging("a")


def test_a_name_that_is_no_text_is_told_and_holds_up_nothing(store: Store, valkey: redis.Redis):
    for records, key in ((store.stagings, store.keys.stagings), (store.proposals, store.keys.proposals)):
        valkey.hset(key, b"\xff", b"anything")
        assert records.read() == ([], ["\\xff"])
        assert records.under(["key"]) == []


def test_notes_come_back_until_they_are_removed(store: Store, valkey: redis.Redis):
    note = PendingNote(1.0, segment=INFO)
    store.stagings.note("a", note)
    assert store.stagings.notes() == {"a": note}
    other = PendingNote(2.0, segment=INFO)
    store.stagings.remove_note("a", other)
    assert (store.stagings.is_noted("a", note), store.stagings.is_noted("a", other)) == (True, False)
    store.stagings.remove_note("a", note)
    assert store.stagings.notes() == {}
    assert not store.stagings.is_noted("a", note)
    store.stagings.remove_note("a", note)
    valkey.hset(store.keys.pending, "b", b"\xff")
    with pytest.raises(StoreDamagedError):
        store.stagings.notes()
