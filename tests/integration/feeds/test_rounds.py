"""The published list equals what the body says, whatever happens on the way."""

from __future__ import annotations

import pytest

from hashmatch.v1 import common_pb2, list_admin_service_pb2
from tests.integration.feeds.conftest import MakeFollower, assert_says
from tests.integration.serving import ShiftedClock, hash_of
from tests.support.simulators.body import Reply, Request
from tests.support.simulators.ncmec import Ncmec
from tests.support.simulators.office import BODIES
from tests.support.simulators.stopncii import StopNcii

PUBLISHED = list_admin_service_pb2.FEED_OUTCOME_PUBLISHED
STAGED = list_admin_service_pb2.FEED_OUTCOME_STAGED
WAITING = list_admin_service_pb2.FEED_OUTCOME_WAITING
FAILED = list_admin_service_pb2.FEED_OUTCOME_FAILED

every_body = pytest.mark.parametrize("kind", BODIES, ids=lambda kind: kind.kind)


def reads(request: Request) -> bool:
    """Whether a request reads a page, rather than trading a password for a token."""
    return request.method == "GET"


class Stumbling:
    """A body that answers each page with one of these before it answers properly."""

    def __init__(self, *replies: Reply) -> None:
        self._replies = list(replies)
        self._last: tuple[str, dict[str, str]] | None = None

    def __call__(self, request: Request) -> Reply | None:
        page = (request.path, request.query)
        if not reads(request) or page == self._last or not self._replies:
            return None
        self._last = page
        return self._replies.pop(0)


class Breaking:
    """A body that answers some pages, and then nothing but this."""

    def __init__(self, after: int, reply: Reply) -> None:
        self._left = after
        self._reply = reply

    def __call__(self, request: Request) -> Reply | None:
        if not reads(request):
            return None
        self._left -= 1
        return self._reply if self._left < 0 else None


@every_body
def test_a_list_follows_its_body(kind, simulate, follow: MakeFollower):
    """Everything first; then what changed, was withdrawn and is new, over stumbling pages; then nothing at all."""
    body = simulate(kind, page=10)
    body.publish(35)
    follower = follow(body)
    first = follower.run()
    assert first.outcome == PUBLISHED, first
    follower.assert_follows()
    body.change(3, 17)
    body.withdraw(5, 18, 35)
    body.publish(13, label="third", age=0.0)
    body.interfere = Stumbling(
        Reply(429, headers={"Retry-After": "0"}), Reply(500), Reply(200, b"<cut short", cut=True), Reply(503)
    )
    second = follower.run()
    assert (second.outcome, second.full) == (PUBLISHED, False), second
    assert second.records < 35
    follower.assert_follows()
    epoch = follower.client.epoch()
    third = follower.run()
    assert (third.outcome, third.full) == (PUBLISHED, False), third
    follower.assert_follows()
    assert follower.client.epoch() > epoch
    assert third.published_read_at.ToSeconds() >= second.published_read_at.ToSeconds()


FAILURES = {
    "body-error": Reply(500),
    "rate-limited": Reply(429, headers={"Retry-After": "100000"}),
    "redirected": Reply(302, headers={"Location": "http://127.0.0.1:9/elsewhere"}),
    "malformed": Reply(200, b"<queryResult"),
    "refused": Reply(404),
}


@pytest.mark.parametrize(
    ("kind", "failure"),
    [*((Ncmec, failure) for failure in FAILURES), *((kind, "body-error") for kind in BODIES if kind is not Ncmec)],
    ids=lambda each: each if isinstance(each, str) else each.kind,
)
def test_half_a_round_changes_nothing(kind, failure, simulate, follow: MakeFollower):
    body = simulate(kind, page=10)
    body.publish(20)
    follower = follow(body, feed={"attempts": 2})
    assert follower.run().outcome == PUBLISHED
    before = body.truth
    stagings = list_admin_service_pb2.ListStagingsRequest()
    body.withdraw(1, 2)
    body.publish(25, label="third", age=0.0)
    body.interfere = Breaking(2, FAILURES[failure])
    failed = follower.run()
    assert (failed.outcome, failed.failure, failed.failed_rounds) == (FAILED, failure, 1), failed
    assert_says(follower.client, body, before)
    assert not follower.client.act("ListStagings", stagings).stagings
    body.interfere = None
    assert follower.run().outcome == PUBLISHED
    assert follower.status().failed_rounds == 0
    follower.assert_follows()


@every_body
def test_what_changes_while_it_is_read_is_not_lost(kind, simulate, follow: MakeFollower):
    """An entry moves to the end, or out of the range, behind the back of whoever is half-way."""
    clock = ShiftedClock()
    body = simulate(kind, page=10, clock=clock.now)
    body.publish(40)
    pages = 0

    def meanwhile(request: Request) -> Reply | None:
        nonlocal pages
        pages += reads(request)
        if reads(request) and pages in (2, 3):
            clock.advance(5)
            body.change(*range(pages, 40, 7), label="meanwhile")
        return None

    body.interfere = meanwhile
    follower = follow(body, clock=clock)
    first = follower.run()
    assert (first.outcome, first.full) == (PUBLISHED, True), first
    # Every entry is there already, whichever of its two states was seen; the next round has the later.
    present = follower.client.batch(*([hash_of(digest)] for digest in body.digests))
    assert {result.verdict for result in present.results} == {common_pb2.VERDICT_MATCH}
    body.interfere = None
    assert follower.run().outcome == PUBLISHED
    follower.assert_follows()


def test_a_body_whose_clock_is_behind_loses_nothing(simulate, follow: MakeFollower):
    """What it publishes after a round it dates before the end of the round, by our clock."""
    body = simulate(Ncmec, clock_skew=-7_200.0)
    body.publish(10)
    follower = follow(body)
    assert follower.run().outcome == PUBLISHED
    body.publish(3, label="third", age=0.0)
    body.withdraw(4)
    assert follower.run().outcome == PUBLISHED
    follower.assert_follows()


def test_a_round_waits_for_its_approvals_and_moves_nothing_before(simulate, follow: MakeFollower):
    """The checkpoint is part of what is published: neither staging nor discarding loses what was read."""
    body = simulate(Ncmec)
    body.publish(20)
    follower = follow(body, policy={})
    client = follower.client
    staged = follower.run(drop_waiting=True)
    assert (staged.outcome, staged.full) == (STAGED, True), staged
    asked = len(body.requests)
    again = follower.run()
    assert (again.outcome, again.staging_id) == (WAITING, staged.staging_id)
    assert len(body.requests) == asked, "nothing is read while a round waits"
    publish(client, staged.staging_id)
    follower.assert_follows()

    body.change(2)
    dropped = follower.run()
    assert (dropped.outcome, dropped.full, dropped.records) == (STAGED, False, 1)
    client.act(
        "DiscardStaging",
        list_admin_service_pb2.DiscardStagingRequest(staging_id=dropped.staging_id, reason="not today"),
    )
    body.withdraw(7)
    outdated = follower.run()
    assert (outdated.outcome, outdated.records) == (STAGED, 2), "what was discarded is read again"
    client.act(
        "WithdrawEntries",
        list_admin_service_pb2.WithdrawEntriesRequest(
            list_id="list", source_keys=["42/entry9"], reason="the body said so on the telephone"
        ),
    )
    body.withdraw(9)
    last = follower.run()
    assert (last.outcome, last.records) == (STAGED, 3), "what became outdated is read again"
    publish(client, last.staging_id)
    follower.assert_follows()
    assert not client.act("ListStagings", list_admin_service_pb2.ListStagingsRequest()).stagings


def test_rolled_back_it_goes_on_from_where_that_generation_was(simulate, follow: MakeFollower):
    body = simulate(Ncmec)
    body.publish(20)
    follower = follow(body)
    assert follower.run().outcome == PUBLISHED
    body.change(1, 2)
    assert follower.run().records == 2
    rolled = list_admin_service_pb2.RollBackRequest(list_id="list", reason="a test")
    follower.client.act("RollBack", rolled)
    caught_up = follower.run()
    assert (caught_up.full, caught_up.records) == (False, 2)
    follower.assert_follows()


def test_a_list_that_changes_while_its_body_is_read_is_not_built_upon(simulate, follow: MakeFollower):
    """What changed since one generation means nothing on top of another: something of it would be missing."""
    body = simulate(Ncmec)
    body.publish(20)
    follower = follow(body)
    assert follower.run().outcome == PUBLISHED
    body.change(1, 2)
    assert follower.run().outcome == PUBLISHED
    for entry in body.entries.values():
        # So long ago that the ranges' overlap does not bring them again.
        entry.changed_at -= 86_400.0
    body.withdraw(3)

    def meanwhile(_: Request) -> None:
        body.interfere = None
        rolled = list_admin_service_pb2.RollBackRequest(list_id="list", reason="a test")
        follower.client.act("RollBack", rolled)

    body.interfere = meanwhile
    failed = follower.run()
    assert (failed.outcome, failed.failure) == (FAILED, "not-staged"), failed
    body.change(1, 2)
    assert follower.run().outcome == PUBLISHED
    follower.assert_follows()


def test_what_somebody_else_delivered_is_no_place_to_go_on_from(simulate, follow: MakeFollower):
    body = simulate(Ncmec)
    body.publish(20)
    follower = follow(body)
    assert follower.run().outcome == PUBLISHED
    follower.client.deliver(b"\n".join(digest.hex().encode() for digest in body.digests[:4]) + b"\n")
    anew = follower.run()
    assert (anew.outcome, anew.full) == (PUBLISHED, True)
    follower.assert_follows()


def test_gates_that_are_not_met_leave_it_to_people(simulate, follow: MakeFollower):
    body = simulate(StopNcii)
    body.publish(20)
    follower = follow(body, policy={"approvals_required": 0, "maximum_removed_fraction": 0.1})
    assert follower.run().outcome == PUBLISHED
    before = body.truth
    body.withdraw(*range(1, 11))
    held = follower.run()
    assert (held.outcome, held.detail) == (STAGED, "gates not met: removals")
    assert_says(follower.client, body, before)
    assert follower.run().outcome == WAITING
    follower.client.act(
        "Publish",
        list_admin_service_pb2.PublishRequest(
            staging_id=held.staging_id, accept_gates=["removals"], reason="the body confirmed it"
        ),
    )
    follower.assert_follows()


def test_material_of_one_nature_is_not_read_into_a_list_of_another(simulate, follow: MakeFollower):
    """An exploitative hit must never read as CSAM."""
    body = simulate(Ncmec)
    body.publish(3)
    follower = follow(body, nature=common_pb2.LIST_NATURE_EXPLOITATIVE)
    refused = follower.run()
    assert (refused.outcome, refused.failure) == (FAILED, "wrong-nature")
    assert not body.requests


def test_feeds_are_seen_in_the_metrics(simulate, follow: MakeFollower):
    body = simulate(StopNcii)
    body.publish(20)
    follower = follow(body)
    assert follower.run().outcome == PUBLISHED
    page = follower.client.page("/metrics").text
    assert 'hashmatch_feed_rounds_total{feed="the-feed",outcome="published"} 1.0' in page
    assert 'hashmatch_feed_records_total{feed="the-feed"} 20.0' in page
    for planted in (body.digests[0].hex(), "subscription-key", "fetch-key"):
        assert planted not in page


def publish(client, staging_id: str) -> None:
    request = list_admin_service_pb2.GetStagingRequest(staging_id=staging_id)
    staging = client.act("GetStaging", request).staging
    client.approve(staging)
    client.publish(staging, accept=[gate.name for gate in staging.report.gates if not gate.passed])
