"""Stores of several servers: a cluster, and a primary with a replica that sentinels watch."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from bench.cluster import SETTINGS, form_cluster, port_with_bus
from hashmatch.store.embedded import valkey_binary
from tests.faults.harness.stores import StoreProcess, free_port
from tests.integration.waiting import eventually

_PATIENCE = 60.0


class ClusterOfProcesses:
    """Three primaries, with a replica each if that is asked for."""

    def __init__(self, directory: Path, *, replicas: bool = False) -> None:
        count = 6 if replicas else 3
        self.nodes = [StoreProcess(directory / f"node-{number}", **SETTINGS) for number in range(count)]
        for node in self.nodes:
            node.port = port_with_bus()

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:3])

    def start(self) -> None:
        for node in self.nodes:
            node.directory.mkdir(parents=True)
            node.start()
        form_cluster([node.port for node in self.nodes], primaries=3)

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    def owner(self, key: bytes) -> StoreProcess:
        """Who has the key, of those that run."""
        slot = key_slot(key)
        for node in self.nodes:
            if node.answers():
                for low, high, (_, port, *_rest), *_replicas in self._slots(node):
                    if low <= slot <= high:
                        return next(each for each in self.nodes if each.port == port)
        raise AssertionError("nobody has the slot")

    def is_well(self) -> bool:
        """Whether every slot has a primary that runs."""
        running = [node for node in self.nodes if node.answers()]
        ports = {node.port for node in running}
        return all({each[2][1] for each in self._slots(node)} <= ports for node in running) and all(
            b"cluster_state:ok" in _told(node.run("CLUSTER INFO")) for node in running
        )

    def move_slots(self, share: float) -> int:
        """Move a share of the first primary's slots to the second, key by key, as resharding does; returns how many."""
        source, target = self.nodes[:2]
        owned = [
            slot
            for low, high, (_, port, *_rest), *_replicas in self._slots(source)
            if port == source.port
            for slot in range(low, high + 1)
        ]
        moved = owned[: int(share * REDIS_CLUSTER_HASH_SLOTS)]
        self._move(moved, source, target)
        return len(moved)

    def move_slot_of(self, key: bytes) -> None:
        """Move the slot that a key is in from the primary that has it to another one."""
        source = self.owner(key)
        self._move([key_slot(key)], source, next(node for node in self.nodes[:3] if node is not source))

    @staticmethod
    def _move(slots: Sequence[int], source: StoreProcess, target: StoreProcess) -> None:
        names = {node.port: _text(node.run("CLUSTER MYID")) for node in (source, target)}
        with closing(source.client()) as from_here, closing(target.client()) as to_there:
            for slot in slots:
                to_there.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", names[source.port])
                from_here.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", names[target.port])
                while keys := from_here.execute_command("CLUSTER GETKEYSINSLOT", slot, 100):
                    from_here.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, "KEYS", *keys)
                for node in (to_there, from_here):
                    node.execute_command("CLUSTER SETSLOT", slot, "NODE", names[target.port])

    @staticmethod
    def _slots(node: StoreProcess) -> list[list]:
        # Undecoded by the library, which knows two forms of it.
        with closing(node.client()) as client:
            client.response_callbacks.pop("CLUSTER SLOTS", None)
            return client.execute_command("CLUSTER SLOTS")


class WatchedBySentinels:
    """A primary and a replica, and three sentinels."""

    SERVICE = "lists"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.stores = [StoreProcess(directory / f"store-{number}") for number in range(2)]
        self._ports = [free_port() for _ in range(3)]
        self._sentinels: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        return "redis+sentinel://" + ",".join(f"127.0.0.1:{port}" for port in self._ports) + f"/{self.SERVICE}"

    def start(self) -> None:
        primary, replica = self.stores
        for store in self.stores:
            store.directory.mkdir(parents=True)
        primary.start()
        replica.start(replicaof=f"127.0.0.1 {primary.port}")
        eventually(lambda: b"master_link_status:up" in replica.information("replication"), "it follows")
        for port in self._ports:
            self._start_sentinel(port, primary.port)
        eventually(lambda: all(self._knows_all(port) for port in self._ports), "they know of each other")

    def _start_sentinel(self, port: int, primary: int) -> None:
        directory = self.directory / f"sentinel-{port}"
        directory.mkdir()
        configuration = directory / "sentinel.conf"
        configuration.write_text(
            f"port {port}\nbind 127.0.0.1\nsentinel monitor {self.SERVICE} 127.0.0.1 {primary} 2\n"
            f"sentinel down-after-milliseconds {self.SERVICE} 1000\nsentinel failover-timeout {self.SERVICE} 5000\n"
        )
        with (directory / "sentinel.log").open("ab") as log:
            self._sentinels.append(
                subprocess.Popen([valkey_binary(), configuration, "--sentinel"], cwd=directory, stdout=log, stderr=log)
            )

    def _knows_all(self, port: int) -> bool:
        try:
            with closing(redis.Redis(port=port)) as sentinel:
                told = sentinel.sentinel_master(self.SERVICE)
        except redis.RedisError:
            return False
        return (told["num-other-sentinels"], told["num-slaves"]) == (2, 1)

    def primary(self) -> StoreProcess:
        """Whom the sentinels name."""
        with closing(redis.Redis(port=self._ports[0])) as sentinel:
            _, port = sentinel.sentinel_get_master_addr_by_name(self.SERVICE)
        return next(store for store in self.stores if store.port == int(port))

    def stop(self) -> None:
        for process in self._sentinels:
            process.kill()
            process.wait()
        for store in self.stores:
            store.stop()


def _text(told: object) -> str:
    return told.decode() if isinstance(told, bytes) else str(told)


def _told(told: object) -> bytes:
    if isinstance(told, dict):
        return b" ".join(f"{_text(name)}:{_text(value)}".encode() for name, value in told.items())
    return told if isinstance(told, bytes) else str(told).encode()
