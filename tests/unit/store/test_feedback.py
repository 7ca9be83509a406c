"""What callers said: in its own place or nowhere, one record for each client, hash and list."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from hashmatch.model.feedback import DisputeReason, Feedback, Judgement
from hashmatch.store.connection import Connection
from hashmatch.store.feedback import FeedbackStore
from hashmatch.store.store import Store
from hashmatch.trust.sealing import SealingKey

KEY = "hashmatch:feedback"


def feedback(**changes: Any) -> Feedback:
    stated: dict[str, Any] = {
        "list_id": "list",
        "algorithm": 3,
        "value": b"d" * 32,
        "client": "uploads",
        "judgement": Judgement.CONFIRMED,
        "reason": DisputeReason.NONE,
        "note": "",
        "said_at": 1.0,
        "generation": 1,
        "source_keys": (),
        "near": False,
    }
    return Feedback(**stated | changes)


def test_what_is_put_is_there_and_what_is_put_again_is_in_its_place(store: Store):
    assert store.feedback.all() == {}
    store.feedback.put(feedback())
    changed = feedback(judgement=Judgement.DISPUTED, reason=DisputeReason.LAWFUL, note="a note", said_at=2.0)
    store.feedback.put(changed)
    assert store.feedback.all() == {store.feedback.id_of(changed): changed}


@pytest.mark.parametrize("changed", [{"list_id": "other"}, {"algorithm": 1}, {"value": b"e" * 32}, {"client": "other"}])
def test_each_client_hash_and_list_has_a_place_of_its_own(store: Store, changed: dict[str, Any]):
    one, other = feedback(), feedback(**changed)
    store.feedback.put(one)
    store.feedback.put(other)
    assert sorted(store.feedback.all()) == sorted({store.feedback.id_of(one), store.feedback.id_of(other)})
    store.feedback.remove([one])
    assert list(store.feedback.all().values()) == [other]


def test_every_change_makes_another_version(store: Store):
    versions = [store.feedback.version()]
    assert versions == [None]
    store.feedback.put(feedback())
    versions.append(store.feedback.version())
    store.feedback.put(feedback(note="x"))
    versions.append(store.feedback.version())
    store.feedback.remove([feedback()])
    versions.append(store.feedback.version())
    assert len(set(versions)) == 4


def test_what_was_moved_or_changed_is_nothing_that_anybody_said(store: Store, valkey: redis.Redis):
    one, other = feedback(), feedback(client="other")
    store.feedback.put(one)
    store.feedback.put(other)
    ours, theirs = store.feedback.id_of(one), store.feedback.id_of(other)
    sealed = valkey.hget(KEY, ours)
    valkey.hset(KEY, theirs, sealed)
    assert store.feedback.all() == {ours: one}
    valkey.hset(KEY, ours, sealed[:-1] + bytes([sealed[-1] ^ 1]))
    valkey.hset(KEY, "stranger", b"short")
    valkey.hset(KEY, b"\xff\xfe", sealed)
    assert store.feedback.all() == {}


def test_while_keys_rotate_a_client_has_one_voice(store: Store, connection: Connection):
    """Servers that seal with the old and with the new key look at the same store."""
    old, new = bytes(32), b"n" * 32
    before = FeedbackStore(connection, store.keys, SealingKey(old, upcoming=[new]))
    after = FeedbackStore(connection, store.keys, SealingKey(new, retired=[old]))
    before.put(feedback(said_at=1.0))
    assert list(after.all().values()) == [feedback(said_at=1.0)]
    assert after.under({SealingKey(old).key_id}) == [feedback(said_at=1.0)]
    after.put(feedback(said_at=2.0))
    assert list(before.all().values()) == list(after.all().values()) == [feedback(said_at=2.0)]
    assert not after.under({SealingKey(old).key_id})
    before.remove([feedback()])
    assert before.all() == after.all() == {}
