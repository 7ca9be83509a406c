"""A bulk run answers every digest, or says how far it came."""

import asyncio
import itertools
import threading

import grpc
import pytest
from hashmatch_client import (
    Algorithm,
    AsyncHashmatchClient,
    DeadlineExceededError,
    HashmatchClient,
    HashmatchClientError,
    InvalidHashError,
    Limits,
    NotFoundError,
    ProtocolViolationError,
    Timeout,
    UnavailableError,
)
from hashmatch_client._fake_service import Script

from .conftest import KNOWN, NO_RETRY, digest

COUNT = 2_345
HITS = {0, 7, 999, 1_000, 2_344}
DIGESTS = [KNOWN if n in HITS else digest(n) for n in range(COUNT)]
PATIENCE = 60.0
SMALL = Limits(bulk_digests=100, in_flight=3)


@pytest.fixture(params=["sync", "async"])
def bulk(request, fake):
    """Runs a bulk match with either client and returns what came, and the error that ended it."""

    def run_sync(*args, limits=SMALL, stream=120.0, **options):
        came = []
        with HashmatchClient(fake.target, limits=limits, timeout=Timeout(stream=stream), retry=NO_RETRY) as client:
            try:
                came.extend(client.bulk_match(*args, **options))
            except (HashmatchClientError, LookupError) as error:
                return came, error
        return came, None

    async def run_async(*args, limits=SMALL, stream=120.0, **options):
        came = []
        async with AsyncHashmatchClient(
            fake.target, limits=limits, timeout=Timeout(stream=stream), retry=NO_RETRY
        ) as client:
            try:
                async for answer in client.bulk_match(*args, **options):
                    came.append(answer)  # noqa: PERF401 - what came before an error counts
            except (HashmatchClientError, LookupError) as error:
                return came, error
        return came, None

    if request.param == "sync":
        return run_sync
    return lambda *args, **options: asyncio.run(run_async(*args, **options))


@pytest.mark.parametrize("source", [lambda: b"".join(DIGESTS), lambda: iter(DIGESTS)], ids=["packed", "one by one"])
def test_every_digest_is_answered_in_order(bulk, fake, source):
    answers, error = bulk(Algorithm.SHA256, source())
    assert error is None
    assert [answer.first for answer in answers] == list(range(0, COUNT, 100))
    assert sum(answer.count for answer in answers) == COUNT
    assert {hit.position for answer in answers for hit in answer.hits()} == HITS
    assert {hit.digest for answer in answers for hit in answer.hits()} == {KNOWN}
    assert sum(answer.no_known_match for answer in answers) == COUNT - len(HITS)
    assert [call.sizes for call in fake.calls] == [[100] * 23 + [45]]


def test_a_run_of_nothing_asks_nothing(bulk, fake):
    assert bulk(Algorithm.SHA256, b"") == ([], None)
    assert fake.calls == []


def test_what_no_list_carries_is_undetermined(bulk):
    (answer,), _ = bulk(Algorithm.SHA512, digest("x", "sha512") * 50)
    assert (answer.not_determined, answer.no_known_match) == (50, 0)


def test_the_scope_holds_for_the_whole_run(bulk):
    answers, _ = bulk(Algorithm.SHA256, DIGESTS, lists=["beta"])
    assert sum(answer.matches for answer in answers) == 0
    _, error = bulk(Algorithm.SHA256, DIGESTS, lists=["nowhere"])
    assert isinstance(error, NotFoundError)
    assert error.bulk_progress.batches == 0


def test_a_stream_that_breaks_half_way_says_what_was_answered(bulk, fake):
    fake.fail_next(grpc.StatusCode.UNAVAILABLE, "NOT_SERVING", after_messages=4)
    answers, error = bulk(Algorithm.SHA256, DIGESTS)
    assert isinstance(error, UnavailableError)
    assert error.bulk_progress.batches == len(answers) <= 4
    assert error.bulk_progress.digests == sum(answer.count for answer in answers)


def test_a_stream_that_ends_early_without_an_error_is_a_violation(bulk, fake):
    sent = 0

    def stop_at_the_third(response):
        nonlocal sent
        sent += 1
        return response if sent < 3 else None

    fake.rewrite(stop_at_the_third)
    answers, error = bulk(Algorithm.SHA256, DIGESTS)
    assert isinstance(error, ProtocolViolationError | UnavailableError)
    assert error.bulk_progress.batches == len(answers) <= 2


def test_an_answer_to_another_batch_is_a_violation(bulk, fake):
    def shift(response):
        response.sequence += 1
        return response

    fake.rewrite(shift)
    answers, error = bulk(Algorithm.SHA256, DIGESTS)
    assert answers == []
    assert isinstance(error, ProtocolViolationError)


def test_a_silent_server_is_given_up(bulk, fake):
    with fake.paused():
        _, error = bulk(Algorithm.SHA256, DIGESTS, stream=0.3)
    assert isinstance(error, DeadlineExceededError)


@pytest.fixture
def ended(fake, monkeypatch):
    """An event for each stream that the server was asked on, set when that is over for the server."""
    events = []
    received = Script.received

    def noted(script, method, context):
        events.append(threading.Event())
        context.add_callback(events[-1].set)
        return received(script, method, context)

    monkeypatch.setattr(Script, "received", noted)
    return events


@pytest.mark.parametrize("asked", [100, 250])
def test_a_source_may_pause_for_longer_than_a_stream_lasts(bulk, fake, ended, asked):
    def source():
        for number, value in enumerate(DIGESTS[:500]):
            if number == asked:
                assert ended[0].wait(PATIENCE)
            yield value

    answers, error = bulk(Algorithm.SHA256, source(), stream=1.5)
    assert error is None
    assert [answer.first for answer in answers] == [0, 100, 200, 300, 400]
    assert {hit.position for answer in answers for hit in answer.hits()} == {0, 7}
    assert len(fake.calls) >= 2


def test_whoever_takes_the_answers_may_pause_for_longer_than_a_stream_lasts(fake, ended):
    with HashmatchClient(fake.target, limits=SMALL, timeout=Timeout(stream=1.5), retry=NO_RETRY) as client:
        run = client.bulk_match(Algorithm.SHA256, DIGESTS)
        first = next(run)
        assert ended[0].wait(PATIENCE)
        answers = [first, *run]
    assert [answer.first for answer in answers] == list(range(0, COUNT, 100))
    assert {hit.position for answer in answers for hit in answer.hits()} == HITS
    assert len(fake.calls) >= 2


async def test_whoever_takes_the_answers_asynchronously_may_pause_too(fake, ended):
    async with AsyncHashmatchClient(fake.target, limits=SMALL, timeout=Timeout(stream=1.5), retry=NO_RETRY) as client:
        run = client.bulk_match(Algorithm.SHA256, DIGESTS)
        first = await anext(run)
        assert await asyncio.to_thread(ended[0].wait, PATIENCE)
        answers = [first, *[answer async for answer in run]]
    assert [answer.first for answer in answers] == list(range(0, COUNT, 100))
    assert {hit.position for answer in answers for hit in answer.hits()} == HITS
    assert len(fake.calls) >= 2


def test_a_long_run_is_carried_over_several_streams(bulk, fake, monkeypatch):
    # Every look at the clock is a second later: after a few batches a stream has lived for half of its deadline.
    ticks = itertools.count()
    monkeypatch.setattr("time.monotonic", lambda: float(next(ticks)))
    answers, error = bulk(Algorithm.SHA256, DIGESTS, stream=8)
    assert error is None
    assert sum(answer.count for answer in answers) == COUNT
    assert {hit.position for answer in answers for hit in answer.hits()} == HITS
    assert len(fake.calls) > 3


def test_a_wrong_digest_in_the_middle_ends_the_run_and_says_where(bulk):
    answers, error = bulk(Algorithm.SHA256, [*DIGESTS[:1_000], b"short", *DIGESTS[1_000:]])
    assert isinstance(error, InvalidHashError)
    assert error.bulk_progress.batches == len(answers) > 0


def test_an_error_of_the_source_comes_through_as_it_is(bulk):
    def source():
        yield DIGESTS[0]
        raise LookupError("the database went away")

    _, error = bulk(Algorithm.SHA256, source())
    assert isinstance(error, LookupError)


def test_requests_are_not_sent_far_ahead_of_their_answers(fake):
    taken = 0

    def source():
        nonlocal taken
        for value in DIGESTS:
            taken += 1
            yield value

    with HashmatchClient(fake.target, limits=SMALL) as client:
        run = client.bulk_match(Algorithm.SHA256, source())
        next(run)
        assert taken <= 300
        run.close()


async def test_an_asynchronous_source_is_read(async_client):
    async def source():
        for value in DIGESTS:
            yield value

    hits = {
        hit.position async for answer in async_client.bulk_match(Algorithm.SHA256, source()) for hit in answer.hits()
    }
    assert hits == HITS
