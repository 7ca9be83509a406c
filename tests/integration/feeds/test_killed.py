"""Whoever reads a body is killed, at the worst of moments: the list is the one before or the one after."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from hashmatch.store.embedded import EmbeddedValkey
from hashmatch.trust.sealing import KEY_SIZE
from hashmatch.v1 import common_pb2, list_admin_service_pb2
from tests.integration.feeds.conftest import AUTOMATIC, MakeFollower, assert_says, run_feed, said_by, status_of
from tests.integration.processes import ServerProcess
from tests.integration.waiting import PATIENCE, eventually
from tests.support.simulators.body import Body, Reply, Request
from tests.support.simulators.ncmec import Ncmec
from tests.support.simulators.office import write_feed

PUBLISHED = list_admin_service_pb2.FEED_OUTCOME_PUBLISHED
FAILED = list_admin_service_pb2.FEED_OUTCOME_FAILED
# A delivery of more than four of these pages is staged by a process of its own.
LARGE_PAGE = 1 << 19


class Holding:
    """A body that answers some pages and then keeps its reader waiting."""

    def __init__(self, after: int) -> None:
        self._left = after
        self.reached = threading.Event()
        self.released = threading.Event()

    def __call__(self, request: Request) -> Reply | None:  # noqa: ARG002
        self._left -= 1
        if self._left < 0:
            self.reached.set()
            assert self.released.wait(60)
        return None


@pytest.fixture
def body(simulate) -> Body:
    body = simulate(Ncmec, page=10)
    body.publish(50)
    return body


@pytest.fixture
def server(scratch: Path, body: Body) -> Iterator[ServerProcess]:
    file = write_feed(scratch, body, publish_automatically=True)
    settings = {f"vetting.{name}": value for name, value in AUTOMATIC.items()}
    server = ServerProcess(scratch, **settings, **{"feeds.file": str(file)})
    yield server
    server.stop()


@pytest.mark.long
def test_a_server_that_is_killed_half_way_leaves_the_list_as_it_was(server: ServerProcess, body: Body):
    client = server.start()
    client.define(nature=common_pb2.LIST_NATURE_TEST)
    assert run_feed(client).outcome == PUBLISHED
    before = body.truth
    body.change(2)
    body.withdraw(3, 4)
    body.publish(25, label="third", age=0.0)
    holding = body.interfere = Holding(after=1)
    call = client.administration.RunFeed.future(
        list_admin_service_pb2.RunFeedRequest(name="the-feed"), timeout=60, metadata=(("hashmatch-operator", "ann"),)
    )
    assert holding.reached.wait(20)
    server.send(signal.SIGKILL)
    server.wait()
    assert call.exception() is not None
    holding.released.set()
    body.interfere = None
    server.stop()
    client = server.start()
    assert_says(client, body, before)
    stagings = client.act("ListStagings", list_admin_service_pb2.ListStagingsRequest()).stagings
    assert not stagings
    caught_up = run_feed(client, patience=60.0)
    assert (caught_up.outcome, caught_up.full) == (PUBLISHED, False), caught_up
    assert_says(client, body, body.truth)
    log = server.log
    for planted in (body.digests[0].hex(), "pass word", "Traceback"):
        assert planted not in log


@pytest.mark.long
@pytest.mark.parametrize(
    "key",
    [
        pytest.param("*:b:*", id="while segments are written"),
        pytest.param("*:stagings", id="when the round is staged"),
        pytest.param("*:manifest", id="when the round is published"),
        pytest.param("*:feeds", id="when its outcome is recorded"),
    ],
)
def test_a_server_that_is_killed_as_it_writes_leaves_the_list_before_or_after(
    key: str, scratch: Path, body: Body, own_valkey: EmbeddedValkey
):
    """It is killed by whoever hears of the write, which is as fast as it gets."""
    file = write_feed(scratch, body, publish_automatically=True)
    settings = {f"vetting.{name}": value for name, value in AUTOMATIC.items()}
    key_file = scratch / "sealing.key"
    key_file.write_text(bytes(range(KEY_SIZE)).hex())
    key_file.chmod(0o600)
    store = {"store.url": own_valkey.url, "sealing.key_file": str(key_file)}
    server = ServerProcess(scratch, **settings, **store, **{"feeds.file": str(file)})
    with contextlib.ExitStack() as stack:
        stack.callback(server.stop)
        client = server.start()
        client.define(nature=common_pb2.LIST_NATURE_TEST)
        assert run_feed(client).outcome == PUBLISHED
        before = body.truth
        body.change(2)
        body.withdraw(3, 4)
        body.publish(25, label="third", age=0.0)
        valkey = stack.enter_context(contextlib.closing(redis.Redis.from_url(own_valkey.url)))
        valkey.config_set("notify-keyspace-events", "KA")
        heard = stack.enter_context(contextlib.closing(valkey.pubsub(ignore_subscribe_messages=True)))
        heard.psubscribe(f"__keyspace@*__:{key}")
        # Its answer is that of the subscription; whatever comes next is a write.
        assert heard.get_message(timeout=PATIENCE) is None
        call = client.administration.RunFeed.future(
            list_admin_service_pb2.RunFeedRequest(name="the-feed"),
            timeout=60,
            metadata=(("hashmatch-operator", "ann"),),
        )
        assert next(heard.listen())
        server.send(signal.SIGKILL)
        server.wait()
        assert call.exception() is not None
        server.stop()
        client = server.start()
        assert said_by(client, body) in (before, body.truth)
        caught_up = run_feed(client, patience=60.0)
        assert (caught_up.outcome, caught_up.full) == (PUBLISHED, False), caught_up
        assert_says(client, body, body.truth)
        again = run_feed(client)
        assert (again.outcome, again.full) == (PUBLISHED, False), again
        assert_says(client, body, body.truth)
        assert not client.act("ListStagings", list_admin_service_pb2.ListStagingsRequest()).stagings
        assert "Traceback" not in server.log


@pytest.mark.long
def test_a_server_that_is_told_to_stop_ends_its_round(server: ServerProcess, body: Body):
    client = server.start()
    client.define(nature=common_pb2.LIST_NATURE_TEST)
    assert run_feed(client).outcome == PUBLISHED
    before = body.truth
    body.withdraw(3, 4)
    holding = body.interfere = Holding(after=0)
    call = client.administration.RunFeed.future(
        list_admin_service_pb2.RunFeedRequest(name="the-feed"), timeout=60, metadata=(("hashmatch-operator", "ann"),)
    )
    assert holding.reached.wait(20)
    server.send(signal.SIGTERM)
    assert server.wait() == 0, server.log
    assert call.exception() is not None
    holding.released.set()
    body.interfere = None
    server.stop()
    client = server.start()
    assert_says(client, body, before)
    assert run_feed(client).outcome == PUBLISHED
    assert_says(client, body, body.truth)


@pytest.mark.long
def test_an_importer_that_is_killed_half_way_fails_the_round(body: Body, follow: MakeFollower):
    body.padding = LARGE_PAGE
    follower = follow(body)
    assert follower.run().outcome == PUBLISHED
    before = body.truth
    body.change(*range(1, 45))
    body.withdraw(3, 4)
    body.page = 5
    holding = body.interfere = Holding(after=7)
    failed: list[list_admin_service_pb2.Feed] = []
    caller = threading.Thread(target=lambda: failed.append(follower.run()))
    caller.start()
    assert holding.reached.wait(20)
    (importer,) = eventually(_importers, "an importer has what was read so far")
    os.kill(importer, signal.SIGKILL)
    holding.released.set()
    caller.join(30)
    assert (failed[0].outcome, failed[0].failure) == (FAILED, "not-staged")
    assert_says(follower.client, body, before)
    body.interfere = None
    assert follower.run().outcome == PUBLISHED
    follower.assert_follows()


def test_two_servers_do_not_run_a_feed_at_once(
    body: Body, follow: MakeFollower, make_server, own_valkey, scratch: Path
):
    first = follow(body, url=own_valkey.url)
    assert first.run().outcome == PUBLISHED
    second = make_server("other", url=own_valkey.url, file=first.server.config.feeds.file, **AUTOMATIC).start()
    body.change(5)
    holding = body.interfere = Holding(after=0)
    asked: list[list_admin_service_pb2.Feed] = []
    caller = threading.Thread(target=lambda: asked.append(first.run()))
    caller.start()
    assert holding.reached.wait(20)
    assert status_of(second).running
    requests = len(body.requests)
    waiting = threading.Thread(target=lambda: asked.append(run_feed(second)))
    waiting.start()
    # The other one asks again and again, is refused, and never comes as far as the body.
    eventually(lambda: "ABORTED" in second.page("/metrics").text, "it is refused")
    assert len(body.requests) == requests
    holding.released.set()
    body.interfere = None
    caller.join(30)
    waiting.join(30)
    assert [feed.outcome for feed in asked] == [PUBLISHED, PUBLISHED]
    first.assert_follows()


def _importers() -> list[int]:
    """The importers among the children of this process."""
    found = []
    for children in Path("/proc/self/task").glob("*/children"):
        for child in children.read_text().split():
            command = Path(f"/proc/{child}/cmdline")
            if command.exists() and b"hashmatch.ingest.worker" in command.read_bytes():
                found.append(int(child))
    return found
