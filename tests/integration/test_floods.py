"""The flood guard: what suddenly matches is told to operators, whichever call found it, and changes no answer."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hashmatch.admin.exits import Exit
from hashmatch.admin.main import main as admin
from hashmatch.model.errors import ErrorReason
from hashmatch.service import floods as module
from hashmatch.store.embedded import EmbeddedValkey
from hashmatch.v1 import common_pb2, flood_admin_service_pb2, flood_admin_service_pb2_grpc
from tests.integration.conftest import MakeServer
from tests.integration.errors import refused
from tests.integration.perceptual import PROFILE, apart, row
from tests.integration.processes import ServerProcess
from tests.integration.serving import TIMEOUT, Client, ShiftedClock, hash_of, hash_text
from tests.integration.waiting import eventually

LISTED = [os.urandom(32) for _ in range(3)]
CODE = os.urandom(32)
SHA256, PDQ = common_pb2.ALGORITHM_SHA256, common_pb2.ALGORITHM_PDQ
MINIMUM, WINDOW = 30, 600.0


@pytest.fixture(autouse=True)
def tells_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0.05)


@pytest.fixture
def client(make_server: MakeServer) -> Client:
    """A client to a server with two lists that has been at work for longer than a window."""
    return a_server_at_work(make_server)


def a_server_at_work(make_server: MakeServer, **settings: Any) -> Client:
    clock = ShiftedClock()
    client = make_server(clock=clock, minimum=MINIMUM, window_seconds=WINDOW, **settings).start()
    client.define()
    client.define("pictures")
    client.deliver(hash_text(LISTED))
    epoch = client.deliver(row("k1", CODE).encode(), "pictures", format="columns", profile=PROFILE)
    eventually(lambda: client.epoch() >= epoch, "the lists are served")
    clock.advance(WINDOW)
    return client


def floods(client: Client, **wanted: Any) -> flood_admin_service_pb2.ListFloodsResponse:
    service = flood_admin_service_pb2_grpc.FloodAdminServiceStub(client.administration_channel)
    return service.ListFloods(flood_admin_service_pb2.ListFloodsRequest(**wanted), timeout=TIMEOUT)


def the_flood(client: Client, **wanted: Any) -> flood_admin_service_pb2.MatchFlood:
    """The one that is told of, once it is."""
    eventually(lambda: floods(client).total == 1, "the flood is told of")
    (flood,) = floods(client, include_hashes=True, **wanted).floods
    return flood


Ask = Callable[[Client, bytes], object]


def in_items(client: Client, digest: bytes) -> object:
    return client.batch(*([hash_of(digest)] for _ in range(MINIMUM)))


def in_a_column(client: Client, digest: bytes) -> object:
    return client.bulk(SHA256, digest * MINIMUM)


def over_many_calls(client: Client, digest: bytes) -> object:
    return [client.ask(digest) for _ in range(MINIMUM)]


@pytest.mark.parametrize("ask", [in_items, in_a_column, over_many_calls])
def test_what_suddenly_matches_is_told_and_counted(client: Client, ask: Ask) -> None:
    assert floods(client).total == 0
    assert 'hashmatch_match_floods_total{list_id="list"} 0.0' in client.page("/metrics").text
    ask(client, LISTED[0])
    flood = the_flood(client)
    assert (flood.list_id, flood.generation, flood.algorithm) == ("list", 1, SHA256)
    assert (flood.hash.value, flood.matches, flood.usual, flood.window.seconds) == (LISTED[0], MINIMUM, 0, WINDOW)
    assert 'hashmatch_match_floods_total{list_id="list"} 1.0' in client.page("/metrics").text
    # Of the same entry once in a window.
    ask(client, LISTED[0])
    assert 'hashmatch_match_floods_total{list_id="list"} 1.0' in client.page("/metrics").text


def test_near_values_flood_what_they_are_near(client: Client) -> None:
    """Ten copies of a picture, each altered in another way, are so many matches of one entry."""
    client.bulk(PDQ, b"".join(apart(CODE, 1 + number % 10) for number in range(MINIMUM)))
    flood = the_flood(client)
    assert (flood.list_id, flood.algorithm, flood.hash.value) == ("pictures", PDQ, CODE)


def test_of_items_the_entries_are_named(client: Client) -> None:
    near = [common_pb2.Hash(algorithm=PDQ, value=apart(CODE, 1 + number % 10)) for number in range(MINIMUM)]
    client.batch(*([each] for each in near))
    assert list(the_flood(client).source_keys) == ["k1"]


def test_hashes_are_told_only_to_whom_asks_and_on_the_record(make_server: MakeServer, scratch: Path) -> None:
    client = a_server_at_work(make_server)
    in_a_column(client, LISTED[0])
    assert the_flood(client).hash.value == LISTED[0]
    (flood,) = floods(client).floods
    assert not flood.HasField("hash")
    records = [json.loads(line) for line in (scratch / "data" / "audit.jsonl").read_text().splitlines()]
    assert [record for record in records if "tell-floods" in json.dumps(record)]
    assert len([record for record in records if "tell-floods" in json.dumps(record)]) == 1
    assert LISTED[0].hex() not in json.dumps(records)


def test_a_flood_changes_no_answer_and_what_does_not_match_is_none(client: Client) -> None:
    before = client.ask(LISTED[0])
    in_a_column(client, LISTED[0])
    in_a_column(client, os.urandom(32))
    client.suppress(LISTED[1])
    eventually(lambda: client.ask(LISTED[1]).verdict != before.verdict, "the suppression is in force")
    in_a_column(client, LISTED[1])
    assert client.ask(LISTED[0]) == before
    assert the_flood(client).hash.value == LISTED[0]


def test_every_server_of_a_store_tells_what_each_saw(make_server: MakeServer, own_valkey: EmbeddedValkey) -> None:
    first = a_server_at_work(make_server, url=own_valkey.url, name="first")
    second = make_server(url=own_valkey.url, name="second", clock=ShiftedClock()).start()
    in_a_column(first, LISTED[0])
    assert the_flood(second).flood_id == the_flood(first).flood_id


def test_what_cannot_be_told_yet_is_told_when_the_store_is_back(
    make_server: MakeServer, own_valkey: EmbeddedValkey
) -> None:
    client = a_server_at_work(make_server, url=own_valkey.url, blocks="resident")
    own_valkey.stop()
    in_a_column(client, LISTED[0])
    counted = 'hashmatch_match_floods_total{list_id="list"} 1.0'
    eventually(lambda: counted in client.page("/metrics").text, "it is counted")
    own_valkey.start()
    assert the_flood(client).hash.value == LISTED[0]


def test_the_command_tells_and_writes_what_suppress_reads(
    client: Client, scratch: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HASHMATCH_ADMIN_TARGET", client.addresses.administration)
    in_a_column(client, LISTED[0])
    the_flood(client)
    assert admin(["floods", "list"]) is Exit.DONE
    told = capsys.readouterr().out
    assert "SHA256" in told
    assert "1 entry" in told
    file = scratch / "hashes.txt"
    assert admin(["floods", "list", "--output", "json", "--hashes-to", str(file)]) is Exit.DONE
    told += capsys.readouterr().out
    assert LISTED[0].hex() not in told
    assert file.read_text() == f"{LISTED[0].hex()}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert admin(["floods", "list", "--hashes-to", str(file)]) is Exit.USAGE
    assert admin(["floods", "list", "--list", "pictures", "--output", "json"]) is Exit.DONE
    assert json.loads(capsys.readouterr().out) == {"floods": []}


@pytest.mark.parametrize("wanted", [{"list_id": "Not An Id"}, {"limit": 1_001}])
def test_what_makes_no_sense_is_refused(client: Client, wanted: dict[str, Any]) -> None:
    assert refused(lambda: floods(client, **wanted)).reason == ErrorReason.INVALID_FIELD


def test_workers_see_floods_which_the_keeper_tells_and_no_process_writes_a_hash(scratch: Path) -> None:
    server = ServerProcess(
        scratch,
        **{
            "server.workers": 2,
            "vetting.approvals_required": 0,
            "floods.window_seconds": 1,
            "floods.minimum": MINIMUM,
            # Whatever a window has after the first is as much as before.
            "floods.ratio": 1,
        },
    )
    try:
        client = server.start()
        client.define()
        epoch = client.publish(client.stage(hash_text(LISTED))).epoch
        eventually(lambda: client.epoch() >= epoch, "the list is served")
        eventually(lambda: (in_a_column(client, LISTED[0]), floods(client).total)[1], "a flood is told of", step=0.2)
        assert the_flood(client).hash.value == LISTED[0]
        counted = re.compile(r'hashmatch_match_floods_total\{list_id="list"\} [1-9]')
        eventually(lambda: counted.search(client.page("/metrics").text), "it is counted")
        written = server.log + client.page("/metrics").text
        assert "match-flood" in written
        assert LISTED[0].hex() not in written
        assert repr(LISTED[0]) not in written
    finally:
        server.stop()
