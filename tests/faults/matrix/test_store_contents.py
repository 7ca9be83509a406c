"""What lies in the store is not what was put there, or cannot be changed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import grpc
import redis

from hashmatch.v1 import common_pb2
from tests.faults.conftest import Begin
from tests.faults.harness.history import NEGATIVE, UNDETERMINED
from tests.faults.harness.load import ask_column
from tests.faults.harness.probes import MOVING, NEVER, SHARED, STAYING
from tests.faults.harness.stores import StoreProcess
from tests.faults.harness.table import row
from tests.faults.harness.trial import Trial
from tests.integration.errors import refused
from tests.integration.waiting import eventually

DAMAGED = common_pb2.UNDETERMINED_REASON_STORE_DAMAGED
HARMED = "what lies in the blocks is not determined until the archive has put them back"
NO_ACTS = "everything is answered; acts are refused until it can be written to"


def blocks(client: redis.Redis) -> list[bytes]:
    """The keys of the blocks, in order."""
    return sorted(client.scan_iter("hashmatch:b:*", count=1_000))


def harm(trial: Trial, change: Callable[[redis.Redis, list[bytes]], None]) -> None:
    """Change blocks behind everybody's back, see that it is noticed, and that it heals."""
    with trial.acts.going_on(), trial.fault(), closing(trial.store.client()) as client:
        for _ in range(5):
            change(client, blocks(client))
            trial.load.more(10)


@row("blocks deleted by an administrator", HARMED, short=True)
def test_deleted(begin: Begin) -> None:
    def delete(client: redis.Redis, keys: list[bytes]) -> None:
        client.delete(*keys[::2])

    harm(begin(), delete)


@row("blocks swapped by an administrator", HARMED)
def test_swapped(begin: Begin) -> None:
    def swap(client: redis.Redis, keys: list[bytes]) -> None:
        values = client.mget(keys)
        client.mset(dict(zip(keys, [*values[1:], values[0]], strict=True)))

    harm(begin(), swap)


@row("bits of blocks flipped by an administrator", HARMED)
def test_flipped(begin: Begin) -> None:
    def flip(client: redis.Redis, keys: list[bytes]) -> None:
        values = dict(zip(keys, client.mget(keys), strict=True))
        client.mset({key: value[:-1] + bytes([value[-1] ^ 1]) for key, value in values.items()})

    harm(begin(), flip)


@row("blocks cut short by an administrator", HARMED)
def test_cut_short(begin: Begin) -> None:
    def cut(client: redis.Redis, keys: list[bytes]) -> None:
        values = dict(zip(keys, client.mget(keys), strict=True))
        client.mset({key: value[: len(value) // 2] for key, value in values.items()})

    harm(begin(), cut)


@row("a bit of the manifest flipped by an administrator", "the snapshot before answers; the archive heals it")
def test_manifest_flipped(begin: Begin) -> None:
    def flip(client: redis.Redis, _keys: list[bytes]) -> None:
        value = client.get("hashmatch:manifest")
        client.set("hashmatch:manifest", value[:100] + bytes([value[100] ^ 1]) + value[101:])

    harm(begin(), flip)


@row("blocks replaced by values of another type", HARMED)
def test_other_types(begin: Begin) -> None:
    def replace(client: redis.Redis, keys: list[bytes]) -> None:
        with client.pipeline() as pipeline:
            for key in keys[::3]:
                pipeline.delete(key).hset(key, "field", "value")
            pipeline.execute()

    harm(begin(), replace)


@row("blocks deleted, and no archive", "what lies in them is not determined, everything else as always")
def test_deleted_without_an_archive(begin: Begin) -> None:
    trial = begin(store__archive="false")
    with trial.fault(), closing(trial.store.client()) as client:
        keys = blocks(client)
        kept = dict(zip(keys, client.mget(keys), strict=True))
        client.delete(*keys)
        _, _, said = ask_column(trial.first.client)
        assert all(said[place].reasons == {DAMAGED} for place in STAYING)
        assert {said[place].verdict for place in STAYING if place not in SHARED} == {UNDETERMINED}
        assert NEGATIVE in {said[place].verdict for place in NEVER}
        trial.unready()
        trial.load.more(40)
        client.mset(kept)


@row("Redis out of memory (noeviction)", NO_ACTS)
def test_out_of_memory(begin: Begin) -> None:
    trial = begin()
    with trial.fault():
        trial.store.set(maxmemory="1mb")
        refusal = refused(lambda: trial.acts.suppress(MOVING[0]))
        assert refusal.code is grpc.StatusCode.UNAVAILABLE
        trial.load.more(40)
        assert_answered(trial)
        trial.store.set(maxmemory="0")
    trial.acts.one_succeeds()


@row("an evicting policy set at run time, with memory short", "not ready; what was evicted is not determined")
def test_evicting(begin: Begin) -> None:
    trial = begin()
    with trial.fault(), closing(trial.store.client()) as client:
        used = int(client.info("memory")["used_memory"])
        trial.store.set(maxmemory_policy="allkeys-random", maxmemory=str(used - 500_000))
        eventually(lambda: "noeviction" in trial.first.client.page("/readyz").text, "the setting is noticed")
        trial.load.more(40)
        trial.store.set(maxmemory_policy="noeviction", maxmemory="0")
        evicted = int(client.info("stats")["evicted_keys"])
    assert evicted
    trial.note(f"{evicted:,} keys evicted without an error")


@row("Redis's disk full", NO_ACTS)
def test_disk_full(begin: Begin) -> None:
    # Told to sync always, Valkey ends when it cannot: then it is as if it had been killed.
    trial = begin(store_settings={"appendfsync": "everysec"})
    with trial.fault():
        trial.store.limit_files(1)
        eventually(lambda: _is_refused(trial), "the store notices")
        refusal = refused(lambda: trial.acts.suppress(MOVING[0]))
        assert refusal.code is grpc.StatusCode.UNAVAILABLE
        trial.load.more(40)
        assert_answered(trial)
        trial.store.limit_files(None)
    trial.acts.one_succeeds()


def _is_refused(trial: Trial) -> bool:
    with closing(trial.store.client()) as client:
        try:
            client.set("elsewhere", "x")
        except redis.ResponseError:
            return True
    return False


@row("Redis read-only (a replica whose master is gone)", NO_ACTS)
def test_read_only(begin: Begin) -> None:
    trial = begin()
    with trial.fault():
        trial.store.run("REPLICAOF", "127.0.0.1", "1")
        refusal = refused(lambda: trial.acts.suppress(MOVING[0]))
        assert refusal.code is grpc.StatusCode.UNAVAILABLE
        trial.load.more(40)
        assert_answered(trial)
        trial.store.run("REPLICAOF", "NO", "ONE")
    trial.acts.one_succeeds()


@row(
    "failover to a replica that lost the last writes",
    "never an older epoch; the archive puts back what was lost",
    short=True,
)
def test_failover(begin: Begin, trial: Trial) -> None:
    replica = StoreProcess(trial.directory / "replica")
    trial.ending.callback(replica.stop)
    begin(servers=2)
    replica.start()
    replica.run("REPLICAOF", "127.0.0.1", str(trial.store.port))
    eventually(lambda: b"master_link_status:up" in replica.information("replication"), "the replica follows")
    # From here on it hears nothing more, and still says that it is a replica of its master.
    replica.run("REPLICAOF", "127.0.0.1", "1")
    for _ in range(4):
        trial.acts.one_succeeds()
    trial.settled()
    with trial.acts.going_on(), trial.fault():
        trial.store.kill()
        replica.run("REPLICAOF", "NO", "ONE")
        trial.proxy.retarget(replica.port)
        trial.load.more(60)
    trial.acts.one_succeeds()
    trial.settled()


def assert_answered(trial: Trial) -> None:
    """Everything, from what was published last."""
    epoch, _, said = ask_column(trial.first.client)
    assert epoch >= trial.history.newest
    assert all(each.verdict != UNDETERMINED for each in said)
