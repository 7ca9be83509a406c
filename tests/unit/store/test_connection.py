"""The connection: bounded, refusing a store that loses data, and silent about what it carries."""

from __future__ import annotations

import socket
import traceback
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from hashmatch.store.connection import Connection, StoreMisconfiguredError, StoreUnavailableError
from hashmatch.store.embedded import EmbeddedValkey

# A key and a value that no text of ours may hold.
KEY = b"key-5f3a9c"
VALUE = b"value-77c1e0"


def operations(connection: Connection) -> dict[str, object]:
    """Every operation, ready to be called, by its name."""
    return {
        "get": lambda: connection.get(KEY),
        "get_range": lambda: connection.get_range(KEY, 0, 3),
        "get_many": lambda: connection.get_many([KEY, KEY]),
        "set_many": lambda: connection.set_many({KEY: VALUE}),
        "set": lambda: connection.set(KEY, VALUE),
        "delete": lambda: connection.delete([KEY]),
        "count_existing": lambda: connection.count_existing([KEY]),
        "compare_and_set": lambda: connection.compare_and_set(KEY, b"", VALUE),
        "hash_get": lambda: connection.hash_get(KEY, VALUE.decode()),
        "hash_all": lambda: connection.hash_all(KEY),
        "hash_set": lambda: connection.hash_set(KEY, VALUE.decode(), VALUE),
        "hash_delete": lambda: connection.hash_delete(KEY, VALUE.decode()),
        "publish": lambda: connection.publish(KEY, VALUE),
        "subscribe": lambda: connection.subscribe(KEY),
        "wait_for_disk": connection.wait_for_disk,
        "check_settings": connection.check_settings,
        "memory_used": connection.memory_used,
    }


def check_silent(error: BaseException) -> None:
    said = "".join(traceback.format_exception(error))
    shown = [line for line in said.splitlines() if not line.startswith(" ")]
    for secret in (KEY, VALUE):
        assert secret.decode() not in "\n".join(shown)


def test_what_is_set_is_there(connection: Connection):
    connection.set_many({b"a": b"1", b"b": b"2"})
    connection.set(b"c", b"3")
    assert connection.get_many([b"c", b"x", b"a"]) == [b"3", None, b"1"]
    assert connection.get_range(b"c", 0, 99) == b"3"
    assert connection.get_range(b"x", 0, 99) == b""
    assert connection.count_existing([b"a", b"b", b"x"]) == 2
    assert connection.delete([b"a", b"x"]) == 1
    assert connection.get(b"a") is None


def test_nothing_asked_is_nothing_sent(connection: Connection, valkey: redis.Redis):
    before = valkey.info("stats")["total_commands_processed"]
    assert connection.get_many([]) == []
    connection.set_many({})
    assert connection.delete([]) == 0
    assert connection.count_existing([]) == 0
    assert valkey.info("stats")["total_commands_processed"] - before == 1


def test_compare_and_set_changes_only_what_was_expected(connection: Connection):
    assert connection.compare_and_set(b"k", b"", b"1")
    assert not connection.compare_and_set(b"k", b"", b"2")
    assert not connection.compare_and_set(b"k", b"other", b"2")
    assert connection.compare_and_set(b"k", b"1", b"2")
    assert connection.get(b"k") == b"2"


def test_an_evicting_store_is_refused(connection: Connection, valkey: redis.Redis):
    connection.check_settings()
    valkey.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(StoreMisconfiguredError, match="noeviction"):
            connection.check_settings()
    finally:
        valkey.config_set("maxmemory-policy", "noeviction")


def test_a_store_that_hides_its_settings_is_taken_at_its_operators_word(valkey_url: str, valkey: redis.Redis):
    valkey.execute_command("ACL", "SETUSER", "plain", "on", ">word", "~*", "&*", "+@all", "-config")
    try:
        with closing(Connection(valkey_url, username="plain", password="word")) as connection:
            connection.check_settings()
            connection.set(b"k", b"v")
    finally:
        valkey.execute_command("ACL", "DELUSER", "plain")


def test_a_store_that_refuses_is_unavailable_and_no_key_is_named(connection: Connection, valkey: redis.Redis):
    valkey.rpush(KEY, VALUE)
    for name in ("get", "get_range", "hash_get", "hash_all", "hash_set", "hash_delete"):
        with pytest.raises(StoreUnavailableError, match="the store refused: WRONGTYPE") as caught:
            operations(connection)[name]()
        check_silent(caught.value)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """A connection whose store has just gone away."""
    with EmbeddedValkey(tmp_path_factory.mktemp("stopped")) as server:
        connection = Connection(server.url)
        connection.set(b"k", b"v")
    with closing(connection):
        yield connection


@pytest.mark.parametrize("name", list(operations(Connection("unix:///nowhere"))))
def test_a_stopped_store_is_unavailable_and_no_key_is_named(stopped: Connection, name: str):
    with pytest.raises(StoreUnavailableError) as caught:
        operations(stopped)[name]()
    check_silent(caught.value)


def test_a_subscriber_of_a_stopped_store_is_told(tmp_path: Path):
    with EmbeddedValkey(tmp_path) as server:
        connection = Connection(server.url)
        subscription = connection.subscribe(b"channel")
        # What confirms the subscription is no message.
        assert not subscription.wait(5.0)
    with closing(connection), closing(subscription), pytest.raises(StoreUnavailableError):
        subscription.wait(5.0)


def test_a_store_that_does_not_answer_costs_no_more_than_two_timeouts():
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        with (
            closing(Connection(url, operation_timeout=0.1, connect_timeout=0.1)) as connection,
            pytest.raises(StoreUnavailableError, match="did not answer in time"),
        ):
            connection.get(KEY)


def test_a_connection_that_was_closed_while_idle_is_mended(connection: Connection, valkey: redis.Redis):
    connection.set(b"k", b"v")
    valkey.client_kill_filter(_type="normal", skipme=True)
    assert connection.get(b"k") == b"v"
