"""A cluster of real servers on loopback, for benchmarks and tests: how servers are started and made into one."""

from __future__ import annotations

import contextlib
import random
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS

from hashmatch.store.embedded import valkey_binary

# What a server is started with to become part of one. A primary is taken for gone after a second; until a replica has
# taken its place nobody would answer anything without the last of these.
SETTINGS = {
    "cluster-enabled": "yes",
    "cluster-node-timeout": "1000",
    "cluster-allow-replica-migration": "no",
    "cluster-allow-reads-when-down": "yes",
}
_PATIENCE = 60.0
_POLL = 0.02


# What the embedded store is started with as well.
_DURABLE = {"appendonly": "yes", "appendfsync": "everysec", "save": "", "maxmemory-policy": "noeviction"}


class Node(NamedTuple):
    """A server that runs, by its port on loopback and its process."""

    port: int
    pid: int


@contextlib.contextmanager
def running_servers(directory: Path, count: int) -> Iterator[list[Node]]:
    """So many servers on ports of loopback: a cluster of primaries, or one server of its own."""
    settings = _DURABLE if count == 1 else {**_DURABLE, **SETTINGS}
    with contextlib.ExitStack() as started:
        nodes = []
        for number in range(count):
            home = directory / f"store-{number}"
            home.mkdir(parents=True)
            port = port_with_bus()
            flags = [part for name, value in settings.items() for part in (f"--{name}", value)]
            log = started.enter_context((home / "store.log").open("wb"))
            command = [str(valkey_binary()), "--port", str(port), "--bind", "127.0.0.1", *flags]
            process = subprocess.Popen(command, cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            started.callback(process.wait)
            started.callback(process.kill)
            nodes.append(Node(port, process.pid))
        for node in nodes:
            _until(lambda node=node: _answers(node))
        if count > 1:
            form_cluster([node.port for node in nodes], primaries=count)
        yield nodes


def url_of(nodes: Sequence[Node]) -> str:
    """What a server is configured with."""
    places = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
    return f"redis://{places}" if len(nodes) == 1 else f"redis+cluster://{places}"


def port_with_bus() -> int:
    """A port on which nobody listens, nor on the one 10,000 above it, on which nodes talk to each other.

    Below those that the system gives away, which often have none above them.
    """
    while True:
        port = random.randrange(12_000, 22_000)
        with closing(socket.socket()) as own, closing(socket.socket()) as bus, contextlib.suppress(OSError):
            own.bind(("127.0.0.1", port))
            bus.bind(("127.0.0.1", port + 10_000))
            return port


def form_cluster(ports: Sequence[int], *, primaries: int, **settings: Any) -> None:
    """Join servers on loopback: the first so many share the slots, the others are replicas of them in turn.

    `settings` are of the connections to them, for servers over TLS.
    """
    servers = [redis.Redis(port=port, decode_responses=True, **settings) for port in ports]
    try:
        names = [str(server.execute_command("CLUSTER MYID")) for server in servers]
        for other in ports[1:]:
            servers[0].execute_command("CLUSTER MEET", "127.0.0.1", other)
        bounds = [REDIS_CLUSTER_HASH_SLOTS * number // primaries for number in range(primaries + 1)]
        for server, low, high in zip(servers, bounds, bounds[1:], strict=False):
            server.execute_command("CLUSTER ADDSLOTSRANGE", low, high - 1)
        for number, server in enumerate(servers[primaries:]):
            _until(lambda server=server, number=number: names[number % primaries] in _nodes(server))
            server.execute_command("CLUSTER REPLICATE", names[number % primaries])
        for server in servers:
            _until(lambda server=server: _is_whole(server, len(ports), len(ports) - primaries))
    finally:
        for server in servers:
            server.close()


def _answers(node: Node) -> bool:
    with closing(redis.Redis(port=node.port)) as server, contextlib.suppress(redis.RedisError):
        return bool(server.ping())
    return False


def _nodes(server: redis.Redis) -> str:
    return str(server.execute_command("CLUSTER NODES"))


def _is_whole(server: redis.Redis, servers: int, replicas: int) -> bool:
    """Whether a server sees all others, every slot, and replicas that follow."""
    told = server.execute_command("CLUSTER INFO")
    state = told if isinstance(told, dict) else dict(line.split(":", 1) for line in str(told).split())
    seen = (state["cluster_state"], int(state["cluster_known_nodes"]), int(state["cluster_slots_assigned"]))
    replication = server.info("replication")
    follows = replication["role"] == "master" or replication["master_link_status"] == "up"
    return follows and seen == ("ok", servers, REDIS_CLUSTER_HASH_SLOTS) and _replicas(server) == replicas


def _replicas(server: redis.Redis) -> int:
    nodes = server.execute_command("CLUSTER NODES")
    flags = [node["flags"] for node in nodes.values()] if isinstance(nodes, dict) else str(nodes).splitlines()
    return sum("slave" in each for each in flags)


def _until(look: object) -> None:
    assert callable(look)
    give_up = time.monotonic() + _PATIENCE
    while not look():
        if time.monotonic() > give_up:
            raise TimeoutError("the cluster did not form")
        time.sleep(_POLL)
