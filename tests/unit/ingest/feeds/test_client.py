"""HTTP to a body: bounded, patient where that helps, and on one host only."""

from __future__ import annotations

import gzip
import ssl
import threading
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlsplit

import pytest

from hashmatch.ingest.feeds.client import FeedClient
from hashmatch.ingest.feeds.definition import FeedDefinition
from hashmatch.ingest.feeds.errors import FeedError
from hashmatch.model.clock import SystemClock
from tests.support.clock import ManualClock
from tests.support.simulators.body import Body, Reply, Request
from tests.unit.ingest.feeds.conftest import Pauses

SECRET = "planted-secret"


class Scripted(Body):
    """A body that answers what a test says, the last reply for ever."""

    kind = "stopncii"
    path = "/base"
    credentials = ""

    def script(self, *replies: Reply) -> None:
        self.replies = list(replies)

    def answer(self, request: Request) -> Reply:  # noqa: ARG002
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


@pytest.fixture
def body(simulate) -> Scripted:
    return simulate(Scripted)


async def asked(feed: FeedDefinition, pauses: Pauses, *, method: str = "GET", repeatable: bool = True) -> bytes:
    async with FeedClient(feed, ManualClock(), headers={"Key": SECRET}, pause=pauses) as client:
        answer = await client.send(method, client.url("/page"), repeatable=repeatable, params={"token": SECRET})
        return answer.content


async def refused(feed: FeedDefinition, pauses: Pauses, **how) -> FeedError:
    with pytest.raises(FeedError) as caught:
        await asked(feed, pauses, **how)
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in str(error)
        error = error.__cause__
    return caught.value


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_what_failed_for_the_moment_is_asked_again_after_growing_pauses(body, define, pauses, status):
    body.script(*[Reply(status)] * 4, Reply(200, b"page"))
    assert await asked(define(body, first_pause=1.0), pauses) == b"page"
    for number, pause in enumerate(pauses):
        assert 2**number / 2 <= pause <= 2**number
    assert len(pauses) == 4


async def test_attempts_are_bounded(body, define, pauses):
    body.script(Reply(503))
    error = await refused(define(body, attempts=3), pauses)
    assert (error.reason, len(body.requests), len(pauses)) == ("body-error", 3, 2)


@pytest.mark.parametrize("status", [400, 404, 410, 451])
async def test_what_is_refused_stays_refused(body, define, pauses, status):
    body.script(Reply(status, b"planted-secret"))
    error = await refused(define(body), pauses)
    assert (error.reason, len(body.requests)) == ("refused", 1)


@pytest.mark.parametrize("status", [401, 403])
async def test_credentials_that_are_not_taken_are_not_offered_again(body, define, pauses, status):
    body.script(Reply(status))
    error = await refused(define(body), pauses)
    assert (error.reason, len(body.requests)) == ("credentials", 1)


async def test_the_body_says_how_long_to_wait(body, define, pauses):
    in_a_minute = formatdate(ManualClock().now() + 60, usegmt=True)
    body.script(
        Reply(429, headers={"Retry-After": "17"}),
        Reply(503, headers={"Retry-After": in_a_minute}),
        Reply(429, headers={"Retry-After": "soon"}),
        Reply(200, b"page"),
    )
    assert await asked(define(body), pauses) == b"page"
    assert pauses[:2] == [17.0, 60.0]
    assert pauses[2] < 1.0


async def test_a_pause_that_is_too_long_ends_the_round(body, define, pauses):
    body.script(Reply(429, headers={"Retry-After": "3600"}))
    error = await refused(define(body, longest_pause=60.0), pauses)
    assert (error.reason, pauses) == ("rate-limited", [])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_nothing_is_redirected(body, simulate, define, pauses, status):
    """Not even on the same host: our credentials go where the operator said."""
    other = simulate(Scripted)
    other.script(Reply(200, b"page"))
    body.script(Reply(status, headers={"Location": f"{other.url}/page"}))
    error = await refused(define(body), pauses)
    assert (error.reason, other.requests) == ("redirected", [])


@pytest.mark.parametrize("compressed", [False, True])
async def test_an_answer_is_read_only_as_far_as_it_may_go(body, define, pauses, compressed):
    content = bytes(10 << 20)
    headers = {"Content-Encoding": "gzip"} if compressed else {}
    body.script(Reply(200, gzip.compress(content) if compressed else content, headers))
    error = await refused(define(body, maximum_page_bytes=1 << 20), pauses)
    assert (error.reason, len(body.requests)) == ("too-large", 1)


async def test_compressed_answers_are_read(body, define, pauses):
    body.script(Reply(200, gzip.compress(b"page"), {"Content-Encoding": "gzip"}))
    assert await asked(define(body), pauses) == b"page"


async def test_what_cannot_be_decompressed_is_malformed(body, define, pauses):
    body.script(Reply(200, b"no gzip at all", {"Content-Encoding": "gzip"}))
    assert (await refused(define(body), pauses)).reason == "malformed"


async def test_an_answer_that_is_cut_short_is_none(body, define, pauses):
    body.script(Reply(200, b"page after page", cut=True), Reply(200, b"page after page"))
    assert await asked(define(body), pauses) == b"page after page"


async def test_an_answer_that_does_not_come_is_not_waited_for(body, define, pauses):
    release = threading.Event()
    body.script(Reply(200, b"page"))
    body.interfere = lambda _: Reply(release.wait(30) * 200)
    error = await refused(define(body, request_timeout=0.1, attempts=2), pauses)
    release.set()
    assert (error.reason, len(pauses)) == ("timed-out", 1)


async def test_what_must_not_be_done_twice_is_repeated_only_if_it_was_not_taken(body, define, pauses):
    body.script(Reply(429), Reply(500), Reply(200))
    error = await refused(define(body), pauses, method="POST", repeatable=False)
    assert (error.reason, len(body.requests)) == ("body-error", 2)


async def test_nobody_at_home_is_unreachable(body, define, pauses):
    feed = define(body, attempts=2)
    body.stop()
    error = await refused(feed, pauses)
    assert (error.reason, len(pauses)) == ("unreachable", 1)
    body.stop = lambda: None


async def test_a_server_that_cannot_prove_who_it_is_gets_nothing(body, define, pauses, tmp_path):
    """Nor is it asked again: it will not have another certificate in a second."""
    from tests.contract.client.test_tls import certificate, pem

    cert, key = pem(certificate("stranger"))
    (tmp_path / "stranger.pem").write_bytes(cert + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "stranger.pem")
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        feed = define(body, url=f"https://localhost:{server.server_address[1]}/base")
        error = await refused(feed, pauses)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert (error.reason, pauses) == ("unreachable", [])
    assert "certificate" in error.detail


async def test_links_lead_to_further_pages_of_the_same_body_and_nowhere_else(body, define):
    feed = define(body)
    async with FeedClient(feed, SystemClock()) as client:
        assert client.linked("/page?start=2", below="/page") == f"{body.url}/page?start=2"
        assert client.linked(f"{urlsplit(body.url).path}/page?start=2", below="/page") == f"{body.url}/page?start=2"
        assert client.linked("?start=2", below="/page") == f"{body.url}/page?start=2"
        assert client.linked(f"{body.url}/page?start=2", below="/page") == f"{body.url}/page?start=2"
        for elsewhere in (
            "https://elsewhere.example/base/page?start=2",
            "//elsewhere.example/base/page",
            body.url.replace("127.0.0.1", "localhost") + "/page",
            "/other?start=2",
            "/page/../other",
            "http://[::1/page",
            "file:///base/page",
        ):
            with pytest.raises(FeedError):
                client.linked(elsewhere, below="/page")
