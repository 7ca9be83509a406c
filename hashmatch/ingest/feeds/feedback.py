"""Feedback to bodies, each in its own form: what we think of an entry that they publish.

* **NCMEC** counts votes on one fingerprint of an entry. A negative vote names a reason of those that the body gives for
  the type of fingerprint; if there is only one, it need not be named.
* **StopNCII** takes a value and tags for a hash.
* **ThreatExchange** takes reactions to descriptors, which are what its members say of an indicator. An entry of ours is
  an indicator, so that each of its descriptors gets the reaction.
* **Tech Against Terrorism** documents no way to say anything.

A vote or a reaction can be given again without harm, so that one whose answer was lost is repeated.
"""

from __future__ import annotations

import enum
import re
from typing import NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree as ET

import msgspec

from hashmatch.ingest.feeds.bodies import BODIES
from hashmatch.ingest.feeds.body import decoded
from hashmatch.ingest.feeds.client import FeedClient
from hashmatch.ingest.feeds.credentials import StopNciiCredentials, read_credentials
from hashmatch.ingest.feeds.definition import FeedDefinition
from hashmatch.ingest.feeds.errors import FeedError, FeedFailure
from hashmatch.ingest.feeds.ncmec import ENTRIES, NAMESPACE, refuse_document_type
from hashmatch.ingest.feeds.stopncii import keys_for
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.clock import Clock
from hashmatch.model.errors import invalid_field
from hashmatch.model.prepared import prepared

MAXIMUM_TAGS = 20
# An indicator of more members than this gets the reaction at those that the body names first.
_MAXIMUM_DESCRIPTORS = 100

_NCMEC_TYPES = {
    Algorithm.MD5: "MD5",
    Algorithm.SHA1: "SHA1",
    Algorithm.PHOTODNA: "PDNA",
    Algorithm.PDQ: "PDQ",
}
_REASON_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
_TAG = re.compile(r"[\w.:-]{1,64}")
_FEEDBACK = "/SubmitFeedback"


class FeedbackOpinion(enum.IntEnum):
    """What we think of an entry; the numbers are those of the contract."""

    AFFIRMATIVE = 1
    NEGATIVE = 2


class Feedback(NamedTuple):
    """One piece of feedback.

    `source_key` is the body's key of the entry (NCMEC: MEMBER/ENTRY; ThreatExchange: the indicator's id). `algorithm`
    and `digest` say which of its hashes is meant; StopNCII knows entries by nothing else. `reason_id` is one of
    NCMEC's.
    """

    opinion: FeedbackOpinion
    source_key: str = ""
    algorithm: Algorithm | None = None
    digest: bytes = b""
    reason_id: str = ""
    tags: tuple[str, ...] = ()


class Reason(NamedTuple):
    """A reason for a negative vote, by the body's own id."""

    reason_id: str
    name: str


async def send_feedback(feed: FeedDefinition, clock: Clock, feedback: Feedback) -> None:
    """Tell a body. Raises `FeedError`, and `HashmatchError` INVALID_FIELD for what the body has no place for."""
    if len(feedback.tags) > MAXIMUM_TAGS or not all(_TAG.fullmatch(tag) for tag in feedback.tags):
        raise invalid_field("tags", f"at most {MAXIMUM_TAGS}, of 1 to 64 letters, digits and . : _ -")
    if feedback.tags and feed.kind != "stopncii":
        raise invalid_field("tags", f"{feed.kind} takes none")
    if feedback.reason_id and (feed.kind != "ncmec" or feedback.opinion is not FeedbackOpinion.NEGATIVE):
        raise invalid_field("reason_id", "only a negative vote to NCMEC has a reason")
    match feed.kind:
        case "ncmec":
            await _vote(feed, clock, feedback)
        case "stopncii":
            await _value(feed, clock, feedback)
        case "threatexchange":
            await _reaction(feed, clock, feedback)
        case _:
            raise invalid_field("feed", f"{feed.kind} documents no way to give feedback")


async def ncmec_reasons(client: FeedClient, fingerprint_type: str) -> tuple[Reason, ...]:
    """The reasons that the body has for a type of fingerprint. Raises `FeedError`."""
    answer = await client.get(client.url(f"/v2/feedback/{fingerprint_type}/reasons"))
    refuse_document_type(answer.content)
    try:
        root = ET.fromstring(answer.content)  # noqa: S314  without a document type there are no entities
    except ET.ParseError:
        raise FeedError(FeedFailure.MALFORMED, "the list of reasons is not XML") from None
    return tuple(
        Reason(element.get("guid", ""), element.get("name", ""))
        for element in root.iter(f"{{{NAMESPACE}}}reason")
        if _REASON_ID.fullmatch(element.get("guid", ""))
    )


async def _vote(feed: FeedDefinition, clock: Clock, feedback: Feedback) -> None:
    member, slash, entry = feedback.source_key.partition("/")
    if not (slash and member.isascii() and member.isdigit()) or entry in ("", ".", ".."):
        raise invalid_field("source_key", "NCMEC's entries are named MEMBER/ENTRY")
    kind = None if feedback.algorithm is None else _NCMEC_TYPES.get(feedback.algorithm)
    if kind is None:
        raise invalid_field("algorithm", f"NCMEC counts votes on {', '.join(_NCMEC_TYPES.values())}")
    if feedback.reason_id and not _REASON_ID.fullmatch(feedback.reason_id):
        raise invalid_field("reason_id", "1 to 64 characters of an id that the body gave")
    root = ET.Element("feedbackSubmission", xmlns=NAMESPACE)
    async with BODIES[feed.kind].connect(feed, clock) as client:
        if feedback.opinion is FeedbackOpinion.AFFIRMATIVE:
            ET.SubElement(root, "affirmative")
        else:
            reason_id = feedback.reason_id or await _only_reason(client, kind)
            reasons = ET.SubElement(ET.SubElement(root, "negative"), "reasonIds")
            ET.SubElement(reasons, "guid").text = reason_id
        await client.send(
            "PUT",
            client.url(f"{ENTRIES}/{member}/{quote(entry, safe='')}/{kind}/feedback"),
            content=ET.tostring(root, "utf-8", xml_declaration=True),
            headers={"Content-Type": "application/xml; charset=utf-8"},
        )


async def _only_reason(client: FeedClient, kind: str) -> str:
    reasons = await ncmec_reasons(client, kind)
    if len(reasons) != 1:
        known = "; ".join(f"{reason.reason_id} {reason.name}" for reason in reasons[:20])
        raise invalid_field("reason_id", f"name one of the body's reasons: {known}" if known else "the body has none")
    return reasons[0].reason_id


async def _value(feed: FeedDefinition, clock: Clock, feedback: Feedback) -> None:
    if feedback.algorithm is None or len(feedback.digest) != feedback.algorithm.digest_size:
        raise invalid_field("hash", "StopNCII knows entries by their hash")
    known = read_credentials(feed.credentials_file, StopNciiCredentials)
    if not known.feedback_key:
        raise FeedError(FeedFailure.CREDENTIALS, f"{feed.credentials_file} has no feedback_key")
    affirmed = feedback.opinion is FeedbackOpinion.AFFIRMATIVE
    stated = {
        "tags": list(feedback.tags),
        "feedbackValue": "Blocked" if affirmed else "NotBlocked",
        "hashValue": feedback.digest.hex(),
    }
    async with FeedClient(feed, clock, headers=keys_for(known.subscription_key, known.feedback_key)) as client:
        await client.send(
            "POST",
            client.url(_FEEDBACK),
            content=msgspec.json.encode({"count": 1, "hashFeedbacks": [stated]}),
            headers={"Content-Type": "application/json"},
        )


async def _reaction(feed: FeedDefinition, clock: Clock, feedback: Feedback) -> None:
    if not _is_number(feedback.source_key):
        raise invalid_field("source_key", "the number of the indicator")
    affirmed = feedback.opinion is FeedbackOpinion.AFFIRMATIVE
    async with BODIES[feed.kind].connect(feed, clock) as client:
        descriptors = await _descriptors(client, feedback.source_key)
        if not descriptors:
            raise invalid_field("source_key", "the indicator has no descriptor to react to")
        for descriptor in descriptors:
            await client.send(
                "POST",
                client.url(f"/{descriptor}"),
                data={"reactions": "HELPFUL" if affirmed else "DISAGREE_WITH_TAGS"},
            )


class _Descriptor(msgspec.Struct):
    id: str


@prepared
class _Descriptors(msgspec.Struct):
    data: list[_Descriptor]


async def _descriptors(client: FeedClient, indicator: str) -> list[str]:
    """The ids of what members say of an indicator, at most `_MAXIMUM_DESCRIPTORS` of them."""
    url = client.url(f"/{indicator}/descriptors")
    answer = await client.get(url, {"fields": "id", "limit": _MAXIMUM_DESCRIPTORS})
    found = [each.id for each in decoded("descriptors", answer.content, _Descriptors).data]
    if not all(map(_is_number, found)):
        raise FeedError(FeedFailure.MALFORMED, "an id of a descriptor is no number")
    return found[:_MAXIMUM_DESCRIPTORS]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 20
