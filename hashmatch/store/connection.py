"""The connection to Redis or Valkey, with bounds on everything, and its errors in our own words."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

T = TypeVar("T")

_READ_BYTES = 1 << 18
_LONGEST_REST = 0.1


class StoreUnavailableError(Exception):
    """The store did not answer, or not in time, or refused."""


class StoreRefusedError(StoreUnavailableError):
    """The store answered, with an error."""

    def __init__(self, message: str, *, for_lack_of_permission: bool) -> None:
        super().__init__(message)
        self.for_lack_of_permission = for_lack_of_permission


class StoreMisconfiguredError(Exception):
    """The store runs with settings under which it would lose data silently."""


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
        """Connect lazily to `redis://`, `rediss://` or `unix://`; timeouts are in seconds, for each of two attempts."""
        credentials = {"username": username, "password": password} if password is not None else {}
        pool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=maximum_connections,
            timeout=operation_timeout,
            socket_timeout=operation_timeout,
            # redis-py would retry ten times by default: then a timeout of 0.2 s takes seven. One immediate retry mends
            # a connection that the server closed while it was idle.
            retry=Retry(NoBackoff(), 1),
            protocol=3,
            # A thousand blocks come in one answer of a megabyte.
            socket_read_size=_READ_BYTES,
            **({} if url.startswith("unix:") else {"socket_connect_timeout": connect_timeout}),
            **credentials,
        )
        self._client = redis.Redis(connection_pool=pool)
        # While the store hangs, everybody who waits for it holds a thread for as long as the timeouts are. So after one
        # has waited in vain the others are told at once, and after this long somebody tries again. A store that is gone
        # needs no such thing: it refuses at once.
        self._rest = min(_LONGEST_REST, operation_timeout / 4)
        self._resting_until = 0.0
        self._compare_and_set = self._client.register_script(_COMPARE_AND_SET)
        self._take_lease = self._client.register_script(_TAKE_LEASE)
        self._release_lease = self._client.register_script(_RELEASE_LEASE)

    def close(self) -> None:
        """Close every connection."""
        self._client.close()
        self._client.connection_pool.disconnect()

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, or None."""
        return cast("bytes | None", self._run(lambda: self._client.get(key)))

    def get_range(self, key: bytes, start: int, end: int) -> bytes:
        """Bytes `start` to `end`, inclusive, of a value; empty if there is none."""
        return cast("bytes", self._run(lambda: self._client.getrange(key, start, end)))

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of `keys`, in order."""
        if not keys:
            return []
        return cast("list[bytes | None]", self._run(lambda: self._client.execute_command("MGET", *keys)))

    def set_many(self, values: Mapping[bytes, bytes]) -> None:
        """Set every key."""
        if values:
            self._run(lambda: self._client.mset(cast("Mapping[Any, Any]", values)))

    def set(self, key: bytes, value: bytes) -> None:
        """Set one key."""
        self._run(lambda: self._client.set(key, value))

    def delete(self, keys: Iterable[bytes]) -> int:
        """Delete keys without blocking the store; returns how many existed."""
        names = list(keys)
        return self._run(lambda: self._client.unlink(*names)) if names else 0

    def count_existing(self, keys: Sequence[bytes]) -> int:
        """How many of `keys` exist."""
        return self._run(lambda: self._client.exists(*keys)) if keys else 0

    def compare_and_set(self, key: bytes, expected: bytes, value: bytes) -> bool:
        """Set `key` if its value is still `expected` (empty: if there is none); False if it is not.

        True also if it has `value` already: the reply to the first attempt may have been lost on the way.
        """
        return bool(self._run(lambda: self._compare_and_set(keys=[key], args=[expected, value])))

    def take_lease(self, key: bytes, holder: bytes, seconds: float) -> bool:
        """Hold `key` as `holder` for `seconds` from now; False if somebody else does. Holding it again renews it."""
        milliseconds = str(int(seconds * 1_000))
        return bool(self._run(lambda: self._take_lease(keys=[key], args=[holder, milliseconds])))

    def release_lease(self, key: bytes, holder: bytes) -> None:
        """Let go of `key` if it is held as `holder`."""
        self._run(lambda: self._release_lease(keys=[key], args=[holder]))

    def script(self, source: str) -> Callable[[Sequence[bytes], Sequence[bytes | str]], Any]:
        """A script that runs in one step, over keys that share a slot; called with keys and arguments."""
        registered = self._client.register_script(source)
        return lambda keys, arguments: self._run(lambda: registered(keys=list(keys), args=list(arguments)))

    def hash_get(self, key: bytes, field: str) -> bytes | None:
        """One field of a hash, or None."""
        return cast("bytes | None", self._run(lambda: self._client.hget(key, field)))

    def hash_all(self, key: bytes) -> dict[bytes, bytes]:
        """All fields of a hash."""
        return cast("dict[bytes, bytes]", self._run(lambda: self._client.hgetall(key)))

    def hash_set(self, key: bytes, field: str, value: bytes) -> None:
        """Set one field of a hash."""
        self._run(lambda: self._client.hset(key, field, value))

    def hash_delete(self, key: bytes, field: str) -> None:
        """Remove one field of a hash."""
        self._run(lambda: self._client.hdel(key, field))

    def expire(self, key: bytes, seconds: int) -> None:
        """Delete a key `seconds` from now, whenever it was to be deleted before."""
        self._run(lambda: self._client.expire(key, seconds))

    def publish(self, channel: bytes, message: bytes) -> None:
        """Tell subscribers; best effort."""
        self._run(lambda: self._client.publish(channel, message))

    def subscribe(self, channel: bytes) -> Subscription:
        """Listen to a channel."""
        listener = self._client.pubsub(ignore_subscribe_messages=True)
        self._run(lambda: listener.subscribe(channel))
        return Subscription(listener)

    def ask(self, *command: str | bytes) -> Any:
        """What the store answers to a command, for looking into it. Raises `StoreRefusedError` as well."""
        return self._run(lambda: self._client.execute_command(*command))

    def wait_for_disk(self) -> None:
        """Wait until what was written is in the append-only file, where the store keeps one (WAITAOF, Redis 7.2)."""
        try:
            self._client.execute_command("WAITAOF", 1, 0, 1_000)
        except redis.ResponseError:
            return  # no append-only file, or an older server: its durability is what its operator chose
        except redis.RedisError as error:
            raise StoreUnavailableError(_describe(error)) from error

    def check_settings(self) -> None:
        """Raise `StoreMisconfiguredError` if the store evicts keys.

        Under an evicting policy acknowledged writes vanish without an error. A store that hides its settings
        (a managed one) cannot be checked and is taken at its operator's word.
        """
        try:
            settings = self._client.config_get("maxmemory-policy")
        except (redis.ResponseError, redis.exceptions.NoPermissionError):
            return
        except redis.RedisError as error:
            raise StoreUnavailableError(_describe(error)) from error
        if any(value not in ("noeviction", b"noeviction") for value in settings.values()):
            raise StoreMisconfiguredError("the store's maxmemory-policy must be noeviction: others silently lose data")

    def memory_used(self) -> dict[str, Any]:
        """The store's own account of its memory (INFO memory)."""
        return self._run(lambda: self._client.info("memory"))

    def _run(self, operation: Callable[[], T]) -> T:
        if time.monotonic() < self._resting_until:
            raise StoreUnavailableError("the store did not answer a moment ago")
        try:
            return operation()
        except (redis.RedisError, OSError) as error:
            if isinstance(error, redis.TimeoutError):
                self._resting_until = time.monotonic() + self._rest
            raise _failure(error) from error


class Subscription:
    """Messages of one channel."""

    def __init__(self, listener: redis.client.PubSub) -> None:
        self._listener = listener

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds` for a message; True if one came. Raises `StoreUnavailableError`."""
        try:
            return self._listener.get_message(timeout=seconds) is not None
        except (redis.RedisError, OSError) as error:
            raise _failure(error) from error

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()


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
