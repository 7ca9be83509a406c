"""Leases of feeds, and statuses that nobody else can read or put there."""

from __future__ import annotations

import pytest
import redis

from hashmatch.model.feeds import FeedOutcome, FeedStatus
from hashmatch.store.segments import StoreDamagedError
from hashmatch.store.store import Store

STATUS = FeedStatus(
    feed="planted-feed", started_at=1.0, outcome=FeedOutcome.FAILED, detail="planted-detail", failures=2
)


def test_a_lease_has_one_holder_until_it_is_released(store: Store):
    first, second, other = store.feeds.lease("a"), store.feeds.lease("a"), store.feeds.lease("b")
    assert not store.feeds.is_running("a")
    assert first.take(60)
    assert first.take(60), "holding it again renews it"
    assert store.feeds.is_running("a")
    assert not second.take(60)
    assert other.take(60), "every feed has a lease of its own"
    second.release()
    assert store.feeds.is_running("a"), "nobody releases another's lease"
    first.release()
    assert not store.feeds.is_running("a")
    assert second.take(60)


def test_a_lease_ends_by_itself_unless_it_is_renewed(store: Store, valkey: redis.Redis):
    lease = store.feeds.lease("a")
    assert lease.take(60)
    (key,) = valkey.keys("*:f:*")
    assert 59_000 < valkey.pttl(key) <= 60_000
    assert lease.take(90)
    assert 89_000 < valkey.pttl(key) <= 90_000


def test_a_status_comes_back_and_a_feed_that_never_ran_has_an_empty_one(store: Store):
    store.feeds.put(STATUS)
    assert store.feeds.get("planted-feed") == STATUS
    assert store.feeds.get("another") == FeedStatus(feed="another")


def test_the_store_learns_nothing_of_a_feed(store: Store, valkey: redis.Redis):
    store.feeds.put(STATUS)
    assert store.feeds.lease("planted-feed").take(60)
    seen = [*valkey.keys("*"), *(part for pair in valkey.hgetall(store.keys.feeds).items() for part in pair)]
    assert seen
    assert not [part for part in seen if b"planted" in part]


@pytest.mark.parametrize("harm", ["flipped", "another feed's", "cut short"])
def test_a_status_that_was_changed_is_damage(store: Store, valkey: redis.Redis, harm: str):
    store.feeds.put(STATUS)
    ((field, sealed),) = valkey.hgetall(store.keys.feeds).items()
    store.feeds.put(FeedStatus(feed="another"))
    others = valkey.hgetall(store.keys.feeds)
    (other,) = (value for name, value in others.items() if name != field)
    harmed = {"flipped": sealed[:-1] + bytes([sealed[-1] ^ 1]), "another feed's": other, "cut short": sealed[:9]}
    valkey.hset(store.keys.feeds, field, harmed[harm])
    with pytest.raises(StoreDamagedError):
        store.feeds.get("planted-feed")
