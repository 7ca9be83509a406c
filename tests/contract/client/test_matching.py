"""Both clients ask and read items alike."""

import asyncio
import inspect

import grpc
import pytest
from hashmatch_client import (
    Agreement,
    Algorithm,
    AsyncHashmatchClient,
    Cause,
    DeadlineExceededError,
    Hash,
    HashmatchClient,
    InvalidHashError,
    Item,
    Limits,
    ListNature,
    NotFoundError,
    ProtocolViolationError,
    Timeout,
    UndeterminedReason,
    Verdict,
)

from .conftest import DISPUTED, FIXTURE, KNOWN, NO_RETRY, UNKNOWN, digest


def test_the_three_verdicts(client):
    assert client.match(sha256=KNOWN).is_match
    assert client.match(sha256=UNKNOWN.hex()).is_no_known_match
    undetermined = client.match(sha512=digest("known", "sha512"))
    assert undetermined.verdict is Verdict.NOT_DETERMINED
    assert undetermined.causes[0].reason is UndeterminedReason.ALGORITHM_NOT_CARRIED


def test_an_answer_says_who_says_what_and_of_which_epoch(client):
    answer = client.match(sha256=DISPUTED)
    assert answer.agreement is Agreement.DISPUTED
    assert [(o.body, o.list_id, o.label, o.scheme) for o in answer.opinions] == [
        ("Alpha", "alpha", "A2", "demo"),
        ("Beta", "beta", "1", "vic"),
    ]
    assert answer.snapshot.epoch == 3
    assert answer.snapshot.oldest_list.list_id == "beta"
    assert client.match(sha256=FIXTURE).is_test_match


def test_all_hashes_of_an_item_are_asked_as_one(client, fake):
    answer = client.match(md5=digest("known", "md5"), sha256=UNKNOWN, sha512=digest("known", "sha512"))
    assert answer.is_match
    assert [(each.algorithm, each.verdict) for each in answer.hashes] == [
        (Algorithm.MD5, Verdict.MATCH),
        (Algorithm.SHA256, Verdict.NO_KNOWN_MATCH),
        (Algorithm.SHA512, Verdict.NOT_DETERMINED),
    ]
    assert [call.sizes for call in fake.calls] == [[1]]


def test_a_bad_hash_is_refused_before_anything_is_sent(client, fake):
    with pytest.raises(InvalidHashError):
        client.match(sha256="0" * 63)
    with pytest.raises(InvalidHashError):
        client.match()
    assert fake.calls == []


def test_the_scope_goes_along(client):
    assert client.match(sha256=DISPUTED, min_sources=2).is_match
    below = client.match(sha256=KNOWN, min_sources=2)
    assert below.is_no_known_match
    assert below.hashes[0].below_min_sources
    assert client.match(sha256=KNOWN, lists=["beta"]).is_no_known_match
    assert client.match(sha256=KNOWN, newer_than_epoch=1).is_no_known_match
    with pytest.raises(NotFoundError):
        client.match(sha256=KNOWN, lists=["nowhere"])


def test_a_question_can_be_put_to_lists_of_some_natures(client):
    assert client.match(sha256=KNOWN).natures == (ListNature.ILLEGAL,)
    assert client.match(sha256=FIXTURE).natures == (ListNature.TEST,)
    assert client.match(sha256=UNKNOWN).natures == ()
    assert client.match(sha256=FIXTURE, natures=[ListNature.ILLEGAL]).is_no_known_match
    assert client.match(sha256=KNOWN, natures=[ListNature.ILLEGAL, ListNature.TEST]).is_match
    named = client.match(sha256=UNKNOWN, lists=["alpha", "selftest"], natures=[ListNature.ILLEGAL])
    assert named.hashes[0].causes == (Cause(UndeterminedReason.ALGORITHM_NOT_CARRIED, "selftest"),)
    (batch,) = client.bulk_match(Algorithm.SHA256, KNOWN + FIXTURE, natures=[ListNature.TEST])
    assert [hit.finding.natures for hit in batch.hits()] == [(ListNature.TEST,)]


@pytest.mark.parametrize("count", [0, 1, 1_000, 1_001, 4_500])
def test_items_are_split_and_answered_in_order(client, fake, count):
    items = [Item((Hash(Algorithm.SHA256, digest(n)),), str(n)) for n in range(count)]
    answers = client.match_items(items)
    assert [answer.reference for answer in answers] == [str(n) for n in range(count)]
    assert sum(size for call in fake.calls for size in call.sizes) == count
    assert len(fake.calls) == -(-count // 1_000)


async def test_items_are_split_and_answered_in_order_by_the_async_client(async_client, fake):
    items = [Item((Hash(Algorithm.SHA256, digest(n)),), str(n)) for n in range(2_500)]
    answers = await async_client.match_items(items)
    assert [answer.reference for answer in answers] == [str(n) for n in range(2_500)]
    assert sorted(call.sizes[0] for call in fake.calls) == [500, 1_000, 1_000]


async def test_a_thousand_questions_at_once_make_at_most_ten_calls(async_client, fake):
    values = [KNOWN if n % 10 == 0 else digest(n) for n in range(1_000)]
    answers = await asyncio.gather(*(async_client.match(sha256=value) for value in values))
    assert [answer.is_match for answer in answers] == [n % 10 == 0 for n in range(1_000)]
    assert len(fake.calls_of("BatchMatch")) <= 10


async def test_who_stops_waiting_disturbs_nobody(async_client, fake):
    with fake.paused():
        asked = [asyncio.ensure_future(async_client.match(sha256=KNOWN)) for _ in range(3)]
        await asyncio.sleep(0)
        asked[1].cancel()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [getattr(answer, "is_match", None) for answer in answers] == [True, None, True]


async def test_a_failed_call_reaches_every_waiter(async_client, fake):
    fake.fail_next(grpc.StatusCode.NOT_FOUND, "LIST_NOT_FOUND")
    failures = await asyncio.gather(*(async_client.match(sha256=KNOWN) for _ in range(5)), return_exceptions=True)
    assert {type(failure) for failure in failures} == {NotFoundError}


async def test_questions_of_different_scope_do_not_share_a_call(async_client, fake):
    await asyncio.gather(*(async_client.match(sha256=KNOWN, lists=[name]) for name in ("alpha", "beta") * 10))
    assert sorted(call.sizes[0] for call in fake.calls) == [10, 10]


def test_every_call_has_a_deadline_and_an_id_of_its_own(client, fake):
    answers = [client.match(sha256=KNOWN), client.match(sha256=KNOWN, timeout=60)]
    client.snapshot()
    list(client.lists())
    list(client.bulk_match(Algorithm.SHA256, KNOWN))
    ids = [call.metadata["x-request-id"] for call in fake.calls]
    assert len(set(ids)) == 5
    assert [answer.request_id for answer in answers] == ids[:2]
    assert all(call.seconds_left is not None and call.seconds_left < 130 for call in fake.calls)
    assert fake.calls[0].seconds_left < 10 < fake.calls[1].seconds_left


def test_a_call_ends_at_its_deadline(fake):
    with (
        HashmatchClient(fake.target, timeout=Timeout(call=0.2), retry=NO_RETRY) as client,
        fake.paused(),
        pytest.raises(DeadlineExceededError) as caught,
    ):
        client.match(sha256=KNOWN)
    assert caught.value.request_id


def test_an_answer_that_lacks_an_item_is_not_used(client, fake):
    def drop(response):
        del response.results[0]
        return response

    fake.rewrite(drop)
    with pytest.raises(ProtocolViolationError):
        client.match(sha256=UNKNOWN)


def test_limits_hold(fake):
    with HashmatchClient(fake.target, limits=Limits(batch_items=10, in_flight=1)) as client:
        client.match_items([Item((Hash(Algorithm.SHA256, KNOWN),))] * 25)
    assert [call.sizes for call in fake.calls] == [[10], [10], [5]]


def test_a_channel_of_the_callers_is_used_and_left_open(fake):
    with grpc.insecure_channel(fake.target) as channel:
        for _ in range(2):
            with HashmatchClient(channel=channel) as client:
                assert client.match(sha256=KNOWN).is_match


async def test_an_asynchronous_channel_of_the_callers_is_used_and_left_open(fake):
    async with grpc.aio.insecure_channel(fake.target) as channel:
        for _ in range(2):
            async with AsyncHashmatchClient(channel=channel) as client:
                assert (await client.match(sha256=KNOWN)).is_match


def test_the_clients_are_twins():
    def public(of):
        return {name for name in vars(of) if not name.startswith("_")}

    assert public(HashmatchClient) == public(AsyncHashmatchClient)
    for name in public(HashmatchClient) - {"bulk_match"}:
        ours = inspect.signature(getattr(HashmatchClient, name)).parameters
        assert list(ours) == list(inspect.signature(getattr(AsyncHashmatchClient, name)).parameters)
