"""Where commands go: to the one server that there is, to the primary that sentinels name, or, in `cluster`, by slots.

What a connection asks for is the same everywhere. What differs is which server is asked, what one command may ask at
once, and what is done while a primary is away. Blocks never change and are sealed, so that any copy is as good as the
primary's: they are read from replicas then. Everything else is asked of a primary alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, cast

import redis
import redis.sentinel
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry

from hashmatch.store.urls import StoreUrl

_READ_BYTES = 1 << 18
# How long a primary that did not answer is not asked for blocks again, in seconds, where there are replicas.
AWAY_SECONDS = 1.0

# What the library raises where a store fails: of a cluster that cannot be used at all it says so by an error of no kin.
FAILURES = (redis.RedisError, redis.exceptions.RedisClusterException, OSError)

# A script over keys that share a slot, called with these and with arguments.
Script = Callable[[Sequence[bytes], Sequence[bytes | str]], Any]


class Topology:
    """One server. Methods raise what the library raises; thread-safe."""

    def __init__(self, pool: redis.ConnectionPool) -> None:
        self._client = redis.Redis(connection_pool=pool)

    @property
    def client(self) -> redis.Redis:
        """Runs commands on single keys, and those that name none."""
        return self._client

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of keys, in order, whose values never change."""
        return cast("list[bytes | None]", self.client.execute_command("MGET", *keys))

    def set_many(self, values: Mapping[bytes, bytes]) -> None:
        """Set every key."""
        self.client.mset(cast("Mapping[Any, Any]", values))

    def delete(self, keys: Sequence[bytes]) -> int:
        """Delete keys; returns how many there were."""
        return self.client.unlink(*keys)

    def count_existing(self, keys: Sequence[bytes]) -> int:
        """How many of the keys there are."""
        return self.client.exists(*keys)

    def script(self, source: str) -> Script:
        """A script of this source."""
        registered = self.client.register_script(source)
        return lambda keys, arguments: registered(keys=list(keys), args=list(arguments))

    def subscribe(self, channel: bytes) -> redis.client.PubSub:
        """Listen to a channel."""
        listener: redis.client.PubSub = self.client.pubsub(ignore_subscribe_messages=True)
        listener.subscribe(channel)
        return listener

    def wait_for_disk(self, mark: bytes, milliseconds: int) -> None:
        """Wait so long for what anybody has written until now to be in the append-only file; see `settle`."""
        settle(self.client, mark, milliseconds, on_replica=False)

    def eviction_policies(self) -> Iterable[bytes | str | None]:
        """The `maxmemory-policy` of every server that takes writes."""
        return self.client.config_get("maxmemory-policy").values()

    def servers(self) -> Iterator[tuple[str, Callable[..., Any]]]:
        """Every server that takes writes: what to call it, empty if there is one, and what runs a command on it."""
        yield "", self.client.execute_command

    def disconnect(self) -> None:
        """Close every connection; new ones are made when they are needed."""
        self.client.connection_pool.disconnect()

    def close(self) -> None:
        """Close for good."""
        self.client.close()
        self.disconnect()


def settle(server: redis.Redis, mark: bytes, milliseconds: int, *, on_replica: bool) -> None:
    """Wait so long, on one server, for what it was told until now to be in its append-only file, or on a replica too.

    WAITAOF and WAIT are about the writes of the connection that asks, and a pool hands out any. So the one that asks
    writes first, under the key `mark`, and deletes that again: what comes before it in the server's one order of writes
    is there when it is. A server without an append-only file, or too old to be asked, is as durable as its operator
    chose.
    """
    with server.pipeline(transaction=False) as commands:
        commands.set(mark, b"")
        commands.delete(mark)
        commands.execute_command("WAITAOF", 1, 0, milliseconds)
        if on_replica:
            commands.execute_command("WAIT", 1, milliseconds)
        written, deleted, *_ = commands.execute(raise_on_error=False)
    for reply in (written, deleted):
        if isinstance(reply, Exception):
            raise reply


def connection_settings(
    url: StoreUrl,
    *,
    connect_timeout: float,
    operation_timeout: float,
    username: str | None,
    password: str | None,
) -> dict[str, Any]:
    """What every connection to a server is made with."""
    return {
        "socket_timeout": operation_timeout,
        "protocol": 3,
        # A thousand blocks come in one answer of a megabyte.
        "socket_read_size": _READ_BYTES,
        **({} if url.plain.startswith("unix:") else {"socket_connect_timeout": connect_timeout}),
        **({"username": username, "password": password} if password is not None else {}),
    }


def single_server(url: StoreUrl, settings: Mapping[str, Any], *, maximum_connections: int) -> Topology:
    """The server at a URL, to which connections are made when they are needed."""
    return Topology(
        redis.BlockingConnectionPool.from_url(
            url.plain,
            max_connections=maximum_connections,
            timeout=settings["socket_timeout"],
            # redis-py would retry ten times by default: then a timeout of 0.2 s takes seven. One immediate retry mends
            # a connection that the server closed while it was idle.
            retry=Retry(NoBackoff(), 1),
            **settings,
        )
    )


class BehindSentinels(Topology):
    """The primary that sentinels name, and its replicas for blocks while there is none."""

    def __init__(self, url: StoreUrl, settings: Mapping[str, Any], *, maximum_connections: int) -> None:
        said = parse_url(url.plain)
        encrypted = issubclass(said.pop("connection_class", redis.Connection), redis.SSLConnection)
        for place in ("host", "port"):
            said.pop(place, None)
        to_sentinels = {
            name: value for name, value in {**settings, **said}.items() if name not in ("username", "password", "db")
        }
        sentinels = redis.sentinel.Sentinel(
            url.nodes, sentinel_kwargs={**to_sentinels, "ssl": encrypted, "retry": Retry(NoBackoff(), 0)}
        )

        def pool(*, of_primary: bool) -> redis.ConnectionPool:
            return _SentinelPool(
                url.service,
                sentinels,
                is_master=of_primary,
                ssl=encrypted,
                max_connections=maximum_connections,
                timeout=settings["socket_timeout"],
                retry=Retry(NoBackoff(), 1),
                **{**said, **settings},
            )

        super().__init__(pool(of_primary=True))
        self._replicas = redis.Redis(connection_pool=pool(of_primary=False))
        self._known_replicas = partial(sentinels.discover_slaves, url.service)
        self._away_until = 0.0

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of keys, in order, whose values never change."""
        if time.monotonic() >= self._away_until:
            try:
                return super().get_many(keys)
            except (redis.ConnectionError, redis.TimeoutError):
                self._away_until = time.monotonic() + AWAY_SECONDS
        values = cast("list[bytes | None]", self._replicas.execute_command("MGET", *keys))
        # A replica may lack what the primary has: that something is missing, only a primary can say.
        return values if None not in values else super().get_many(keys)

    def wait_for_disk(self, mark: bytes, milliseconds: int) -> None:
        """Wait so long for what was written to be in the append-only file, and on a replica if there is one."""
        settle(self.client, mark, milliseconds, on_replica=bool(self._known_replicas()))

    def disconnect(self) -> None:
        """Close every connection; new ones are made when they are needed."""
        super().disconnect()
        self._replicas.connection_pool.disconnect()


class _SentinelPool(redis.sentinel.SentinelConnectionPool, redis.BlockingConnectionPool):
    """One that waits for a connection to become free where the library's would fail."""
