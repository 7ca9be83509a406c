"""The connection: bounded, refusing a store that loses data, and silent about what it carries."""

from __future__ import annotations

import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import redis

from hashmatch.store.connection import Connection, StoreMisconfiguredError, StoreUnavailableError
from hashmatch.store.embedded import EmbeddedValkey
from tests.faults.harness.commands import CommandReader

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
        "hash_compare_and_set": lambda: connection.hash_compare_and_set(KEY, VALUE.decode(), VALUE, KEY),
        "hash_compare_and_delete": lambda: connection.hash_compare_and_delete(KEY, VALUE.decode(), VALUE),
        "hash_delete": lambda: connection.hash_delete(KEY, VALUE.decode()),
        "publish": lambda: connection.publish(KEY, VALUE),
        "subscribe": lambda: connection.subscribe(KEY),
        "wait_for_disk": lambda: connection.wait_for_disk(KEY),
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


def test_compare_and_set_of_a_field_changes_only_what_was_expected(connection: Connection):
    assert not connection.hash_compare_and_set(b"h", "f", b"1", b"2")
    assert connection.hash_get(b"h", "f") is None
    connection.hash_set(b"h", "f", b"1")
    assert not connection.hash_compare_and_set(b"h", "f", b"other", b"2")
    assert connection.hash_compare_and_set(b"h", "f", b"1", b"2")
    connection.hash_compare_and_delete(b"h", "f", b"1")
    assert connection.hash_get(b"h", "f") == b"2"
    connection.hash_set(b"h", "g", b"2")
    connection.hash_compare_and_delete(b"h", "g", b"2")
    assert connection.hash_get(b"h", "g") is None
    # The reply to the first attempt may have been lost.
    assert connection.hash_compare_and_set(b"h", "f", b"1", b"2")
    assert connection.hash_all(b"h") == {b"f": b"2"}


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


@pytest.fixture
def answering() -> Iterator[Callable[[bytes], Connection]]:
    """Makes connections to a store that greets, and then answers the same to everything."""
    with ExitStack() as stack:

        def make(reply: bytes) -> Connection:
            listener = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
            stopping = threading.Event()

            def serve() -> None:
                while not stopping.is_set():
                    peer, _ = listener.accept()
                    with peer:
                        commands = CommandReader()
                        while not stopping.is_set() and (data := peer.recv(1 << 12)):
                            for command in commands.feed(data):
                                greeting = _GREETINGS.get(command.name)
                                peer.sendall(reply if greeting is None else greeting)

            def stop() -> None:
                stopping.set()
                with closing(socket.create_connection(listener.getsockname())):
                    thread.join()

            thread = threading.Thread(target=serve)
            thread.start()
            stack.callback(stop)
            port = listener.getsockname()[1]
            return stack.enter_context(closing(Connection(f"redis://127.0.0.1:{port}", maximum_connections=2)))

        yield make


_GREETINGS = {b"HELLO": b"%1\r\n+proto\r\n:3\r\n", b"CLIENT": b"+OK\r\n"}


@pytest.mark.parametrize("name", ["get", "get_range", "get_many", "delete", "count_existing", "hash_get", "hash_all"])
@pytest.mark.parametrize("reply", [b"*1\r\n:1\r\n", b"%1\r\n+a\r\n#t\r\n", b",1.5\r\n", b"*2\r\n$1\r\nx\r\n:3\r\n"])
def test_an_answer_to_something_else_is_no_answer(answering: Callable[[bytes], Connection], name: str, reply: bytes):
    """Where bytes are lost or changed on the way, replies come that belong to no question."""
    with pytest.raises(StoreUnavailableError, match="cannot be read") as caught:
        operations(answering(reply))[name]()
    check_silent(caught.value)


def test_a_connection_that_was_closed_while_idle_is_mended(connection: Connection, valkey: redis.Redis):
    connection.set(b"k", b"v")
    valkey.client_kill_filter(_type="normal", skipme=True)
    assert connection.get(b"k") == b"v"
