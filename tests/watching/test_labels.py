"""What a scrape holds stays bounded, whoever calls and however many lists there are."""

import hashlib
import re
import shutil
import subprocess

import grpc
import pytest

from hashmatch.ingest.acts import Acts
from hashmatch.ingest.publisher import Publisher
from hashmatch.ingest.staging import Stager
from hashmatch.model.clock import SystemClock
from hashmatch.model.vetting import VettingPolicy
from hashmatch.store.connection import Connection
from hashmatch.store.store import Store
from hashmatch.trust.sealing import SealingKey, read_secret
from hashmatch.v1 import match_service_pb2
from tests.integration.serving import TIMEOUT, hash_of
from tests.integration.waiting import eventually
from tests.support.memory import MemoryAudit, MemoryFloor
from tests.support.office import Office

pytestmark = pytest.mark.long

LISTS, CLIENTS = 200, 1_000
LISTED = hashlib.sha256(b"listed").digest()
# A list has five series of its own, and those of its algorithms and of what matched in it.
SERIES_OF_A_LIST = 10
SERIES_OF_A_SERVER = 600


def series(text):
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@pytest.fixture
def scraped(make_server, own_valkey, scratch):
    """A scrape after 1,000 clients asked a server with 200 lists, and one from before they did."""
    server = make_server("data", own_valkey.url)
    client = server.start()
    # The lists are published in this process: 200 importers would take minutes.
    store = Store(
        Connection(own_valkey.url, operation_timeout=TIMEOUT), SealingKey(read_secret(scratch / "sealing.key"))
    )
    clock, policy = SystemClock(), VettingPolicy()
    publisher = Publisher(Acts(store, clock, policy, MemoryAudit(), MemoryFloor()))
    office = Office(store, clock, publisher, Stager(store, clock, policy))
    for number in range(LISTS):
        office.define(f"list-{number:03}")
        office.deliver_hashes([LISTED], f"list-{number:03}")
    epoch = office.manifest().epoch
    store.close()
    eventually(lambda: client.epoch() >= epoch, "the lists are served", patience=120.0)
    asked = match_service_pb2.BatchMatchRequest(items=[match_service_pb2.MatchItem(hashes=[hash_of(LISTED)])])

    def ask(name):
        client.matching.BatchMatch(asked, timeout=TIMEOUT, metadata=(("hashmatch-operator", name),))

    ask("one")
    before = client.page("/metrics").text
    for number in range(CLIENTS):
        ask(f"client-{number}")
    with pytest.raises(grpc.RpcError):
        client.matching_channel.unary_unary("/hashmatch.v1.MatchService/Invented")(b"", timeout=TIMEOUT)
    return before, client.page("/metrics").text


def test_a_scrape_is_bounded_names_no_caller_and_is_sound(scraped):
    before, after = scraped
    assert "list-199" in after
    assert len(series(after)) < LISTS * SERIES_OF_A_LIST + SERIES_OF_A_SERVER
    assert {line.rpartition(" ")[0] for line in series(after)} - {
        line.rpartition(" ")[0] for line in series(before)
    } == set()
    assert "client-" not in after
    assert "Invented" not in after
    assert not re.search(r"[0-9a-fA-F]{32}", after)
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    checked = subprocess.run([promtool, "check", "metrics"], input=after, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
