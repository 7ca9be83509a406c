"""What each body is asked, to the letter, and how its pages are put together."""

from __future__ import annotations

import tracemalloc

import msgspec
import pytest

from hashmatch.ingest.feeds.bodies import BODIES
from hashmatch.ingest.feeds.body import Page, PageLoop
from hashmatch.ingest.feeds.definition import FeedDefinition
from hashmatch.ingest.feeds.errors import FeedError
from hashmatch.ingest.feeds.ncmec import NAMESPACE, scan
from hashmatch.model.clock import SystemClock
from tests.support.simulators.body import Reply
from tests.support.simulators.ncmec import Ncmec
from tests.support.simulators.office import BODIES as SIMULATORS
from tests.support.simulators.stopncii import StopNcii
from tests.support.simulators.tech_against_terrorism import TechAgainstTerrorism
from tests.support.simulators.threatexchange import GROUP, TOKEN, ThreatExchange


async def pages_of(feed: FeedDefinition, since: str | None = None) -> list[Page]:
    body = BODIES[feed.kind]
    async with body.connect(feed, SystemClock()) as client:
        return [page async for page in body.pages(client, feed, since)]


@pytest.mark.parametrize("kind", SIMULATORS, ids=lambda kind: kind.kind)
async def test_only_the_last_page_has_a_position_and_it_reaches_everything(kind, simulate, define):
    body = simulate(kind, page=10)
    body.publish(25)
    feed = define(body)
    pages = await pages_of(feed)
    assert [page.position is None for page in pages[:-1]] == [True] * (len(pages) - 1)
    assert sum(page.records for page in pages) == 25
    position = pages[-1].position
    body.publish(2, age=0.0)
    # Ranges overlap a little, so the last of before may come again.
    assert 2 <= sum(page.records for page in await pages_of(feed, position)) <= 3


@pytest.mark.parametrize("kind", SIMULATORS, ids=lambda kind: kind.kind)
async def test_a_body_that_has_nothing_is_read_to_its_end(kind, simulate, define):
    pages = await pages_of(define(simulate(kind)))
    assert pages[-1].position is not None
    assert sum(page.records for page in pages) == 0


@pytest.mark.parametrize("kind", SIMULATORS, ids=lambda kind: kind.kind)
async def test_pages_that_lead_back_to_themselves_end_the_round(kind, simulate, define):
    body = simulate(kind, page=10)
    body.publish(25)
    first: list[bytes] = []

    def repeat(request):
        if request.method != "GET":
            return None
        if not first:
            first.append(body.answer(request).body)
        return Reply(200, first[0])

    body.interfere = repeat
    with pytest.raises(FeedError) as caught:
        await pages_of(define(body))
    assert caught.value.reason == "page-loop"


@pytest.mark.parametrize("kind", SIMULATORS, ids=lambda kind: kind.kind)
async def test_pages_are_bounded(kind, simulate, define):
    body = simulate(kind, page=1)
    body.publish(25)
    with pytest.raises(FeedError, match="more than 10 pages"):
        await pages_of(define(body, maximum_pages=10))


async def refused_as_malformed(body, content, define):
    body.interfere = lambda request: None if request.method == "POST" else Reply(200, content)
    with pytest.raises(FeedError) as caught:
        await pages_of(define(body))
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize("kind", SIMULATORS, ids=lambda kind: kind.kind)
@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b"{}", b"null", b"<x/>", b"{" * 100_000])
async def test_what_is_not_the_bodys_own_form_is_malformed(kind, content, simulate, define):
    await refused_as_malformed(simulate(kind), content, define)


DEEP = b"[" * 100_000 + b"]" * 100_000
ODD_ANSWERS = [
    (Ncmec, b'<?xml version="1.0" encoding="x-nothing"?><queryResult/>'),
    (Ncmec, b'<?xml version="1.0" encoding="gbk"?><queryResult/>'),
    (StopNcii, b'{"hasMoreRecords":true,"nextPageToken":"\xff"}'),
    (StopNcii, b'{"hasMoreRecords":false,"hashRecords":[' + DEEP + b"]}"),
    (TechAgainstTerrorism, b'{"results":[],"next":"\xff"}'),
    (TechAgainstTerrorism, b'{"results":[' + DEEP + b"]}"),
    (ThreatExchange, b'{"data":[],"paging":{"next":"\xff"}}'),
    (ThreatExchange, b'{"data":[{"last_updated":' + DEEP + b"}]}"),
    (ThreatExchange, b'{"data":[{"last_updated":' + b"9" * 5_000 + b"}]}"),
]


@pytest.mark.parametrize(("kind", "content"), ODD_ANSWERS, ids=lambda each: getattr(each, "kind", "") or "answer")
async def test_an_odd_answer_is_malformed_and_no_error_of_a_library(kind, content, simulate, define):
    """Text that is not what it says it is, and what is nested deeper than readers go."""
    await refused_as_malformed(simulate(kind), content, define)


async def test_a_token_that_is_no_text_is_malformed(simulate, define):
    body = simulate(TechAgainstTerrorism)
    body.interfere = lambda _: Reply(200, b'{"token":"\xff"}')
    with pytest.raises(FeedError, match="token-auth: is not JSON"):
        await pages_of(define(body))


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        (StopNcii, {"hasMoreRecords": True, "nextPageToken": "x" * 8_193}),
        (ThreatExchange, {"data": [], "paging": {"next": "x" * 8_193}}),
    ],
    ids=["stopncii", "threatexchange"],
)
async def test_what_leads_to_the_next_page_is_short(kind, answer, simulate, define):
    body = simulate(kind)
    body.interfere = lambda _: Reply(200, msgspec.json.encode(answer))
    with pytest.raises(FeedError, match="length <= 8192") as caught:
        await pages_of(define(body))
    assert caught.value.reason == "malformed"


def test_where_pages_were_is_remembered_in_a_few_bytes_each(simulate, define):
    """A body chooses its links, and there may be hundreds of thousands of them."""
    loop = PageLoop(define(simulate(StopNcii)))
    tracemalloc.start()
    try:
        for page in range(1_000):
            loop.enter(f"{page}" + "x" * 8_000)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 500_000
    with pytest.raises(FeedError, match="page 1001 is one that was read before"):
        loop.enter("7" + "x" * 8_000)


async def test_ncmec_is_asked_for_a_range_and_for_what_changed_meanwhile(simulate, define):
    body = simulate(Ncmec, page=10)
    body.publish(15)
    await pages_of(define(body))
    first, second, meanwhile = body.requests
    assert first.path == second.path == meanwhile.path == "/hashsharing/v2/entries"
    assert first.query["from"] == "1970-01-01T00:00:00Z"
    assert (second.query["from"], second.query["to"]) == (first.query["from"], first.query["to"])
    assert second.query["size"] == "10"
    assert first.query["from"] < meanwhile.query["from"] < first.query["to"] <= meanwhile.query["to"]
    body.requests.clear()
    await pages_of(define(body), "1800000000")
    (only,) = body.requests
    assert only.query["from"] == "2027-01-15T07:55:00Z"


@pytest.mark.parametrize(
    "document",
    [
        b'<!DOCTYPE x [<!ENTITY a "aaaa">]><queryResult/>',
        b"<queryResult>",
        b"<other/>",
        b"<queryResult><paging><next>" + b"x" * 9_000 + b"</next></paging></queryResult>",
        b'<?xml version="1.0" encoding="x-nothing"?><queryResult/>',
        b'<?xml version="1.0" encoding="shift_jis"?><queryResult/>',
        b"<queryResult>" + b"<a>" * 64 + b"</a>" * 64 + b"</queryResult>",
    ],
    ids=["document type", "cut short", "something else", "endless link", "no encoding", "wide encoding", "deep"],
)
def test_a_page_that_cannot_be_ncmecs_is_malformed(document: bytes):
    with pytest.raises(FeedError) as caught:
        scan(document)
    assert caught.value.reason == "malformed"


def test_a_link_is_read_as_xml_has_it_and_entries_are_counted_in_any_case():
    inner = "<images><image/><DeletedImage/></images><videos><deletedVideo/></videos>"
    paging = "<paging><next> /v2/entries?a=1&amp;b=2 </next></paging>"
    page = f'<q:queryResult xmlns:q="{NAMESPACE}">{inner}{paging}</q:queryResult>'
    assert scan(page.encode()) == (3, "/v2/entries?a=1&b=2")


async def test_stopncii_is_asked_with_both_keys_and_a_token(simulate, define):
    body = simulate(StopNcii, page=10)
    body.publish(15)
    await pages_of(define(body), "1700000000")
    first, second = body.requests
    assert first.query == {"startTimestamp": "1699999999", "pageSize": "10"}
    assert second.query == first.query | {"nextPageToken": second.query["nextPageToken"]}
    for request in body.requests:
        assert request.path == "/v1/FetchHashes"
        assert request.headers["x-functions-key"] == "fetch-key"


async def test_tech_against_terrorism_is_paged_by_its_checkpoints_with_fresh_tokens(simulate, define):
    body = simulate(TechAgainstTerrorism, page=10, token_requests=2)
    body.publish(45)
    await pages_of(define(body))
    reads = [request for request in body.requests if request.method == "GET"]
    assert "after" not in reads[0].query
    assert all(set(request.query) == {"order", "after"} for request in reads[1:])
    tokens = [request for request in body.requests if request.method == "POST"]
    assert len(tokens) == 3
    assert {request.path for request in tokens} == {"/token-auth/tcap/"}


@pytest.mark.parametrize("kind", [StopNcii, ThreatExchange], ids=lambda kind: kind.kind)
@pytest.mark.parametrize("tells_its_time", [True, False])
async def test_a_time_that_has_not_come_is_not_gone_on_from(kind, tells_its_time, simulate, define):
    """Milliseconds, for example: nothing would ever be read again."""
    body = simulate(kind)
    body.publish(3)
    (sound,) = await pages_of(define(body))
    document = msgspec.json.decode(sound.document)
    if kind is StopNcii:
        document["nextSetTimestamp"] *= 1_000
    else:
        document["data"][1]["last_updated"] *= 1_000
    headers = {} if tells_its_time else {"Date": "soon"}
    body.interfere = lambda _: Reply(200, msgspec.json.encode(document), headers)
    (page,) = await pages_of(define(body))
    assert page.position is not None
    assert float(sound.position or 0) <= float(page.position) <= body.now()


@pytest.mark.parametrize("time", [None, "soon", 1.5, [], "9" * 30])
async def test_an_update_of_threatexchange_without_a_time_does_not_hold_up_the_rest(time, simulate, define):
    """It is read, and quarantined where it cannot be; the checkpoint goes by those that have one."""
    body = simulate(ThreatExchange)
    body.publish(3)
    (sound,) = await pages_of(define(body))
    document = msgspec.json.decode(sound.document)
    document["data"][1]["last_updated"] = time
    body.interfere = lambda _: Reply(200, msgspec.json.encode(document))
    (page,) = await pages_of(define(body))
    assert (page.records, page.position) == (3, sound.position)


async def test_threatexchange_never_sees_its_token_in_a_url(simulate, define):
    body = simulate(ThreatExchange, page=10)
    body.publish(25)
    await pages_of(define(body), "1700000000")
    assert len(body.requests) == 3
    for request in body.requests:
        assert request.path == f"/v21.0/{GROUP}/threat_updates/"
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        assert "access_token" not in request.query
        assert request.query["start_time"] == "1699999999"
        assert "should_delete" in request.query["fields"]
