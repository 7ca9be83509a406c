"""The connection to Redis or Valkey, with bounds on everything, and its errors in our own words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

import redis

from hashmatch.store.cluster import Cluster
from hashmatch.store.loop_reads import LoopReads
from hashmatch.store.rest import Rest
from hashmatch.store.topology import FAILURES, BehindSentinels, Script, Topology, connection_settings, single_server
from hashmatch.store.urls import StoreUrl, parse_store_url

T = TypeVar("T")

# What the library raises where a reply is not of the form that it expects.
_UNREADABLE = (TypeError, ValueError, LookupError, AttributeError)
_VALUE_TYPES = frozenset((bytes, type(None)))
_DISK_MILLISECONDS = 1_000


class ServerOfStore(NamedTuple):
    """One server: what to call it, empty where there is one, and what asks it a command as `Connection.ask` does."""

    name: str
    ask: Callable[..., Any]


class StoreUnavailableError(Exception):
    """The store did not answer, or not in time, or refused."""


class StoreRefusedError(StoreUnavailableError):
    """The store answered, with an error."""

    def __init__(self, message: str, *, for_lack_of_permission: bool) -> None:
        super().__init__(message)
        self.for_lack_of_permission = for_lack_of_permission


class StoreMisconfiguredError(Exception):
    """The store runs with settings under which it would lose data silently."""


def _anything(_reply: Any) -> bool:
    return True


def _is_value(reply: Any) -> bool:
    return type(reply) in _VALUE_TYPES


def _is_bytes(reply: Any) -> bool:
    return type(reply) is bytes


def _is_number(reply: Any) -> bool:
    return type(reply) is int


def _is_hash(reply: Any) -> bool:
    return type(reply) is dict and all(type(part) is bytes for pair in reply.items() for part in pair)


class Connection:
    """Few, bounded operations on one store; thread-safe. Every method raises `StoreUnavailableError`.

    A block key stands by itself: nothing here needs two keys in one slot.
    """

    def __init__(
        self,
        url: str,
        *,
        connect_timeout: float = 1.0,
        operation_timeout: float = 1.0,
        maximum_connections: int = 16,
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        """Connect lazily to what `urls.parse_store_url` reads; timeouts are in seconds, for each of two attempts.

        Of a cluster each server gets as many connections. Raises `StoreUrlError`.
        """
        self._url = parse_store_url(url)
        self._settings = connection_settings(
            self._url,
            connect_timeout=connect_timeout,
            operation_timeout=operation_timeout,
            username=username,
            password=password,
        )
        self._operation_timeout = operation_timeout
        self._topology = _topology(self._url, self._settings, maximum_connections)
        self._rest = Rest(operation_timeout)
        self._compare_and_set = self.script(_COMPARE_AND_SET, _is_number)
        self._hash_compare_and_set = self.script(_HASH_COMPARE_AND_SET, _is_number)
        self._hash_compare_and_delete = self.script(_HASH_COMPARE_AND_DELETE, _is_number)
        self._take_lease = self.script(_TAKE_LEASE, _is_number)
        self._release_lease = self.script(_RELEASE_LEASE)

    def close(self) -> None:
        """Close every connection."""
        self._topology.close()

    def loop_reads(self) -> LoopReads | None:
        """Reads of the same store on the event loop that this is called on; None of groups, where keys have places."""
        if self._url.kind != "server":
            return None
        settings = {name: value for name, value in self._settings.items() if name != "socket_read_size"}
        return LoopReads(self._url.plain, settings, operation_timeout=self._operation_timeout, rest=self._rest)

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, or None."""
        return cast("bytes | None", self._run(lambda: self._topology.client.get(key), _is_value))

    def get_range(self, key: bytes, start: int, end: int) -> bytes:
        """Bytes `start` to `end`, inclusive, of a value; empty if there is none."""
        return cast("bytes", self._run(lambda: self._topology.client.getrange(key, start, end), _is_bytes))

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of `keys`, in order; of keys that never change, because they may come from a replica."""
        if not keys:
            return []

        def is_one_for_each(reply: Any) -> bool:
            return type(reply) is list and len(reply) == len(keys) and _VALUE_TYPES.issuperset(map(type, reply))

        return self._run(lambda: self._topology.get_many(keys), is_one_for_each)

    def set_many(self, values: Mapping[bytes, bytes]) -> None:
        """Set every key."""
        if values:
            self._run(lambda: self._topology.set_many(values))

    def set(self, key: bytes, value: bytes) -> None:
        """Set one key."""
        self._run(lambda: self._topology.client.set(key, value))

    def delete(self, keys: Iterable[bytes]) -> int:
        """Delete keys without blocking the store; returns how many existed."""
        names = list(keys)
        return self._run(lambda: self._topology.delete(names), _is_number) if names else 0

    def count_existing(self, keys: Sequence[bytes]) -> int:
        """How many of `keys` exist."""
        return self._run(lambda: self._topology.count_existing(keys), _is_number) if keys else 0

    def compare_and_set(self, key: bytes, expected: bytes, value: bytes) -> bool:
        """Set `key` if its value is still `expected` (empty: if there is none); False if it is not.

        True also if it has `value` already: the reply to the first attempt may have been lost on the way.
        """
        return bool(self._compare_and_set([key], [expected, value]))

    def take_lease(self, key: bytes, holder: bytes, seconds: float) -> bool:
        """Hold `key` as `holder` for `seconds` from now; False if somebody else does. Holding it again renews it."""
        milliseconds = str(int(seconds * 1_000))
        return bool(self._take_lease([key], [holder, milliseconds]))

    def release_lease(self, key: bytes, holder: bytes) -> None:
        """Let go of `key` if it is held as `holder`."""
        self._release_lease([key], [holder])

    def script(self, source: str, is_readable: Callable[[Any], bool] = _anything) -> Script:
        """A script that runs in one step, over keys that share a slot; called with keys and arguments."""
        registered = self._topology.script(source)
        return lambda keys, arguments: self._run(lambda: registered(keys, arguments), is_readable)

    def hash_get(self, key: bytes, field: str) -> bytes | None:
        """One field of a hash, or None."""
        return cast("bytes | None", self._run(lambda: self._topology.client.hget(key, field), _is_value))

    def hash_all(self, key: bytes) -> dict[bytes, bytes]:
        """All fields of a hash."""
        return cast("dict[bytes, bytes]", self._run(lambda: self._topology.client.hgetall(key), _is_hash))

    def hash_set(self, key: bytes, field: str, value: bytes) -> None:
        """Set one field of a hash."""
        self._run(lambda: self._topology.client.hset(key, field, value))

    def hash_compare_and_set(self, key: bytes, field: str, expected: bytes, value: bytes) -> bool:
        """Set a field if its value is still `expected`; False if it is not. True also as `compare_and_set` says."""
        return bool(self._hash_compare_and_set([key], [field, expected, value]))

    def hash_compare_and_delete(self, key: bytes, field: str, expected: bytes) -> None:
        """Remove a field if its value is still `expected`."""
        self._hash_compare_and_delete([key], [field, expected])

    def hash_delete(self, key: bytes, field: str | bytes) -> None:
        """Remove one field of a hash."""
        self._run(lambda: self._topology.client.hdel(key, field))

    def expire(self, key: bytes, seconds: int) -> None:
        """Delete a key `seconds` from now, whenever it was to be deleted before."""
        self._run(lambda: self._topology.client.expire(key, seconds))

    def publish(self, channel: bytes, message: bytes) -> None:
        """Tell subscribers; best effort."""
        self._run(lambda: self._topology.client.publish(channel, message))

    def subscribe(self, channel: bytes) -> Subscription:
        """Listen to a channel."""
        return Subscription(self._run(lambda: self._topology.subscribe(channel)))

    def servers(self) -> list[ServerOfStore]:
        """Every server that takes writes: one, or the primaries of a cluster."""
        return [ServerOfStore(name, partial(self._asked, run)) for name, run in self._run(self._servers)]

    def ask(self, *command: str | bytes) -> Any:
        """What the store answers to a command, for looking into it; of a cluster the first of `servers`.

        A command on a key that lies elsewhere fails there, as it would for other reasons. Raises `StoreRefusedError`
        as well.
        """
        (_, run), *_ = self._run(self._servers)
        return self._asked(run, *command)

    def is_permitted(self, *command: str | bytes) -> bool:
        """Whether this user may run a command, which is run if so."""
        try:
            self.ask(*command)
        except StoreRefusedError as error:
            return not error.for_lack_of_permission
        return True

    def _servers(self) -> list[tuple[str, Callable[..., Any]]]:
        return list(self._topology.servers())

    def _asked(self, run: Callable[..., Any], *command: str | bytes) -> Any:
        return self._run(lambda: run(*command))

    def wait_for_disk(self, mark: bytes) -> None:
        """Wait until what was written is in the append-only file, where the store keeps one (WAITAOF, Redis 7.2).

        Whichever connection wrote it: `mark` is a key, or the beginning of some, that is written and deleted for that.
        """
        try:
            self._topology.wait_for_disk(mark, _DISK_MILLISECONDS)
        except _UNREADABLE as error:
            raise self._out_of_step() from error
        except FAILURES as error:
            raise _failure(error) from error

    def check_settings(self) -> None:
        """Raise `StoreMisconfiguredError` if the store evicts keys.

        Under an evicting policy acknowledged writes vanish without an error. A store that hides its settings
        (a managed one) cannot be checked and is taken at its operator's word.
        """
        try:
            policies = set(self._topology.eviction_policies())
        except (redis.ResponseError, redis.exceptions.NoPermissionError):
            return
        except _UNREADABLE as error:
            raise self._out_of_step() from error
        except FAILURES as error:
            raise StoreUnavailableError(_describe(error)) from error
        if not policies <= {"noeviction", b"noeviction"}:
            raise StoreMisconfiguredError("the store's maxmemory-policy must be noeviction: others silently lose data")

    def memory_used(self) -> dict[str, Any]:
        """The store's own account of its memory (INFO memory)."""
        return self._run(lambda: self._topology.client.info("memory"))

    def _run(self, operation: Callable[[], T], is_readable: Callable[[Any], bool] = _anything) -> T:
        if self._rest.lasts:
            raise StoreUnavailableError("the store did not answer a moment ago")
        try:
            reply = operation()
        except _UNREADABLE as error:
            raise self._out_of_step() from error
        except FAILURES as error:
            if isinstance(error, redis.TimeoutError):
                self._rest.begin()
            raise _failure(error) from error
        if not is_readable(reply):
            raise self._out_of_step()
        return reply

    def _out_of_step(self) -> StoreUnavailableError:
        """The failure of an operation whose reply is not one to it: bytes were lost or changed on the way.

        Whatever comes next on such a connection may be the reply to something else, so that all begin anew.
        """
        self._topology.disconnect()
        return StoreUnavailableError("the store's answer cannot be read")


class Subscription:
    """Messages of one channel."""

    def __init__(self, listener: redis.client.PubSub) -> None:
        self._listener = listener

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds` for a message; True if one came. Raises `StoreUnavailableError`."""
        try:
            return self._listener.get_message(timeout=seconds) is not None
        except _UNREADABLE as error:
            raise StoreUnavailableError("the store's message cannot be read") from error
        except FAILURES as error:
            raise _failure(error) from error

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()


def _topology(url: StoreUrl, settings: dict[str, Any], maximum_connections: int) -> Topology:
    match url.kind:
        case "cluster":
            return Cluster(url, settings, maximum_connections=maximum_connections)
        case "sentinel":
            return BehindSentinels(url, settings, maximum_connections=maximum_connections)
        case "server":
            return single_server(url, settings, maximum_connections=maximum_connections)


def _failure(error: Exception) -> StoreUnavailableError:
    if isinstance(error, redis.ResponseError):
        denied = isinstance(error, redis.exceptions.NoPermissionError)
        return StoreRefusedError(_describe(error), for_lack_of_permission=denied)
    return StoreUnavailableError(_describe(error))


def _describe(error: Exception) -> str:
    # The text of a Redis error can hold keys and addresses; its kind is enough.
    if isinstance(error, redis.TimeoutError):
        return "the store did not answer in time"
    if isinstance(error, redis.ResponseError):
        return f"the store refused: {str(error).split(' ', 1)[0]}"
    return f"the store cannot be reached ({type(error).__name__})"


_COMPARE_AND_SET = """
local current = redis.call('GET', KEYS[1]) or ''
if current == ARGV[2] then return 1 end
if current ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""

_HASH_COMPARE_AND_SET = """
local current = redis.call('HGET', KEYS[1], ARGV[1])
if current == ARGV[3] then return 1 end
if current ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
"""

_HASH_COMPARE_AND_DELETE = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])
"""

_TAKE_LEASE = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

_RELEASE_LEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
"""
