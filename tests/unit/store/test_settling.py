"""What is waited for is the disk that has what was written, whichever connection wrote it.

WAITAOF and WAIT are about the writes of the connection that asks: one that has written nothing waits for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from types import SimpleNamespace

import pytest
import redis
from redis.crc import key_slot

from hashmatch.store.cluster import marks
from hashmatch.store.connection import Connection, StoreUnavailableError
from hashmatch.store.keys import Keys
from tests.support.office import Office

MARK = Keys("hashmatch").mark
BASIC = ("-@all", "+hello", "+client|setinfo")
Watch = Callable[[Callable[[], object]], list[str]]
_END = "the end of the watch"


@pytest.fixture
def watch(valkey: redis.Redis, valkey_url: str) -> Iterator[Watch]:
    """What is asked of the store while something is done: the commands in order, without their arguments."""

    def watched(act: Callable[[], object]) -> list[str]:
        with closing(redis.Redis.from_url(valkey_url, socket_timeout=10.0)) as watcher, watcher.monitor() as monitor:
            act()
            valkey.echo(_END)
            seen = []
            while _END not in (command := monitor.next_command()["command"]):
                seen.append(command.split()[0].upper())
            return seen

    return watched


def test_whoever_waits_for_the_disk_writes_on_the_same_connection(
    connection: Connection, watch: Watch, monkeypatch: pytest.MonkeyPatch
):
    """The pool may hand out another connection than that of the write, which is taken here."""
    connection.set(b"key", b"value")
    pool = connection._topology.client.connection_pool
    taken = pool.get_connection()
    lent: list[object] = []
    lend = pool.get_connection
    monkeypatch.setattr(pool, "get_connection", lambda *of: lent.append(of) or lend(*of))
    try:
        seen = watch(lambda: connection.wait_for_disk(MARK))
    finally:
        pool.release(taken)
    assert len(lent) == 1
    assert seen[-3:] == ["SET", "DEL", "WAITAOF"]
    assert connection.get(MARK) is None


def test_an_act_waits_for_the_disk_on_a_connection_that_writes_after_it(office: Office, watch: Watch):
    office.define()
    seen = watch(lambda: office.define("other"))
    swapped = seen.index("EVALSHA")
    # Of a script every command is told as well.
    waited = seen.index("WAITAOF")
    assert seen[waited - 2 : waited + 1] == ["SET", "DEL", "WAITAOF"]
    assert swapped < waited - 2


@pytest.fixture
def connect(valkey: redis.Redis, valkey_url: str) -> Iterator[Callable[..., Connection]]:
    """Connects as somebody who may run these commands alone."""
    with ExitStack() as stack:

        def connected(*commands: str) -> Connection:
            valkey.acl_setuser("somebody", enabled=True, passwords=["+word"], keys=["*"], commands=[*BASIC, *commands])
            stack.callback(valkey.acl_deluser, "somebody")
            return stack.enter_context(closing(Connection(valkey_url, username="somebody", password="word")))

        yield connected


def test_a_store_that_takes_no_mark_is_not_taken_for_settled(connect: Callable[..., Connection]):
    with pytest.raises(StoreUnavailableError):
        connect("+waitaof").wait_for_disk(MARK)


def test_a_store_that_cannot_be_asked_is_as_durable_as_its_operator_chose(connect: Callable[..., Connection]):
    """An older one, one without an append-only file, or one that hides it."""
    connect("+set", "+del").wait_for_disk(MARK)


def test_there_is_a_mark_on_every_primary_of_a_cluster():
    nodes = [SimpleNamespace(name=f"node {number}") for number in range(5)]
    # The last has a single slot, and the one before it none.
    owners = {slot: [nodes[slot % 3]] for slot in range(16_383)} | {16_383: [nodes[4]]}
    found = marks(owners, MARK)
    assert {node.name for node, _ in found} == {"node 0", "node 1", "node 2", "node 4"}
    assert all(owners[key_slot(key)][0] is node for node, key in found)
    assert all(key.startswith(MARK) for _, key in found)
