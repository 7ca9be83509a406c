"""The shipped users of the store may do what a server needs, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from hashmatch.store.connection import Connection
from hashmatch.store.keys import Keys
from hashmatch.store.rights import excessive_rights

USERS_ACL = Path(__file__).parents[3] / "deploy/valkey/users.acl"
PASSWORD = "only-for-this-test"
USERS = ("reader", "writer", "collector")
TIMEOUT = 10.0


@pytest.fixture
def users(valkey: redis.Redis) -> Iterator[None]:
    """The shipped users, each with the same password, beside the one that the tests have."""
    for line in USERS_ACL.read_text("utf-8").splitlines():
        words = line.split()
        if words[:1] == ["user"] and words[1] in USERS:
            rules = [f">{PASSWORD}" if word.startswith("#") else word for word in words[2:]]
            valkey.execute_command("ACL", "SETUSER", words[1], *rules)
    yield
    valkey.execute_command("ACL", "DELUSER", *USERS)


@pytest.fixture
def as_user(users: None, valkey_url: str) -> Iterator[dict[str, Connection]]:
    connections = {
        user: Connection(valkey_url, operation_timeout=TIMEOUT, username=user, password=PASSWORD) for user in USERS
    }
    yield connections
    for connection in connections.values():
        connection.close()


def test_the_shipped_users_have_no_more_than_a_server_needs(as_user: dict[str, Connection]) -> None:
    keys = Keys("hashmatch")
    assert excessive_rights(as_user["reader"], keys, writes=False) == []
    assert excessive_rights(as_user["writer"], keys, writes=True) == []


def test_who_publishes_has_more_than_who_only_answers_needs(as_user: dict[str, Connection]) -> None:
    found = excessive_rights(as_user["writer"], Keys("hashmatch"), writes=False)
    assert found == [
        "replace the manifest",
        "write blocks",
        "delete blocks",
        "read what is staged",
        "read what is proposed",
    ]


def test_a_user_who_may_do_everything_is_found_and_nothing_is_harmed(
    connection: Connection, valkey: redis.Redis
) -> None:
    valkey.set("hashmatch:manifest", "as it was")
    valkey.set("another:key", "as it was")
    before = valkey.config_get("*")
    found = excessive_rights(connection, Keys("hashmatch"), writes=False)
    assert len(found) == 11
    assert (valkey.get("hashmatch:manifest"), valkey.get("another:key")) == (b"as it was", b"as it was")
    assert valkey.config_get("*") == before
    assert set(excessive_rights(connection, Keys("hashmatch"), writes=True)) < set(found)


@pytest.mark.parametrize(
    "command",
    [
        ("KEYS", "*"),
        ("SCAN", "0"),
        ("GET", "another:key"),
        ("HGETALL", "hashmatch:stagings"),
        ("HMGET", "hashmatch:stagings", "x"),
        ("HMGET", "hashmatch:proposals", "x"),
        ("HGETALL", "hashmatch:pending"),
        ("HGETALL", "hashmatch:feeds"),
        ("HGETALL", "hashmatch:c:2026-01-01"),
        ("SET", "hashmatch:manifest", "x"),
        ("SETRANGE", "hashmatch:manifest", "0", "x"),
        ("HSET", "hashmatch:stagings", "x", "y"),
        ("HMGET", "hashmatch:c:2026-01-01", "x"),
        ("UNLINK", "hashmatch:b:x:0"),
        ("EXPIRE", "hashmatch:b:x:0", "1"),
        ("PUBLISH", "hashmatch:changed", ""),
        ("CONFIG", "SET", "maxmemory-policy", "allkeys-lru"),
        ("ACL", "LIST"),
        ("FLUSHALL",),
        ("EVAL", "return 1", "0"),
        ("MONITOR",),
        ("REPLICAOF", "NO", "ONE"),
        ("SAVE",),
    ],
    ids=" ".join,
)
def test_whoever_has_the_readers_password_reads_sealed_blocks_and_nothing_else(
    users: None, valkey_url: str, command: tuple[str, ...]
) -> None:
    with closing(redis.Redis.from_url(valkey_url, username="reader", password=PASSWORD, protocol=3)) as reader:
        assert reader.get("hashmatch:manifest") is None
        with pytest.raises(redis.exceptions.NoPermissionError):
            reader.execute_command(*command)
