"""Feedback goes out in each body's own form, to the letter."""

from __future__ import annotations

import json

import pytest

from hashmatch.formats.delivery import ParserOptions
from hashmatch.formats.registry import open_parser
from hashmatch.ingest.feeds.errors import FeedError
from hashmatch.ingest.feeds.feedback import Feedback, FeedbackOpinion, send_feedback
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.clock import SystemClock
from hashmatch.model.errors import HashmatchError
from tests.support.simulators.body import Entry, Reply
from tests.support.simulators.ncmec import Ncmec
from tests.support.simulators.stopncii import StopNcii
from tests.support.simulators.tech_against_terrorism import TechAgainstTerrorism
from tests.support.simulators.threatexchange import ThreatExchange

RIGHT, WRONG = FeedbackOpinion.AFFIRMATIVE, FeedbackOpinion.NEGATIVE
XML = "<?xml version='1.0' encoding='utf-8'?>\n<feedbackSubmission xmlns=\"https://hashsharing.ncmec.org/hashsharing/v2\">"


async def test_an_affirmative_vote_to_ncmec(simulate, define):
    body = simulate(Ncmec)
    await send_feedback(define(body), SystemClock(), Feedback(RIGHT, "42/an entry", Algorithm.PDQ))
    (request,) = body.requests
    assert (request.method, request.path) == ("PUT", "/hashsharing/v2/entries/42/an%20entry/PDQ/feedback")
    assert request.headers["content-type"] == "application/xml; charset=utf-8"
    assert request.body.decode() == f"{XML}<affirmative /></feedbackSubmission>"


async def test_a_negative_vote_to_ncmec_has_a_reason(simulate, define):
    body = simulate(Ncmec)
    await send_feedback(define(body), SystemClock(), Feedback(WRONG, "42/7", Algorithm.MD5, reason_id="abc-1"))
    (request,) = body.requests
    assert request.path == "/hashsharing/v2/entries/42/7/MD5/feedback"
    reason = "<negative><reasonIds><guid>abc-1</guid></reasonIds></negative>"
    assert request.body.decode() == f"{XML}{reason}</feedbackSubmission>"


async def test_the_only_reason_that_ncmec_has_need_not_be_named(simulate, define):
    body = simulate(Ncmec)
    await send_feedback(define(body), SystemClock(), Feedback(WRONG, "42/7", Algorithm.SHA1))
    asked, vote = body.requests
    assert (asked.method, asked.path) == ("GET", "/hashsharing/v2/feedback/SHA1/reasons")
    assert b"<guid>0123-4567</guid>" in vote.body


async def test_of_several_reasons_one_must_be_named(simulate, define):
    body = simulate(Ncmec, reasons=(("a-1", "One"), ("b-2", "Another")))
    with pytest.raises(HashmatchError, match="a-1 One; b-2 Another"):
        await send_feedback(define(body), SystemClock(), Feedback(WRONG, "42/7", Algorithm.PHOTODNA))
    assert [request.method for request in body.requests] == ["GET"]


REASONS_THAT_ARE_NONE = {
    "document type": b"<!DOCTYPE x []><availableFeedbackReasons/>",
    "no encoding": b'<?xml version="1.0" encoding="x-nothing"?><availableFeedbackReasons/>',
    "wide encoding": b'<?xml version="1.0" encoding="gbk"?><availableFeedbackReasons/>',
    "deep": b"<a>" * 65 + b"</a>" * 65,
    "no XML": b"\xff",
}


@pytest.mark.parametrize("content", REASONS_THAT_ARE_NONE.values(), ids=REASONS_THAT_ARE_NONE)
async def test_reasons_that_cannot_be_read_are_malformed(content, simulate, define):
    body = simulate(Ncmec)
    body.interfere = lambda _: Reply(200, content)
    with pytest.raises(FeedError) as caught:
        await send_feedback(define(body), SystemClock(), Feedback(WRONG, "42/7", Algorithm.SHA1))
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize("content", [b'{"data":[{"id":"\xff"}]}', b'{"data":' + b"[" * 100_000, b"[]"])
async def test_descriptors_that_cannot_be_read_are_malformed(content, simulate, define):
    body = simulate(ThreatExchange)
    body.interfere = lambda _: Reply(200, content)
    with pytest.raises(FeedError) as caught:
        await send_feedback(define(body), SystemClock(), Feedback(WRONG, "9001"))
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize(("opinion", "value"), [(RIGHT, "Blocked"), (WRONG, "NotBlocked")])
async def test_a_value_and_tags_to_stopncii(simulate, define, opinion, value):
    body = simulate(StopNcii)
    digest = bytes(range(32))
    feedback = Feedback(opinion, algorithm=Algorithm.PDQ, digest=digest, tags=("reviewed",))
    await send_feedback(define(body), SystemClock(), feedback)
    (request,) = body.requests
    assert (request.method, request.path) == ("POST", "/v1/SubmitFeedback")
    assert request.headers["x-functions-key"] == "feedback-key"
    stated = {"tags": ["reviewed"], "feedbackValue": value, "hashValue": digest.hex()}
    assert json.loads(request.body) == {"count": 1, "hashFeedbacks": [stated]}


def key_in_a_delivery(body: ThreatExchange, entry: Entry) -> str:
    """The key that an entry has in our lists, and so in our answers."""
    parser = open_parser("threatexchange", ParserOptions())
    delivery = json.dumps({"data": [body.update(entry)]}).encode()
    (keyed,) = (keyed for part in (parser.feed(delivery), parser.finish()) for chunk in part for keyed in chunk.keyed)
    return keyed.key


@pytest.mark.parametrize(("opinion", "reaction"), [(RIGHT, b"HELPFUL"), (WRONG, b"DISAGREE_WITH_TAGS")])
async def test_a_reaction_to_threatexchange(simulate, define, opinion, reaction):
    """An entry's key is that of the indicator; what takes reactions is what its members say of it."""
    body = simulate(ThreatExchange)
    body.publish(1)
    (entry,) = body.entries.values()
    key = key_in_a_delivery(body, entry)
    await send_feedback(define(body), SystemClock(), Feedback(opinion, key))
    asked, request = body.requests
    assert (asked.method, asked.path, asked.query["fields"]) == ("GET", f"/v21.0/{key}/descriptors", "id")
    assert (request.method, request.path, request.query) == ("POST", f"/v21.0/{5_000 + entry.number}", {})
    assert request.body == b"reactions=" + reaction


async def test_an_indicator_without_descriptors_takes_no_reaction(simulate, define):
    body = simulate(ThreatExchange)
    with pytest.raises(HashmatchError) as caught:
        await send_feedback(define(body), SystemClock(), Feedback(WRONG, "9999"))
    assert caught.value.fields.keys() == {"source_key"}
    assert [request.method for request in body.requests] == ["GET"]


@pytest.mark.parametrize(
    ("kind", "feedback", "field"),
    [
        (Ncmec, Feedback(RIGHT, "42", Algorithm.MD5), "source_key"),
        (Ncmec, Feedback(RIGHT, "42/..", Algorithm.MD5), "source_key"),
        (Ncmec, Feedback(RIGHT, "42/7"), "algorithm"),
        (Ncmec, Feedback(RIGHT, "42/7", Algorithm.SHA512), "algorithm"),
        (Ncmec, Feedback(RIGHT, "42/7", Algorithm.MD5, reason_id="a"), "reason_id"),
        (Ncmec, Feedback(WRONG, "42/7", Algorithm.MD5, reason_id="<a>"), "reason_id"),
        (Ncmec, Feedback(RIGHT, "42/7", Algorithm.MD5, tags=("a",)), "tags"),
        (StopNcii, Feedback(RIGHT, "7"), "hash"),
        (StopNcii, Feedback(RIGHT, "7", Algorithm.MD5, b"short"), "hash"),
        (StopNcii, Feedback(RIGHT, "7", Algorithm.MD5, bytes(16), tags=("two words",)), "tags"),
        (ThreatExchange, Feedback(RIGHT, "../me"), "source_key"),
        (TechAgainstTerrorism, Feedback(RIGHT, "7"), "feed"),
    ],
)
async def test_what_a_body_has_no_place_for_is_not_sent(simulate, define, kind, feedback, field):
    body = simulate(kind)
    with pytest.raises(HashmatchError) as caught:
        await send_feedback(define(body), SystemClock(), feedback)
    assert list(caught.value.fields) == [field]
    assert not body.requests


async def test_without_a_key_for_it_stopncii_is_told_nothing(simulate, define, monkeypatch):
    body = simulate(StopNcii)
    monkeypatch.setattr(type(body), "credentials", 'subscription_key = "a"\nfetch_key = "b"\n')
    with pytest.raises(FeedError, match="no feedback_key"):
        await send_feedback(define(body), SystemClock(), Feedback(RIGHT, "", Algorithm.MD5, bytes(range(16))))
    assert not body.requests
