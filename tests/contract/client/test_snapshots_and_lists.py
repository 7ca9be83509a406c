"""What is served can be looked at, page by page, and watched across broken streams."""

import grpc
import pytest
from hashmatch_client import (
    Algorithm,
    AsyncHashmatchClient,
    HashmatchClient,
    ListNature,
    NotFoundError,
    NotPermittedError,
    ProtocolViolationError,
    Retry,
    Timeout,
    UnavailableError,
)
from hashmatch_client.testing import FakeHashmatch

from .conftest import NO_RETRY, digest

QUICK = Retry(attempts=1, initial_backoff=0.001, max_backoff=0.001)


def test_a_snapshot_tells_what_changed_since(client):
    update = client.snapshot(since_epoch=1)
    assert update.snapshot.epoch == 3
    assert [(change.epoch, change.act, change.list_id, change.added) for change in update.changes] == [
        (2, "publish", "beta", 1),
        (3, "publish", "selftest", 1),
    ]
    assert update.changes_complete
    assert update.request_id


async def test_the_twin_tells_the_same(client, async_client):
    ours, theirs = client.snapshot(), await async_client.snapshot()
    assert (ours.snapshot, ours.changes) == (theirs.snapshot, theirs.changes)
    assert list(client.lists()) == [each async for each in async_client.lists()]
    assert client.get_list("beta") == await async_client.get_list("beta")
    with pytest.raises(NotFoundError):
        await async_client.get_list("nowhere")


def test_lists_are_paged_through(client, fake):
    found = list(client.lists(page_size=2))
    assert [each.list_id for each in found] == ["alpha", "beta", "selftest"]
    assert len(fake.calls_of("ListLists")) == 2
    assert found[0].generation.counts == {Algorithm.MD5: 1, Algorithm.SHA1: 0, Algorithm.SHA256: 2}
    assert found[2].nature is ListNature.TEST
    assert not found[1].freshness.stale


def test_a_list_that_is_not_served_has_no_generation(client, fake):
    def withdraw(response):
        response.list.ClearField("generation")
        response.list.ClearField("freshness")
        return response

    fake.rewrite(withdraw)
    found = client.get_list("alpha")
    assert (found.generation, found.freshness) == (None, None)


def test_a_page_that_leads_to_itself_does_not_go_on_for_ever(client, fake):
    def loop(response):
        response.next_page_token = "again"
        return response

    fake.rewrite(loop)
    with pytest.raises(ProtocolViolationError):
        list(client.lists())


def test_an_algorithm_of_a_newer_server_is_counted(client, fake):
    def add(response):
        response.list.generation.counts.add(algorithm=99, hashes=5)
        response.list.generation.counts.add(algorithm=98, hashes=2)
        return response

    fake.rewrite(add)
    assert client.get_list("alpha").generation.counts[Algorithm.UNRECOGNISED] == 7


def test_a_watch_tells_of_each_epoch_once(client, fake):
    watch = client.watch_snapshots()
    assert next(watch).snapshot.epoch == 3
    fake.publish("gamma", {digest("g").hex(): ""})
    update = next(watch)
    assert update.snapshot.epoch == 4
    assert [change.list_id for change in update.changes] == ["gamma"]
    watch.close()


def test_a_watch_that_breaks_is_taken_up_where_it_was(fake):
    with HashmatchClient(fake.target, retry=QUICK, timeout=Timeout(stream=0.3)) as client:
        fake.fail_next(grpc.StatusCode.UNAVAILABLE, after_messages=1)
        watch = client.watch_snapshots(since_epoch=2)
        first = next(watch)
        epoch = fake.publish("gamma", {})
        second = next(watch)
        assert [change.epoch for change in first.changes] == [3]
        assert [change.epoch for change in second.changes] == [epoch]
        assert len(fake.calls_of("WatchSnapshots")) == 2
        watch.close()


async def test_a_watch_of_the_async_client_outlives_its_deadline(fake):
    async with AsyncHashmatchClient(fake.target, retry=QUICK, timeout=Timeout(stream=0.2)) as client:
        watch = client.watch_snapshots()
        assert (await anext(watch)).snapshot.epoch == 3
        pending = anext(watch)

        def publish_once_renewed(response):
            if len(fake.calls_of("WatchSnapshots")) == 3 and fake.epoch == 3:
                fake.publish("gamma", {})
            return response

        fake.rewrite(publish_once_renewed)
        assert (await pending).snapshot.epoch == 4
        await watch.aclose()


@pytest.mark.parametrize(
    ("code", "kind"),
    [(grpc.StatusCode.UNAVAILABLE, UnavailableError), (grpc.StatusCode.PERMISSION_DENIED, NotPermittedError)],
)
async def test_a_watch_that_cannot_be_opened_raises(client, async_client, fake, code, kind):
    fake.fail_next(code, times=2)
    with pytest.raises(kind):
        next(client.watch_snapshots())
    with pytest.raises(kind):
        await anext(async_client.watch_snapshots())


def test_a_watch_that_is_denied_later_raises(client, fake):
    fake.fail_next(grpc.StatusCode.PERMISSION_DENIED, after_messages=1)
    watch = client.watch_snapshots()
    next(watch)
    with pytest.raises(NotPermittedError):
        next(watch)


def test_a_watch_without_an_answer_is_a_violation(client, fake):
    fake.rewrite(lambda _: None)
    with pytest.raises(ProtocolViolationError):
        next(client.watch_snapshots())


def test_nothing_published_is_no_negative():
    with FakeHashmatch() as fake, HashmatchClient(fake.target, retry=NO_RETRY) as client:
        assert not client.match(sha256=digest("x")).is_determined
        (answer,) = client.bulk_match(Algorithm.SHA256, digest("x"))
        assert answer.not_determined == 1
