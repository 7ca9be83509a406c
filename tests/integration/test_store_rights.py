"""A server whose user of the store may do more than it needs does not serve, unless it is told to."""

from __future__ import annotations

import pytest

from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.store.embedded import EmbeddedValkey
from tests.integration.conftest import MakeServer
from tests.integration.waiting import eventually

REFUSAL = "the store's user may list the keys, read keys outside of its namespace, empty the store"


def test_it_does_not_start(make_server: MakeServer, own_valkey: EmbeddedValkey) -> None:
    with pytest.raises(HashmatchError, match=REFUSAL) as refused:
        make_server(url=own_valkey.url, excessive_rights="refuse").start()
    assert refused.value.reason is ErrorReason.STORE_MISCONFIGURED


def test_it_is_not_ready_where_the_store_came_later(make_server: MakeServer, own_valkey: EmbeddedValkey) -> None:
    own_valkey.stop()
    client = make_server(url=own_valkey.url, excessive_rights="refuse").start()
    own_valkey.start()
    eventually(lambda: REFUSAL in client.page("/readyz").text, "it looks as soon as the store answers")
    assert not client.is_ready()
    assert "hashmatch_store_may_evict 0.0" in client.page("/metrics").text


def test_where_that_is_meant_it_serves_and_shows_it(make_server: MakeServer, own_valkey: EmbeddedValkey) -> None:
    client = make_server(url=own_valkey.url, excessive_rights="allow").start()
    eventually(client.is_ready, "it is ready")
    assert "hashmatch_store_rights_excessive 1.0" in client.page("/metrics").text


def test_an_embedded_store_is_its_own(make_server: MakeServer) -> None:
    client = make_server(excessive_rights="refuse").start()
    eventually(client.is_ready, "it is ready")
    assert "hashmatch_store_rights_excessive 0.0" in client.page("/metrics").text
