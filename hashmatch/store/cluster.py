"""A cluster, whose keys lie on many servers by their slots.

Commands on one key, scripts and messages are the library's concern: it knows the slots, and follows them when they
move. Blocks are asked for by the thousand, and no two need to share a slot. So the commands for each server are sent to
it in one go, to all servers before any answer is read; what was redirected, or whose server was away, is left to the
library, one by one, which learns from it where things are.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, MasterDownError, MovedError, TryAgainError
from redis.retry import Retry

from hashmatch.store.topology import AWAY_SECONDS, FAILURES, Script, Topology, settle
from hashmatch.store.urls import StoreUrl

# After a failure the library looks at the cluster anew and tries again, so often.
_RETRIES = 2
# How often commands are sent to the servers as they are known, before the library has those that are left.
_ROUNDS = 2
# Some key among so many lies in any slot, but for one in ten thousand: enough for a primary that has a single one.
_MARKS_TRIED = 10 * 16_384

_AWAY = (redis.ConnectionError, redis.TimeoutError, OSError)
_REDIRECTED = (MovedError, AskError, TryAgainError, ClusterDownError, MasterDownError)

_Command = tuple[bytes | str, ...]
# Which of the nodes that have a slot, the primary first, is asked; None for none of them.
_Choose = Callable[[Sequence[ClusterNode]], ClusterNode | None]
_UNSETTLED = object()


class Cluster(Topology):
    """A cluster, known by some of its nodes. Raises what the library raises."""

    def __init__(self, url: StoreUrl, settings: Mapping[str, Any], *, maximum_connections: int) -> None:
        """Connects when it is first used: the library asks for the slots at once."""
        self._url = url
        self._settings = settings
        self._maximum_connections = maximum_connections
        self._lock = threading.Lock()
        self._made: RedisCluster | None = None
        # Until when a node is taken for away, by its name.
        self._away: dict[str, float] = {}
        self._looking = threading.Lock()

    @property
    def client(self) -> redis.Redis:
        """Runs commands on single keys, and those that name none."""
        # The two have no common type, and the same methods.
        return cast("redis.Redis", self._cluster)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of keys, in order, whose values never change."""
        return cast("list[bytes | None]", self._each([("GET", key) for key in keys], unchanging=True))

    def set_many(self, values: Mapping[bytes, bytes]) -> None:
        """Set every key."""
        self._each([("SET", key, value) for key, value in values.items()])

    def delete(self, keys: Sequence[bytes]) -> int:
        """Delete keys; returns how many there were."""
        return sum(self._each([("UNLINK", key) for key in keys]))

    def count_existing(self, keys: Sequence[bytes]) -> int:
        """How many of the keys there are."""
        return sum(self._each([("EXISTS", key) for key in keys]))

    def script(self, source: str) -> Script:
        """A script of this source."""
        registered: list[Callable[..., Any]] = []

        def run(keys: Sequence[bytes], arguments: Sequence[bytes | str]) -> Any:
            if not registered:
                registered.append(self.client.register_script(source))
            return registered[0](keys=list(keys), args=list(arguments))

        return run

    def wait_for_disk(self, mark: bytes, milliseconds: int) -> None:
        """Wait so long, on each primary, for what was written to be in the append-only file, and on a replica."""
        slots = self._cluster.nodes_manager.slots_cache
        replicated = {owners[0].name for owners in slots.values() if len(owners) > 1}
        for node, key in marks(slots, mark):
            server = self._cluster.get_redis_connection(node)
            settle(server, key, milliseconds, on_replica=node.name in replicated)

    def eviction_policies(self) -> Iterable[bytes | str | None]:
        """The `maxmemory-policy` of every primary."""
        for _, run in self.servers():
            yield from run("CONFIG GET", "maxmemory-policy").values()

    def servers(self) -> Iterator[tuple[str, Callable[..., Any]]]:
        """Every primary: what to call it, and what runs a command on it."""
        for node in self._cluster.get_primaries():
            yield node.name, self._cluster.get_redis_connection(node).execute_command

    def disconnect(self) -> None:
        """Close every connection; new ones are made when they are needed."""
        if self._made is not None:
            self._made.disconnect_connection_pools()

    def close(self) -> None:
        """Close for good."""
        if self._made is not None:
            self._made.close()

    @property
    def _cluster(self) -> RedisCluster:
        with self._lock:
            if self._made is None:
                self._made = RedisCluster(
                    url=self._url.plain,
                    startup_nodes=[ClusterNode(host, port) for host, port in self._url.nodes],
                    connection_pool_class=self._pool,
                    max_connections=self._maximum_connections,
                    retry=Retry(NoBackoff(), _RETRIES),
                    **self._settings,
                )
            return self._made

    def _pool(self, **settings: Any) -> redis.BlockingConnectionPool:
        return redis.BlockingConnectionPool(timeout=self._settings["socket_timeout"], **settings)

    def _each(self, commands: Sequence[_Command], *, unchanging: bool = False) -> list[Any]:
        """The reply to each of many commands on one key, which may be run twice.

        What is `unchanging` may come from replicas while its primary is away.
        """
        replies: list[Any] = [_UNSETTLED] * len(commands)
        for _ in range(_ROUNDS):
            if not unchanging:
                self._exchange(commands, replies, _primary)
            else:
                self._exchange(commands, replies, self._primary_at_hand)
                self._exchange(commands, replies, _replica, of_replicas=True)
            left = [index for index, reply in enumerate(replies) if reply is _UNSETTLED]
            if not left:
                return replies
            # The library follows the redirection, or finds out who has the slot now.
            replies[left[0]] = self._cluster.execute_command(*commands[left[0]])
        for index in left[1:]:
            replies[index] = self._cluster.execute_command(*commands[index])
        return replies

    def _exchange(
        self, commands: Sequence[_Command], replies: list[Any], choose: _Choose, *, of_replicas: bool = False
    ) -> None:
        """Send what is unsettled to the nodes that are chosen, and put down what they reply."""
        slots = self._cluster.nodes_manager.slots_cache
        wanted: dict[str, tuple[ClusterNode, list[int]]] = {}
        for index, reply in enumerate(replies):
            if reply is _UNSETTLED and (node := choose(slots.get(_slot(commands[index]), []))) is not None:
                wanted.setdefault(node.name, (node, []))[1].append(index)
        with contextlib.ExitStack() as stack:
            under_way = []
            for node, indexes in wanted.values():
                sent = stack.enter_context(_Exchange(self._cluster.get_redis_connection(node)))
                if sent.send([("READONLY",)] * of_replicas + [commands[index] for index in indexes]):
                    under_way.append((node, sent, indexes))
                else:
                    self._is_away(node)
            for node, sent, indexes in under_way:
                found = sent.receive()
                if found is None:
                    self._is_away(node)
                    continue
                for index, reply in zip(indexes, found[of_replicas:], strict=True):
                    # A replica may lack what the primary has: that something is missing, only a primary can say.
                    if not isinstance(reply, _REDIRECTED) and not (of_replicas and reply is None):
                        replies[index] = _raised(reply)

    def _primary_at_hand(self, owners: Sequence[ClusterNode]) -> ClusterNode | None:
        """The primary, unless it was away a moment ago and there are replicas."""
        is_away = len(owners) > 1 and self._away.get(owners[0].name, 0.0) > time.monotonic()
        return None if is_away else _primary(owners)

    def _is_away(self, node: ClusterNode) -> None:
        """Ask others for a while, and find out whether its slots have another primary by now."""
        self._away[node.name] = time.monotonic() + AWAY_SECONDS
        if self._looking.acquire(blocking=False):
            threading.Thread(target=self._look_anew, name="cluster-slots", daemon=True).start()

    def _look_anew(self) -> None:
        try:
            with contextlib.suppress(*FAILURES):
                self._cluster.nodes_manager.initialize()
        finally:
            self._looking.release()


def marks(owners: Mapping[int, Sequence[ClusterNode]], mark: bytes) -> list[tuple[ClusterNode, bytes]]:
    """Every primary that has slots, with a key in one of them that begins with `mark`.

    `owners` are the nodes that have a slot, by its number, the primary first.
    """
    wanted: dict[str, ClusterNode] = {nodes[0].name: nodes[0] for nodes in owners.values() if nodes}
    found = []
    for number in range(_MARKS_TRIED):
        if not wanted:
            break
        key = b"%b:%d" % (mark, number)
        node = _primary(owners.get(key_slot(key), ()))
        if node is not None and wanted.pop(node.name, None) is not None:
            found.append((node, key))
    return found


class _Exchange(contextlib.AbstractContextManager["_Exchange"]):
    """Commands that are sent to one server together. Its connection is given back at the end."""

    def __init__(self, server: redis.Redis) -> None:
        self._pool = server.connection_pool
        self._connection: redis.Connection | None = None
        self._owed = 0

    def send(self, commands: Sequence[_Command]) -> bool:
        """Send them; False if the server cannot be reached."""
        try:
            self._connection = self._pool.get_connection()
            self._owed = len(commands)
            self._connection.send_packed_command(self._connection.pack_commands(commands))
        except _AWAY:
            return False
        return True

    def receive(self) -> list[Any] | None:
        """The reply to each, errors among them; None if the server did not give them all."""
        assert self._connection is not None
        replies: list[Any] = []
        try:
            while self._owed:
                try:
                    replies.append(self._connection.read_response())
                except redis.ResponseError as error:
                    replies.append(error)
                self._owed -= 1
        except _AWAY:
            return None
        return replies

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            if self._owed:
                # What is still to come would be taken for replies to something else.
                self._connection.disconnect()
            self._pool.release(self._connection)


def _primary(owners: Sequence[ClusterNode]) -> ClusterNode | None:
    return owners[0] if owners else None


def _replica(owners: Sequence[ClusterNode]) -> ClusterNode | None:
    return owners[1] if len(owners) > 1 else None


def _slot(command: _Command) -> int:
    return key_slot(cast("bytes", command[1]))


def _raised(reply: Any) -> Any:
    if isinstance(reply, Exception):
        raise reply
    return reply
