"""Feedback: what the caller found when it looked into a match."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from hashmatch.v1 import match_service_pb2
from hashmatch_client._hashes import Hash
from hashmatch_client._wire import hash_message

# The most that the server takes in one call.
MAXIMUM_OF_CALL = 100


class Judgement(enum.Enum):
    """What a caller says of a match."""

    CONFIRMED = "CONFIRMED"
    DISPUTED = "DISPUTED"
    WITHDRAWN = "WITHDRAWN"


class DisputeReason(enum.Enum):
    """Why a match is disputed."""

    OTHER_CONTENT = "OTHER_CONTENT"
    LAWFUL = "LAWFUL"
    WRONG_LABEL = "WRONG_LABEL"
    OTHER = "OTHER"


class FeedbackOutcome(enum.Enum):
    """What came of feedback: kept, said before, no match in that list, or not to be determined now."""

    RECORDED = "RECORDED"
    UNCHANGED = "UNCHANGED"
    NO_MATCH = "NO_MATCH"
    NOT_DETERMINED = "NOT_DETERMINED"
    UNRECOGNISED = "UNRECOGNISED"


@dataclass(frozen=True, slots=True)
class HitFeedback:
    """What the caller says of one hash in one list.

    A dispute has a reason. `note` is for the operator, and holds none of the hash, the content or a name.
    """

    hash: Hash
    list_id: str
    judgement: Judgement
    reason: DisputeReason | None = None
    note: str = ""


def requests(feedback: Iterable[HitFeedback], purpose: str) -> Iterator[match_service_pb2.ReportFeedbackRequest]:
    """The calls that it takes."""
    stated = map(_message, feedback)
    while part := list(islice(stated, MAXIMUM_OF_CALL)):
        yield match_service_pb2.ReportFeedbackRequest(feedback=part, purpose=purpose)


def outcomes(response: match_service_pb2.ReportFeedbackResponse) -> list[FeedbackOutcome]:
    """What came of it, in order."""
    return [_OUTCOMES.get(outcome, FeedbackOutcome.UNRECOGNISED) for outcome in response.outcomes]


def _message(stated: HitFeedback) -> match_service_pb2.HitFeedback:
    reason = "UNSPECIFIED" if stated.reason is None else stated.reason.name
    return match_service_pb2.HitFeedback(
        hash=hash_message(stated.hash),
        list_id=stated.list_id,
        judgement=match_service_pb2.FeedbackJudgement.Value(f"FEEDBACK_JUDGEMENT_{stated.judgement.name}"),
        reason=match_service_pb2.DisputeReason.Value(f"DISPUTE_REASON_{reason}"),
        note=stated.note,
    )


_OUTCOMES = {
    match_service_pb2.FeedbackOutcome.Value(f"FEEDBACK_OUTCOME_{outcome.name}"): outcome
    for outcome in FeedbackOutcome
    if outcome is not FeedbackOutcome.UNRECOGNISED
}
