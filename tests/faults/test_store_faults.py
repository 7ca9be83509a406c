"""The store fails under a running server: negatives only while they are exact, hits in doubt, recovery by itself."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from hashmatch.ingest.acts import Acts
from hashmatch.ingest.publisher import Publisher
from hashmatch.ingest.restoring import Restorer
from hashmatch.model.clock import SystemClock
from hashmatch.model.errors import ErrorReason
from hashmatch.model.lists import ListDefinition, ListNature
from hashmatch.model.vetting import VettingPolicy
from hashmatch.store.archive import Archive
from hashmatch.store.connection import Connection
from hashmatch.store.embedded import EmbeddedValkey
from hashmatch.store.floor import EpochFloor
from hashmatch.store.segments import StoreDamagedError
from hashmatch.store.store import Store
from hashmatch.trust.sealing import load_key_file
from hashmatch.v1 import common_pb2
from tests.integration.conftest import MakeServer
from tests.integration.errors import refused
from tests.integration.serving import Client, ShiftedClock, hash_text
from tests.integration.waiting import eventually
from tests.support.clock import ManualClock
from tests.support.memory import MemoryAudit, MemoryFloor

# Ten blocks or so.
LISTED = [hashlib.sha256(b"listed %d" % number).digest() for number in range(300)]
UNLISTED = [hashlib.sha256(b"unlisted %d" % number).digest() for number in range(300)]
MATCH, NEGATIVE = common_pb2.VERDICT_MATCH, common_pb2.VERDICT_NO_KNOWN_MATCH
UNDETERMINED = common_pb2.VERDICT_NOT_DETERMINED
UNAVAILABLE = common_pb2.UNDETERMINED_REASON_STORE_UNAVAILABLE
DAMAGED = common_pb2.UNDETERMINED_REASON_STORE_DAMAGED
UNCONFIRMED = common_pb2.UNDETERMINED_REASON_SNAPSHOT_UNCONFIRMED


@pytest.fixture
def store(own_valkey: EmbeddedValkey) -> Iterator[redis.Redis]:
    """A connection of one's own to the store."""
    with closing(redis.Redis.from_url(own_valkey.url)) as client:
        client.config_set("appendfsync", "always")
        yield client


Start = Callable[..., Client]


@pytest.fixture
def start(make_server: MakeServer, own_valkey: EmbeddedValkey, store: redis.Redis) -> Start:
    """Starts a server upon the store, by default with one list, no cache of blocks, and no archive."""

    def begin(name: str = "data", *, deliver: bool = True, **settings: object) -> Client:
        usual = {"block_cache_bytes": 0, "archive": False, "operation_timeout": 0.5, "grace_seconds": 0.5}
        client = make_server(name, own_valkey.url, **{**usual, **settings}).start()
        if deliver:
            client.define()
            epoch = client.deliver(hash_text(LISTED))
            eventually(lambda: client.epoch() >= epoch, "the list is served")
            assert client.is_ready()
            assert verdicts(client) == (MATCH, NEGATIVE)
        return client

    return begin


def verdicts(client: Client) -> tuple[int, int]:
    """What is said of a hash that is listed and of one that is not."""
    listed, unlisted = client.ask(LISTED[0]), client.ask(UNLISTED[0])
    return listed.verdict, unlisted.verdict


def reasons(client: Client, digest: bytes) -> set[int]:
    return {cause.reason for cause in client.ask(digest).causes}


def damaged(client: Client) -> list[bytes]:
    """The listed hashes that are not determined because of damage; every other must match, and none be a negative."""
    response = client.bulk(common_pb2.ALGORITHM_SHA256, b"".join([*LISTED, *UNLISTED]))
    in_doubt = set()
    for run in response.undetermined:
        assert {cause.reason for cause in run.causes} == {DAMAGED}
        in_doubt |= set(range(run.first, run.first + run.count))
    matched = set(response.match_indexes)
    assert not matched & in_doubt
    assert matched | in_doubt >= set(range(len(LISTED))), "a listed hash was called a negative"
    assert not matched & set(range(len(LISTED), response.count)), "an unlisted hash was called a match"
    return [LISTED[index] for index in sorted(in_doubt) if index < len(LISTED)]


def is_ready(client: Client) -> bool:
    return client.page("/readyz").status == 200


def block_keys(store: redis.Redis) -> list[bytes]:
    return sorted(store.keys("hashmatch:b:*"))


def test_flushed(start: Start, store: redis.Redis) -> None:
    """Without an archive: negatives stay exact, hits are in doubt, and a restored copy is all that it takes."""
    client = start()
    copy = {key: (store.type(key), store.dump(key)) for key in store.keys("*")}
    epoch = client.epoch()
    store.flushall()
    assert verdicts(client) == (UNDETERMINED, NEGATIVE)
    assert reasons(client, LISTED[0]) == {DAMAGED}
    eventually(lambda: not is_ready(client), "readiness falls")
    assert "manifest is gone" in client.page("/readyz").text
    # Nobody begins anew where something was.
    assert refused(lambda: client.define("other")).reason == ErrorReason.STORE_DAMAGED
    for key, (_, value) in copy.items():
        store.restore(key, 0, value)
    eventually(lambda: is_ready(client), "readiness returns")
    assert verdicts(client) == (MATCH, NEGATIVE)
    assert client.epoch() == epoch


def test_flushed_with_an_archive(start: Start, store: redis.Redis) -> None:
    """The server puts back by itself what it published."""
    client = start(archive=True)
    epoch = client.suppress(LISTED[1])
    eventually(lambda: client.epoch() >= epoch, "the suppression is in force")
    store.flushall()
    eventually(lambda: store.exists("hashmatch:manifest"), "the manifest is restored")
    eventually(lambda: is_ready(client), "readiness returns")
    assert verdicts(client) == (MATCH, NEGATIVE)
    assert client.ask(LISTED[1]).suppressed
    assert client.epoch() == epoch
    # And whoever starts now has everything.
    other = start("other", deliver=False)
    assert (other.epoch(), verdicts(other)) == (epoch, (MATCH, NEGATIVE))


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_away(start: Start, own_valkey: EmbeddedValkey, number: signal.Signals) -> None:
    """A store that hangs or has died: negatives stay exact, hits are in doubt, and all is well when it is back."""
    client = start()
    pid = own_valkey.pid
    assert pid is not None
    os.kill(pid, number)
    try:
        eventually(lambda: not is_ready(client), "readiness falls")
        assert verdicts(client) == (UNDETERMINED, NEGATIVE)
        assert reasons(client, LISTED[0]) == {UNAVAILABLE}
        refusal = refused(lambda: client.define("other"))
        assert refusal.reason == ErrorReason.STORE_UNAVAILABLE
        assert refusal.retry_delay is not None
        # Alive all the same: a restart would lose the tables that still answer.
        assert client.page("/healthz").status == 200
    finally:
        if number is signal.SIGSTOP:
            os.kill(pid, signal.SIGCONT)
        else:
            own_valkey.start()
    eventually(lambda: is_ready(client), "readiness returns")
    assert verdicts(client) == (MATCH, NEGATIVE)


def test_away_with_resident_blocks(start: Start, own_valkey: EmbeddedValkey) -> None:
    """Hits too are answered, with all that is said of them."""
    client = start(blocks="resident")
    before = client.ask(LISTED[0])
    own_valkey.stop()
    eventually(lambda: not is_ready(client), "readiness falls")
    assert client.ask(LISTED[0]) == before
    assert damaged(client) == []
    own_valkey.start()
    eventually(lambda: is_ready(client), "readiness returns")


def test_away_for_too_long(make_server: MakeServer, own_valkey: EmbeddedValkey, store: redis.Redis) -> None:
    """A server that could not look for longer than it may gives no negatives any more, and matches still."""
    clock = ShiftedClock()
    settings = {"blocks": "resident", "maximum_unconfirmed_seconds": 600.0, "operation_timeout": 0.5}
    client = make_server("data", own_valkey.url, clock, **settings).start()
    client.define()
    epoch = client.deliver(hash_text(LISTED))
    eventually(lambda: client.epoch() >= epoch, "the list is served")
    own_valkey.stop()
    eventually(lambda: not is_ready(client), "readiness falls")
    clock.advance(601.0)
    assert verdicts(client) == (MATCH, UNDETERMINED)
    assert reasons(client, UNLISTED[0]) == {UNCONFIRMED}
    own_valkey.start()
    eventually(lambda: verdicts(client) == (MATCH, NEGATIVE), "negatives return")


def test_restarted_with_its_data(start: Start, own_valkey: EmbeddedValkey) -> None:
    client = start()
    epoch = client.epoch()
    own_valkey.restart()
    eventually(lambda: is_ready(client), "readiness returns")
    assert (client.epoch(), verdicts(client)) == (epoch, (MATCH, NEGATIVE))
    assert client.define("other") > epoch


def test_restarted_empty_with_an_archive(start: Start, own_valkey: EmbeddedValkey, scratch: Path) -> None:
    client = start(archive=True)
    epoch = client.epoch()
    own_valkey.stop()
    shutil.rmtree(scratch / "store")
    own_valkey.start()
    eventually(lambda: is_ready(client) and verdicts(client) == (MATCH, NEGATIVE), "the store is restored")
    assert client.epoch() == epoch
    assert client.define("other") > epoch


def _delete(store: redis.Redis) -> None:
    store.delete(block_keys(store)[0])


def _flip(store: redis.Redis) -> None:
    key = block_keys(store)[0]
    value = store.get(key)
    store.set(key, value[:-1] + bytes([value[-1] ^ 1]))


def _truncate(store: redis.Redis) -> None:
    key = block_keys(store)[0]
    store.set(key, store.get(key)[:-1])


def _swap(store: redis.Redis) -> None:
    first, second = block_keys(store)[:2]
    values = store.mget(first, second)
    store.mset({first: values[1], second: values[0]})


@pytest.mark.parametrize("harm", [_delete, _flip, _truncate, _swap])
def test_one_block_harmed(start: Start, store: redis.Redis, harm: Callable[[redis.Redis], None]) -> None:
    """What lies in it is in doubt, everything else is as before, and no new server begins on half a list."""
    client = start()
    copy = {key: store.get(key) for key in block_keys(store)}
    harm(store)
    lost = damaged(client)
    assert 0 < len(lost) < len(LISTED) / 2
    assert reasons(client, lost[0]) == {DAMAGED}
    eventually(lambda: not is_ready(client), "readiness falls")
    other = start("other", deliver=False)
    assert other.ask(UNLISTED[0]).verdict == UNDETERMINED
    assert other.ask(LISTED[0]).verdict == UNDETERMINED
    store.mset(copy)
    eventually(lambda: is_ready(client) and is_ready(other), "readiness returns")
    assert damaged(client) == damaged(other) == []


def test_one_block_deleted_with_an_archive(start: Start, store: redis.Redis) -> None:
    client = start(archive=True)
    _delete(store)
    eventually(lambda: damaged(client) == [], "the block is restored")
    eventually(lambda: is_ready(client), "readiness returns")


@pytest.mark.parametrize("harm", [_flip, _truncate, _swap])
def test_one_block_spoilt_with_an_archive(
    start: Start, store: redis.Redis, harm: Callable[[redis.Redis], None]
) -> None:
    client = start(archive=True)
    harm(store)
    eventually(lambda: damaged(client) == [], "the block is restored")
    eventually(lambda: is_ready(client), "readiness returns")


def test_an_older_manifest(start: Start, store: redis.Redis) -> None:
    """It verifies, and is refused; what is served stays."""
    client = start()
    old = store.get("hashmatch:manifest")
    epoch = client.deliver(hash_text([*LISTED, UNLISTED[1]]))
    eventually(lambda: client.epoch() >= epoch, "the second generation is served")
    newest = store.get("hashmatch:manifest")
    store.set("hashmatch:manifest", old)
    eventually(lambda: not is_ready(client), "readiness falls")
    assert (client.epoch(), client.ask(UNLISTED[1]).verdict) == (epoch, MATCH)
    store.set("hashmatch:manifest", newest)
    eventually(lambda: is_ready(client), "readiness returns")


def test_another_store(start: Start, store: redis.Redis, make_server: MakeServer, own_valkey: EmbeddedValkey) -> None:
    """A store that was begun anew under the same key is not followed."""
    client = start()
    copy = {key: store.dump(key) for key in store.keys("*")}
    epoch = client.epoch()
    store.flushall()
    other = make_server("other", own_valkey.url)
    stranger = other.start()
    for number in range(5):
        stranger.define(f"list-{number}")
    eventually(lambda: not is_ready(client), "readiness falls")
    assert "begun anew" in client.page("/readyz").text
    assert client.epoch() == epoch
    assert client.ask(UNLISTED[0]).verdict == NEGATIVE
    other.stop()
    store.flushall()
    for key, value in copy.items():
        store.restore(key, 0, value)
    eventually(lambda: is_ready(client), "readiness returns")


def test_nothing_is_restored_into_another_store(start: Start, scratch: Path) -> None:
    """What it lost is of no use to a store that was begun anew."""
    start(archive=True)
    key = load_key_file(scratch / "sealing.key")
    floor, archive = EpochFloor(scratch / "data" / "epoch.json"), Archive(scratch / "data" / "archive")
    with EmbeddedValkey(scratch / "another") as another, closing(Store(Connection(another.url), key)) as begun:
        acts = Acts(begun, SystemClock(), VettingPolicy(), MemoryAudit(), MemoryFloor())
        definition = ListDefinition(list_id="list", body="body", nature=ListNature.TEST, max_age=60.0)
        Publisher(acts).define_list(definition, "somebody")
        assert Restorer(begun, floor, archive, SystemClock()).restore() == 0
        with closing(redis.Redis.from_url(another.url)) as client:
            assert set(client.keys("*")) == {b"hashmatch:manifest"}
        # Where there is nothing at all it is another matter.
        begun.connection.delete([b"hashmatch:manifest"])
        assert Restorer(begun, floor, archive, SystemClock()).restore() > 1


def test_a_manifest_waits_for_what_other_servers_have(start: Start, scratch: Path, store: redis.Redis) -> None:
    """Put back too early it would look well to those who could put back the rest. What nobody has does not come."""
    start()
    copy = {key: store.dump(key) for key in store.keys("*")}
    clock = ManualClock()
    floor, nothing = EpochFloor(scratch / "data" / "epoch.json"), Archive(scratch / "empty")
    with closing(Connection(f"unix://{scratch / 'store/valkey/valkey.sock'}")) as connection:
        restorer = Restorer(Store(connection, load_key_file(scratch / "sealing.key")), floor, nothing, clock)
        store.flushall()
        assert restorer.restore() == 0
        clock.advance(20)
        assert restorer.restore() == 0
        assert not store.keys("*")
        # Another server has put back what it has.
        for key, value in copy.items():
            if key != b"hashmatch:manifest":
                store.restore(key, 0, value)
        assert restorer.restore() == 1
        assert store.get("hashmatch:manifest")
        # Nobody has anything.
        store.flushall()
        assert restorer.restore() == 0
        clock.advance(31)
        assert restorer.restore() == 1
        assert store.keys("*") == [b"hashmatch:manifest"]


def test_damage_that_one_server_finds_another_heals(start: Start, store: redis.Redis) -> None:
    """Who wrote it has it in the archive, and looks at it no more; who starts reads everything, and has no copy."""
    first = start("first", archive=True, blocks="resident")
    key = block_keys(store)[0]
    whole = store.get(key)
    store.set(key, whole[:-1] + bytes([whole[-1] ^ 1]))
    other = start("other", deliver=False, archive=True, blocks="resident")
    eventually(lambda: is_ready(other) and verdicts(other) == (MATCH, NEGATIVE), "the other server has everything")
    assert store.get(key) == whole
    eventually(lambda: not store.exists("hashmatch:damaged"), "nobody is told of it any more")
    assert verdicts(first) == (MATCH, NEGATIVE)


def test_a_note_of_damage_is_not_believed_unseen(start: Start, store: redis.Redis) -> None:
    start(archive=True)
    before = {key: store.dump(key) for key in store.keys("hashmatch:b:*")}
    segment_id = block_keys(store)[0].split(b":")[2]
    store.hset("hashmatch:damaged", mapping={segment_id: "", b"no such segment": "", b"\xff": ""})
    eventually(lambda: not store.exists("hashmatch:damaged"), "the notes are seen to")
    assert {key: store.dump(key) for key in store.keys("hashmatch:b:*")} == before


def test_what_only_an_act_misses_is_restored(start: Start, store: redis.Redis) -> None:
    """Servers have suppressions in memory: that the store lost them is seen by the next who suppresses."""
    client = start(archive=True)
    client.suppress(LISTED[0])
    (key,) = store.keys("hashmatch:x:*")
    store.delete(key)
    assert refused(lambda: client.suppress(LISTED[1])).reason == ErrorReason.STORE_DAMAGED
    eventually(lambda: store.exists(key), "the archive puts it back")
    client.suppress(LISTED[1])


def test_a_spoilt_manifest_is_restored(start: Start, store: redis.Redis) -> None:
    client = start(archive=True)
    newest = store.get("hashmatch:manifest")
    store.set("hashmatch:manifest", newest[:-1] + bytes([newest[-1] ^ 1]))
    eventually(lambda: store.get("hashmatch:manifest") == newest, "the manifest is restored")
    eventually(lambda: is_ready(client), "readiness returns")


@pytest.mark.parametrize("magic", [b"HMM3", b"HMM2"])
def test_what_others_may_have_put_there_is_left(start: Start, scratch: Path, store: redis.Redis, magic: bytes) -> None:
    """A later version's manifest, or one under another key in a store that has nothing of ours."""
    start(archive=True)
    foreign = magic + store.get("hashmatch:manifest")[4:-1] + b"x"
    if magic == b"HMM2":
        store.flushall()
    store.set("hashmatch:manifest", foreign)
    floor, archive = EpochFloor(scratch / "data" / "epoch.json"), Archive(scratch / "data" / "archive")
    with closing(Connection(f"unix://{scratch / 'store/valkey/valkey.sock'}")) as connection:
        restorer = Restorer(Store(connection, load_key_file(scratch / "sealing.key")), floor, archive, SystemClock())
        with pytest.raises(StoreDamagedError):
            restorer.restore()
    assert store.get("hashmatch:manifest") == foreign


def test_another_sealing_key(start: Start, scratch: Path) -> None:
    """Whoever has another key can read nothing and says nothing."""
    client = start()
    stranger = start("stranger", deliver=False, sealing_key_file=scratch / "another.key")
    assert stranger.ask(UNLISTED[0]).verdict == UNDETERMINED
    assert not is_ready(stranger)
    assert is_ready(client)


def test_a_store_that_begins_to_evict(make_server: MakeServer, own_valkey: EmbeddedValkey, store: redis.Redis) -> None:
    """Its setting is changed while the server runs: readiness falls, and returns with the setting."""
    clock = ShiftedClock()
    client = make_server("data", own_valkey.url, clock).start()
    client.define()
    eventually(lambda: is_ready(client), "ready")
    store.config_set("maxmemory-policy", "allkeys-lru")
    clock.advance(60.0)
    eventually(lambda: not is_ready(client), "readiness falls")
    assert "noeviction" in client.page("/readyz").text
    assert "hashmatch_store_may_evict 1.0" in client.page("/metrics").text
    assert 'hashmatch_component_ready{component="store"} 0.0' in client.page("/metrics").text
    store.config_set("maxmemory-policy", "noeviction")
    clock.advance(60.0)
    eventually(lambda: is_ready(client), "readiness returns")
    assert "hashmatch_store_may_evict 0.0" in client.page("/metrics").text


def test_two_servers_see_a_publication_of_either(start: Start) -> None:
    first = start()
    second = start("second", deliver=False)
    assert verdicts(second) == (MATCH, NEGATIVE)
    epoch = second.deliver(hash_text([*LISTED, UNLISTED[2]]))
    for client in (first, second):
        eventually(lambda client=client: client.epoch() >= epoch, "the second generation is served")
        assert client.ask(UNLISTED[2]).verdict == MATCH
    epoch = first.suppress(LISTED[0])
    for client in (first, second):
        eventually(lambda client=client: client.epoch() >= epoch, "the suppression is in force")
        assert client.ask(LISTED[0]).suppressed
