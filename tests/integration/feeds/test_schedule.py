"""Feeds run by themselves, on one server at a time, and begin anew where they cannot go on."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import pytest
import redis

from hashmatch.service import feeds
from hashmatch.v1 import list_admin_service_pb2
from tests.integration.errors import refusal_of
from tests.integration.feeds.conftest import MakeFollower
from tests.integration.feeds.test_rounds import FAILED, PUBLISHED, STAGED
from tests.integration.serving import ShiftedClock
from tests.integration.waiting import eventually
from tests.support.simulators.body import Reply, Request
from tests.support.simulators.ncmec import Ncmec
from tests.support.simulators.office import BODIES
from tests.support.simulators.stopncii import StopNcii

DAY = 86_400.0


@pytest.fixture(autouse=True)
def attentive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that look at their feeds all the time."""
    monkeypatch.setattr(feeds, "_LOOK_INTERVAL", 0.02)


def test_a_feed_runs_when_it_is_due_and_again_soon_if_it_failed(simulate, follow: MakeFollower):
    body = simulate(StopNcii)
    body.publish(10)
    clock = ShiftedClock()
    follower = follow(body, feed={"interval": 3_600.0, "attempts": 1}, clock=clock, scheduled=True)
    # The first rounds may have failed, because the list was not defined yet.
    clock.advance(3_600)
    eventually(lambda: follower.status().outcome == PUBLISHED, "it runs")
    body.withdraw(1)
    asked = len(body.requests)
    clock.advance(3_500)
    assert follower.status().outcome == PUBLISHED
    assert len(body.requests) == asked, "it is not due"
    body.interfere = lambda _: Reply(500)
    clock.advance(100)
    eventually(lambda: follower.status().outcome == FAILED, "it runs once an interval")
    body.interfere = None
    clock.advance(30)
    eventually(lambda: follower.status().outcome == PUBLISHED, "it runs again half a minute after it failed")
    follower.assert_follows()


@pytest.mark.parametrize("kind", BODIES, ids=lambda kind: kind.kind)
def test_a_checkpoint_that_is_too_old_is_not_continued_from(kind, simulate, follow: MakeFollower):
    """The body may have forgotten what it removed; NCMEC does not forget."""
    body = simulate(kind)
    body.publish(10, age=100 * DAY)
    clock = ShiftedClock(shift=-86 * DAY)
    follower = follow(body, clock=clock)
    assert follower.run(full=True).outcome == PUBLISHED
    # What is gone without a trace: only reading everything tells.
    if kind is not Ncmec:
        body.forget(3)
    clock.advance(85.5 * DAY)
    late = follower.run()
    assert (late.outcome, late.full) == (PUBLISHED, kind is not Ncmec), late
    follower.assert_follows()


def test_a_checkpoint_of_another_address_is_not_continued_from(simulate, follow: MakeFollower):
    first, second = simulate(StopNcii), simulate(StopNcii)
    first.publish(10)
    second.publish(7)
    follower = follow(first)
    assert follower.run().outcome == PUBLISHED
    file = Path(follower.server.config.feeds.file)
    file.write_text(file.read_text("utf-8").replace(first.url, second.url), "utf-8")
    follower.server.restart()
    follower.body = second
    anew = follower.run()
    assert (anew.outcome, anew.full) == (PUBLISHED, True)
    follower.assert_follows()


def test_a_round_that_was_left_behind_is_published(simulate, follow: MakeFollower, monkeypatch):
    """Its server died after staging it: the next one finds it, and does not read again."""
    body = simulate(StopNcii)
    body.publish(10)
    follower = follow(body)
    with monkeypatch.context() as dying:
        dying.setattr(feeds, "_is_own_to_publish", lambda *_: False)
        assert follower.run(drop_waiting=True).outcome == STAGED
        asked = len(body.requests)
        follower.server.stop()
    follower.server.start()
    eventually(lambda: follower.status().published_read_at.ToSeconds(), "it is published")
    assert len(body.requests) == asked
    follower.assert_follows()


def test_a_round_that_waits_is_dropped_only_for_one_that_is_staged(simulate, follow: MakeFollower):
    body = simulate(StopNcii)
    body.publish(10)
    follower = follow(body, policy={}, feed={"attempts": 1})
    first = follower.run(drop_waiting=True)
    assert first.outcome == STAGED
    body.interfere = lambda _: Reply(500)
    failed = follower.run(drop_waiting=True)
    assert (failed.outcome, failed.waiting_staging_id) == (FAILED, first.staging_id)
    body.interfere = None
    second = follower.run(drop_waiting=True)
    stagings = follower.client.act("ListStagings", list_admin_service_pb2.ListStagingsRequest()).stagings
    assert [staging.staging_id for staging in stagings] == [second.staging_id]


def test_whoever_loses_the_lease_stops_reading(simulate, follow: MakeFollower, own_valkey, monkeypatch):
    monkeypatch.setattr(feeds, "_LEASE_SECONDS", 0.3)
    body = simulate(StopNcii)
    body.publish(10)
    follower = follow(body, url=own_valkey.url)
    assert follower.run().outcome == PUBLISHED
    reached, released = threading.Event(), threading.Event()

    def hold(_: Request) -> None:
        reached.set()
        assert released.wait(30)

    body.interfere = hold
    call = follower.client.administration.RunFeed.future(
        list_admin_service_pb2.RunFeedRequest(name="the-feed"), timeout=30, metadata=(("hashmatch-operator", "ann"),)
    )
    assert reached.wait(20)
    with closing(redis.Redis.from_url(own_valkey.url)) as valkey:
        (key,) = valkey.keys("*:f:*")
        valkey.set(key, b"somebody else", px=60_000)
        error = call.exception()
        assert refusal_of(error).reason == "CONFLICT"
        assert valkey.get(key) == b"somebody else", "what is another's is not released"
    released.set()
