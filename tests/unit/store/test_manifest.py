"""The manifest: polled by its header, replaced in one step, and trusted only if it verifies."""

from __future__ import annotations

import zlib

import msgspec
import pytest
import redis

from hashmatch.columns.placement import PlacementSecret
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.model.lists import ListDefinition, ListNature
from hashmatch.store.keys import Keys
from hashmatch.store.manifest import ListState, Manifest, ManifestConflictError, ManifestStore
from hashmatch.store.segments import StoreDamagedError
from hashmatch.store.store import Store
from hashmatch.trust.sealing import KEY_SIZE, SealingKey


def manifest_of(epoch: int, renewals: int = 0) -> Manifest:
    definition = ListDefinition(list_id="list", body="body", nature=ListNature.ILLEGAL, max_age=60.0)
    return Manifest(
        store_id="store",
        epoch=epoch,
        renewals=renewals,
        published_at=1.0,
        expires_at=2.0,
        placement=PlacementSecret(1, 2),
        approvals_required=2,
        lists={"list": ListState(definition=definition)},
    )


def test_an_empty_store_has_no_manifest(store: Store):
    assert store.manifests.load() is None
    assert store.manifests.header() is None


def test_a_manifest_comes_back_as_it_was_put(store: Store):
    put = store.manifests.replace(b"", manifest_of(7))
    loaded = store.manifests.load()
    assert loaded == put
    assert loaded.manifest == manifest_of(7)
    header = store.manifests.header()
    assert (header.epoch, header.renewals) == (7, 0)


def test_a_poll_sees_every_change(store: Store):
    headers = [store.manifests.header()]
    raw = b""
    for manifest in (manifest_of(1), manifest_of(2), manifest_of(2, 1), manifest_of(2, 1)):
        raw = store.manifests.replace(raw, manifest).raw
        headers.append(store.manifests.header())
    # The last two say the same and are two manifests all the same: what a failover leaves behind is told apart.
    assert len(set(headers)) == 5
    assert headers[-1][:2] == headers[-2][:2]


def test_only_one_of_two_who_start_from_the_same_manifest_wins(store: Store):
    first = store.manifests.replace(b"", manifest_of(1)).raw
    winner = store.manifests.replace(first, manifest_of(2))
    with pytest.raises(ManifestConflictError):
        store.manifests.replace(first, manifest_of(2))
    with pytest.raises(ManifestConflictError):
        store.manifests.replace(b"", manifest_of(3))
    assert store.manifests.load() == winner


def test_a_manifest_whose_reply_was_lost_is_in_place(store: Store):
    """The connection tries a second time; that is the same change and no conflict."""
    first = store.manifests.replace(b"", manifest_of(1)).raw
    second = store.manifests.replace(first, manifest_of(2))
    store.manifests.put(first, second.raw)
    assert store.manifests.load() == second


def test_servers_are_told_of_a_change(store: Store):
    subscription = store.connection.subscribe(store.keys.changed)
    try:
        while subscription.wait(0.2):
            pass
        store.manifests.replace(b"", manifest_of(1))
        assert subscription.wait(5.0)
    finally:
        subscription.close()


@pytest.mark.parametrize("position", [0, 3, 4, 11, 12, 19, 20, 31, 32, 60, -17, -1])
def test_a_manifest_that_was_changed_is_damage(store: Store, valkey: redis.Redis, position: int):
    raw = bytearray(store.manifests.replace(b"", manifest_of(1)).raw)
    raw[position] ^= 1
    valkey.set(store.keys.manifest, bytes(raw))
    with pytest.raises(StoreDamagedError):
        store.manifests.load()


@pytest.mark.parametrize("length", [1, 4, 20, 31, 32, 40, -1])
def test_a_manifest_that_was_cut_short_is_damage(store: Store, valkey: redis.Redis, length: int):
    raw = store.manifests.replace(b"", manifest_of(1)).raw
    valkey.set(store.keys.manifest, raw[:length])
    with pytest.raises(StoreDamagedError):
        store.manifests.load()


def test_a_manifest_under_the_header_of_another_is_damage(store: Store, valkey: redis.Redis):
    old = store.manifests.replace(b"", manifest_of(1)).raw
    new = store.manifests.replace(old, manifest_of(2)).raw
    valkey.set(store.keys.manifest, new[:20] + old[20:])
    with pytest.raises(StoreDamagedError):
        store.manifests.load()


def test_a_manifest_that_contradicts_its_own_header_is_damage(
    store: Store, valkey: redis.Redis, sealing_key: SealingKey
):
    """Servers poll the header: one that says less than the manifest would hide a change from them."""
    header = store.manifests.replace(b"", manifest_of(1)).raw[:24]
    plain = zlib.compress(msgspec.msgpack.encode(manifest_of(2)))
    sealed = sealing_key.sealer(b"", b"manifest").seal_with_random_nonce(plain, header)
    valkey.set(store.keys.manifest, header + sealed)
    with pytest.raises(StoreDamagedError, match="contradicts"):
        store.manifests.load()


def test_a_manifest_under_another_key_is_damage(store: Store):
    store.manifests.replace(b"", manifest_of(1))
    stranger = ManifestStore(store.connection, Keys("hashmatch"), SealingKey(b"\7" * KEY_SIZE))
    with pytest.raises(StoreDamagedError, match="is sealed under key"):
        stranger.load()


def test_something_else_in_the_manifests_place_is_damage(store: Store, valkey: redis.Redis):
    valkey.set(store.keys.manifest, b"x" * 100)
    with pytest.raises(StoreDamagedError):
        store.manifests.header()
    with pytest.raises(StoreDamagedError):
        store.manifests.load()


def test_namespaces_do_not_meet(store: Store, sealing_key: SealingKey):
    store.manifests.replace(b"", manifest_of(1))
    assert Store(store.connection, sealing_key, "other").manifests.load() is None


def test_a_list_that_is_not_there_is_an_error_without_its_long_name():
    with pytest.raises(HashmatchError) as caught:
        manifest_of(1).state("x" * 1_000)
    assert caught.value.reason is ErrorReason.LIST_NOT_FOUND
    assert caught.value.metadata == {"list_id": "x" * 63}


@pytest.mark.parametrize(
    ("number", "visible_since", "epoch"),
    [(3, 0, 30), (5, 0, 50), (4, 0, 50), (1, 0, 30), (3, 40, 40), (5, 40, 50)],
)
def test_an_entry_is_never_taken_for_older_than_it_is(number: int, visible_since: int, epoch: int):
    """Generation 4 was never visible, and what came before 3 is not kept: either counts as the next that is known."""
    state = msgspec.structs.replace(
        manifest_of(1).lists["list"], epochs=((3, 30), (5, 50)), visible_since=visible_since
    )
    assert state.epoch_of(number) == epoch
