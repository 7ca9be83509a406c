"""Floods in the store: each in its place or nowhere, the latest of them, for a week, and no other's word."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from hashmatch.model.floods import Flood
from hashmatch.store import floods as module
from hashmatch.store.floods import RETENTION_SECONDS
from hashmatch.store.store import Store

KEY = "hashmatch:floods"
NOW = 1_800_000_000.0


def flood(**changes: Any) -> Flood:
    stated: dict[str, Any] = {
        "list_id": "list",
        "generation": 1,
        "algorithm": 3,
        "value": b"d" * 32,
        "source_keys": ("key",),
        "matches": 100,
        "usual": 1,
        "window_seconds": 600.0,
        "seen_at": NOW,
    }
    return Flood(**stated | changes)


def test_what_is_put_again_is_in_its_place(store: Store):
    assert store.floods.all(NOW) == {}
    store.floods.put([flood()], NOW)
    again = flood(matches=200, generation=2, seen_at=NOW + 1)
    store.floods.put([again], NOW + 1)
    assert store.floods.all(NOW + 1) == {store.floods.id_of(again): again}


@pytest.mark.parametrize("changed", [{"list_id": "other"}, {"algorithm": 1}, {"value": b"e" * 32}])
def test_each_list_and_value_has_a_place_of_its_own(store: Store, changed: dict[str, Any]):
    store.floods.put([flood(), flood(**changed)], NOW)
    assert len(store.floods.all(NOW)) == 2


def test_old_ones_are_told_no_more_and_go(store: Store, valkey: redis.Redis):
    store.floods.put([flood()], NOW)
    later = NOW + RETENTION_SECONDS + 1
    assert store.floods.all(later) == {}
    store.floods.put([flood(value=b"e" * 32, seen_at=later)], later)
    assert valkey.hlen(KEY) == 1
    assert 0 < valkey.ttl(KEY) <= RETENTION_SECONDS


def test_of_too_many_the_latest_stay(store: Store, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAXIMUM_FLOODS", 3)
    store.floods.put([flood(value=bytes([number]) * 32, seen_at=NOW + number) for number in range(5)], NOW + 5)
    assert sorted(each.seen_at - NOW for each in store.floods.all(NOW + 5).values()) == [2, 3, 4]
    assert valkey.hlen(KEY) == 3


def test_what_others_write_is_passed_over_and_goes(store: Store, valkey: redis.Redis):
    store.floods.put([flood()], NOW)
    (name,) = valkey.hkeys(KEY)
    valkey.hset(KEY, "0" * 24, valkey.hget(KEY, name))
    valkey.hset(KEY, "planted", b"anything")
    assert list(store.floods.all(NOW)) == [name.decode()]
    store.floods.put([flood(list_id="other")], NOW)
    assert valkey.hlen(KEY) == 2
