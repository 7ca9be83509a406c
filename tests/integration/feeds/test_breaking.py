"""What goes wrong in a feed in a way that nobody foresaw is told, loses nothing, and stops nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from hashmatch.ingest.feeds import ncmec
from hashmatch.ingest.feeds.stopncii import StopNciiBody
from hashmatch.service import feeds
from hashmatch.service.feeds import Feeds
from hashmatch.service.logs import Event
from hashmatch.store.feeds import FeedStore
from hashmatch.v1 import common_pb2, list_admin_service_pb2
from tests.integration.conftest import MakeServer
from tests.integration.feeds.conftest import AUTOMATIC, MakeFollower, assert_says
from tests.integration.feeds.test_rounds import FAILED, PUBLISHED, STAGED
from tests.integration.serving import Client, ShiftedClock
from tests.integration.waiting import eventually
from tests.support.simulators.ncmec import Ncmec
from tests.support.simulators.office import NAME, write_feed
from tests.support.simulators.stopncii import StopNcii

SECRET = "planted-secret"


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def fail(*_: object, **__: object) -> None:
    raise RuntimeError(SECRET)


def outcome_of(client: Client, name: str) -> int:
    (feed,) = client.act("GetFeeds", list_admin_service_pb2.GetFeedsRequest(name=name)).feeds
    return feed.outcome


def open_stagings(follower: Any) -> list[str]:
    request = list_admin_service_pb2.ListStagingsRequest()
    return [staging.staging_id for staging in follower.client.act("ListStagings", request).stagings]


def test_an_error_that_nobody_foresaw_is_a_failed_round(simulate, follow: MakeFollower, logged, monkeypatch):
    """Its message may quote what the body sent: neither the status nor the log has it."""
    body = simulate(StopNcii)
    body.publish(10)
    follower = follow(body)
    with monkeypatch.context() as breaking:
        breaking.setattr(StopNciiBody, "pages", fail)
        for failures in (1, 2):
            failed = follower.run()
            assert (failed.outcome, failed.failure, failed.failed_rounds) == (FAILED, "internal", failures)
            assert failed.detail == "an error that was not foreseen: RuntimeError"
    told = [line for line in logged if line["event"] == Event.FEED_FAILED]
    assert [(line["reason"], line["failures"]) for line in told] == [("internal", 1), ("internal", 2)]
    assert SECRET not in repr(logged)
    assert follower.run().outcome == PUBLISHED
    follower.assert_follows()


def test_a_feed_that_breaks_stops_neither_itself_nor_another(
    simulate, make_server: MakeServer, scratch: Path, logged, monkeypatch
):
    monkeypatch.setattr(feeds, "_LOOK_INTERVAL", 0.02)
    clock = ShiftedClock()
    bodies = {"bad": simulate(StopNcii, clock=clock.now), "good": simulate(Ncmec, clock=clock.now)}
    definitions = []
    for name, body in bodies.items():
        body.publish(10)
        (scratch / name).mkdir()
        written = write_feed(scratch / name, body, publish_automatically=True, list=name, interval=3_600.0)
        definitions.append(written.read_text("utf-8").replace(f"feed.{NAME}", f"feed.{name}"))
    file = scratch / "both.toml"
    file.write_text("\n".join(definitions), "utf-8")
    server = make_server(file=str(file), clock=clock, **AUTOMATIC)
    sound = FeedStore.get

    def break_for_one(store: FeedStore, feed: str) -> Any:
        return fail() if feed == "bad" else sound(store, feed)

    with monkeypatch.context() as breaking:
        breaking.setattr(FeedStore, "get", break_for_one)
        client = server.start()
        for name in bodies:
            client.define(name, nature=common_pb2.LIST_NATURE_TEST)
        # The first round may have failed, because the list was not defined yet.
        eventually(lambda: outcome_of(client, "good"), "the other feed has run")
        for _ in range(2):
            asked = len(bodies["good"].requests)
            clock.advance(3_600)
            eventually(
                lambda asked=asked: len(bodies["good"].requests) > asked and outcome_of(client, "good") == PUBLISHED,
                "the other feed goes on",
            )
        told = [line for line in logged if line.get("feed") == "bad"]
        assert [(line["event"], line["reason"], line["why"]) for line in told] == [
            (Event.FEED_FAILED, "internal", "RuntimeError")
        ]
        assert SECRET not in repr(logged)
    eventually(lambda: bodies["bad"].requests, "the feed itself goes on")


def test_a_task_of_the_server_that_died_is_told(simulate, follow: MakeFollower, logged, monkeypatch):
    async def die(_: Feeds) -> None:
        fail()

    monkeypatch.setattr(Feeds, "run", die)
    follower = follow(simulate(StopNcii))
    told = [line for line in logged if line["event"] == Event.TASK_DIED]
    assert [(line["log_level"], line["error"]) for line in told] == [("error", "RuntimeError")]
    assert told[0]["task"].endswith("die")
    assert SECRET not in repr(logged)
    follower.server.restart()


def test_records_that_the_parser_lost_are_not_taken_for_read(simulate, follow: MakeFollower, monkeypatch):
    """The feed counts what pages have. Where fewer come out nothing is published, and no checkpoint moves."""
    body = simulate(Ncmec, page=10)
    body.publish(25)
    follower = follow(body)
    assert follower.run().outcome == PUBLISHED
    before = body.truth
    body.change(1, 2)
    with monkeypatch.context() as losing:
        scan = ncmec.scan
        losing.setattr(ncmec, "scan", lambda page: scan(page)._replace(entries=scan(page).entries + 1))
        for full in (False, True):
            failed = follower.run(full=full)
            assert (failed.outcome, failed.failure) == (FAILED, "records-lost"), failed
            assert_says(follower.client, body, before)
            assert not open_stagings(follower)
    caught_up = follower.run()
    assert (caught_up.outcome, caught_up.full, caught_up.records) == (PUBLISHED, False, 2)
    follower.assert_follows()


def test_a_round_that_lost_records_drops_none_that_waits(simulate, follow: MakeFollower, monkeypatch):
    body = simulate(Ncmec, page=10)
    body.publish(25)
    follower = follow(body, policy={})
    waiting = follower.run(drop_waiting=True)
    assert waiting.outcome == STAGED
    scan = ncmec.scan
    monkeypatch.setattr(ncmec, "scan", lambda page: scan(page)._replace(entries=scan(page).entries + 1))
    assert follower.run(drop_waiting=True).failure == "records-lost"
    assert open_stagings(follower) == [waiting.staging_id]
