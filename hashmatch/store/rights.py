"""What the store's user may do that a server has no use for.

Whoever takes over a server has its user. One who can list keys, read others, empty or stop the store, or change its
settings and users can do more harm than the server itself. Everything is tried with a command that does nothing even
where it is permitted: the store looks at rights before it looks at what a command says.
"""

from __future__ import annotations

from collections.abc import Iterator

from hashmatch.store.connection import Connection
from hashmatch.store.keys import Keys

_NOBODY = "hashmatch-no-such-name"


def excessive_rights(connection: Connection, keys: Keys, *, writes: bool) -> list[str]:
    """What the user may do beyond what a server needs that publishes, or with `writes` False one that only answers.

    Raises `StoreUnavailableError`.
    """
    return [what for what, command in _attempts(keys, writes=writes) if connection.is_permitted(*command)]


def _attempts(keys: Keys, *, writes: bool) -> Iterator[tuple[str, tuple[str | bytes, ...]]]:
    yield "list the keys", ("SCAN", "0", "COUNT", "1")
    yield "read keys outside of its namespace", ("GET", f"{_NOBODY}:key")
    yield "empty the store", ("FLUSHALL", _NOBODY)
    yield "stop the store", ("SHUTDOWN", _NOBODY)
    yield "change the store's settings", ("CONFIG", "SET", _NOBODY, "0")
    yield "see the store's users", ("ACL", "GETUSER", _NOBODY)
    if not writes:
        block = keys.block_prefix(_NOBODY) + b"0"
        yield "replace the manifest", ("SET", keys.manifest, "", _NOBODY)
        yield "write blocks", ("SET", block, "", _NOBODY)
        yield "delete blocks", ("UNLINK", block)
        yield "read what is staged", ("HGET", keys.stagings, _NOBODY)
        yield "read what is proposed", ("HGET", keys.proposals, _NOBODY)
