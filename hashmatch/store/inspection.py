"""What a store says of itself, asked without changing anything in it.

Whether a user may run a command is found out by running it so that it fails for another reason: Redis and Valkey look
at permissions before they look at arguments. So nothing is written, not even where everything is permitted. Servers may
be told once more to look at the manifest, which they do several times a second anyway.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from hashmatch.store.connection import Connection, StoreRefusedError
from hashmatch.store.keys import Keys

# Redis 7.2 and every Valkey can say when a write is on the disk.
OLDEST_VERSION = (7, 2)

_SETTINGS = ("maxmemory-policy", "appendonly", "appendfsync", "save")
_NOBODY = b"inspection"
_NO_SCRIPT = "0" * 40
# For the answer to a subscription, in seconds.
_PATIENCE = 1.0


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What could be found out; empty, or None, is what the store does not tell this user.

    `clock_offset` is how far the store's clock is ahead of ours, and `round_trip` how far that may be wrong: seconds.
    `maximum_memory` 0 means no limit.
    """

    product: str
    version: tuple[int, ...]
    settings: Mapping[str, str]
    role: str
    used_memory: int | None
    maximum_memory: int | None
    evicted_keys: int | None
    failing_persistence: bool
    clock_offset: float | None
    round_trip: float


class Asked(Protocol):
    """What can be asked: a connection, or one server."""

    @property
    def ask(self) -> Callable[..., Any]:
        """Asks a command; see `Connection.ask`."""
        ...


def inspect_store(connection: Asked, keys: Keys) -> StoreFacts:
    """Ask a server of the store. Raises `StoreUnavailableError` if it does not answer."""
    _ask(connection, "EXISTS", keys.manifest)
    told = _ask(connection, "INFO", "everything") or {}
    settings: dict[str, str] = {}
    for name in _SETTINGS:
        settings |= _texts(_ask(connection, "CONFIG GET", name) or {})
    before = time.monotonic()
    their_time = _ask(connection, "TIME")
    round_trip = time.monotonic() - before
    offset = None if their_time is None else their_time[0] + their_time[1] / 1e6 - (time.time() - round_trip / 2)
    product = str(told.get("server_name") or ("redis" if told else ""))
    version = str(told.get(f"{product}_version") or told.get("redis_version") or "")
    return StoreFacts(
        product=product,
        version=tuple(int(part) for part in version.split(".") if part.isdigit()),
        settings=settings,
        role=str(told.get("role", "")),
        used_memory=told.get("used_memory"),
        maximum_memory=told.get("maxmemory"),
        evicted_keys=told.get("evicted_keys"),
        failing_persistence=bool(told)
        and "err" in (told.get("aof_last_write_status"), told.get("rdb_last_bgsave_status")),
        clock_offset=offset,
        round_trip=round_trip,
    )


def refused_commands(connection: Connection, keys: Keys, *, writing: bool, counting: bool) -> Iterator[str]:
    """The commands that a server needs and the store's user may not run on the keys of this namespace.

    `writing` is for a server with administration, `counting` for one that keeps daily counts. Raises
    `StoreUnavailableError`.
    """
    block = keys.block_prefix(_NOBODY.decode()) + b"0"
    reading: tuple[tuple[str | bytes, ...], ...] = (
        ("GET", keys.manifest),
        ("GETRANGE", keys.manifest, "0", "0"),
        ("MGET", block),
        ("EXISTS", keys.sets(_NOBODY.decode())),
        ("GET", keys.suppressions(_NOBODY.decode())),
    )
    yield from _refused(connection, (*reading, *_settling(keys)))
    subscription = connection.subscribe(keys.changed)
    try:
        subscription.wait(_PATIENCE)
    except StoreRefusedError:
        yield "SUBSCRIBE"
    finally:
        subscription.close()
    if counting:
        counts = keys.counts(_NOBODY.decode())
        yield from _refused(connection, (("HSET", counts, _NOBODY, "", _NOBODY), ("EXPIRE", counts, "no number")))
    if not writing:
        return
    changing: tuple[tuple[str | bytes, ...], ...] = (
        ("SET", keys.manifest, "", "NO-SUCH-OPTION"),
        ("MSET", block, "", block),
        ("UNLINK", block),
        ("DEL", block),
        ("HGET", keys.stagings, _NOBODY),
        ("HGETALL", keys.pending),
        ("HSET", keys.feeds, _NOBODY, "", _NOBODY),
        ("HDEL", keys.stagings, _NOBODY),
        ("EVALSHA", _NO_SCRIPT, "1", keys.manifest),
        ("PUBLISH", keys.changed, ""),
    )
    yield from _refused(connection, changing)


def _settling(keys: Keys) -> tuple[tuple[str | bytes, ...], ...]:
    """What settling a budget takes, by a script and inside it."""
    record, sketch = keys.budget(_NOBODY.decode()), keys.budget_sketch(_NOBODY.decode(), "")
    return (
        ("TIME",),
        ("HMGET", record, _NOBODY),
        ("HSET", record, _NOBODY, "", _NOBODY),
        ("GETRANGE", sketch, "0", "0"),
        ("SETRANGE", sketch, "0", ""),
        ("EXPIRE", record, "no number"),
        ("EVALSHA", _NO_SCRIPT, "1", record),
        ("SCRIPT LOAD", "not a script"),
    )


def _refused(connection: Connection, commands: Iterable[tuple[str | bytes, ...]]) -> Iterator[str]:
    for command in commands:
        if not connection.is_permitted(*command):
            yield str(command[0])


def _ask(connection: Asked, *command: str | bytes) -> Any:
    """The answer, or None if the store refuses it."""
    try:
        return connection.ask(*command)
    except StoreRefusedError:
        return None


def _texts(settings: Mapping[Any, Any]) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in settings.items()}


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
