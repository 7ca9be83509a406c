"""Sealing keys rotate under servers that go on answering."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import grpc
import pytest

from hashmatch.store.embedded import EmbeddedValkey
from hashmatch.trust.sealing import SealingKeyError, generate_key_file, load_key_file
from hashmatch.v1 import common_pb2, list_admin_service_pb2
from tests.integration.conftest import MakeServer
from tests.integration.serving import Client, hash_of, hash_text
from tests.integration.waiting import eventually

LISTED = [os.urandom(32) for _ in range(50)]


def matches(client: Client) -> bool:
    return all(client.ask(digest).verdict == common_pb2.VERDICT_MATCH for digest in LISTED)


class Asking:
    """Asks servers without a pause, each on a thread of its own, and keeps every answer that was no match."""

    def __init__(self, *clients: Client) -> None:
        self._ended = threading.Event()
        self.rounds = [0] * len(clients)
        self.others: list[object] = []
        self._threads = [threading.Thread(target=self._ask, args=each) for each in enumerate(clients)]

    def _ask(self, number: int, client: Client) -> None:
        while not self._ended.is_set():
            try:
                results = client.batch(*([hash_of(digest)] for digest in LISTED)).results
            except grpc.RpcError as error:
                self.others.append(error)
                continue
            self.others += [each for each in results if each.verdict != common_pb2.VERDICT_MATCH]
            self.rounds[number] += 1

    def __enter__(self) -> Asking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()


def test_two_servers_go_from_one_key_to_the_next_one_after_the_other(
    make_server: MakeServer, own_valkey: EmbeddedValkey, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hashmatch.service.upkeep._MAINTENANCE_INTERVAL", 1.0)
    old, new = scratch / "old.key", scratch / "new.key"
    for file in (old, new):
        generate_key_file(file)
    url = own_valkey.url

    def step(name: str, current: Path, **others: object) -> Client:
        return make_server(name, url, sealing_key_file=str(current), **others).start()

    first = make_server("first", url, sealing_key_file=str(old))
    client = first.start()
    client.define()
    epoch = client.deliver(hash_text(LISTED))
    eventually(lambda: client.epoch() >= epoch, "the list is served")
    first.stop()

    # Both open the new key; then one seals with it, while the other goes on.
    behind = step("second", old, next_key_file=str(new))
    ahead_server = make_server("first", url, sealing_key_file=str(new), old_key_files=(str(old),))
    ahead = ahead_server.start()
    assert matches(behind)
    assert matches(ahead)
    registry = ahead_server.runner.metrics.registry

    def is_done() -> bool:
        events = ahead.act("GetHistory", list_admin_service_pb2.GetHistoryRequest()).events
        left = registry.get_sample_value("hashmatch_under_old_keys")
        return any(event.act == "reseal" for event in events) and left == 0.0

    with Asking(ahead, behind) as asking:
        eventually(is_done, "nothing is left under the old key")
    assert asking.others == []
    assert min(asking.rounds) > 0
    eventually(lambda: behind.snapshot().snapshot.confirmed_at.seconds > 0 and matches(behind), "the other follows")
    assert matches(ahead)
    ahead_server.stop()

    # The old key is gone: with its memory of the highest epoch the server starts, and with the old key none does.
    assert matches(step("first", new))


def test_a_server_without_the_old_key_is_not_ready_and_says_which_one_it_lacks(
    make_server: MakeServer, own_valkey: EmbeddedValkey, scratch: Path
) -> None:
    old, new = scratch / "old.key", scratch / "new.key"
    for file in (old, new):
        generate_key_file(file)
    client = make_server("first", own_valkey.url, sealing_key_file=str(old)).start()
    client.define()
    client.deliver(hash_text(LISTED))
    hasty = make_server("second", own_valkey.url, sealing_key_file=str(new)).start()
    assert not hasty.is_ready()
    assert f"is sealed under key {load_key_file(old).key_id}, which is none of" in hasty.page("/readyz").text
    # It puts nothing of its own there, and the other goes on.
    assert hasty.ask(LISTED[0]).verdict == common_pb2.VERDICT_NOT_DETERMINED
    assert matches(client)


def test_a_key_that_cannot_be_read_keeps_a_server_from_starting(make_server: MakeServer, scratch: Path) -> None:
    with pytest.raises(SealingKeyError):
        make_server(old_key_files=(str(scratch / "nowhere.key"),)).start()
