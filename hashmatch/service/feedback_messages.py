"""Feedback as messages: what callers say, and how operators are told of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from hashmatch.matching.items import AskedHash
from hashmatch.model.errors import ErrorReason, HashmatchError, invalid_field
from hashmatch.model.feedback import MAXIMUM_NOTE, DisputeReason, Feedback, Judgement, value_of
from hashmatch.model.lists import check_list_id
from hashmatch.model.opinions import Opinion
from hashmatch.service import messages
from hashmatch.v1 import common_pb2, feedback_admin_service_pb2, match_service_pb2

MAXIMUM_FEEDBACK_OF_REQUEST = 100
_MAXIMUM_SOURCE_KEYS = 10
# What is as long as the shortest digest and written in its digits has no place in a note.
_DIGITS = re.compile(r"[0-9a-fA-F]{32}")


class StatedFeedback(NamedTuple):
    """What a caller says of one hash in one list."""

    asked: AskedHash
    list_id: str
    judgement: Judgement
    reason: DisputeReason
    note: str

    def of(self, client: str, opinions: Sequence[Opinion], now: float) -> Feedback:
        """What is kept of it: who says it, of what the list says."""
        said = [opinion for opinion in opinions if opinion.list_id == self.list_id]
        keys = dict.fromkeys(opinion.source_key for opinion in said if opinion.source_key)
        return Feedback(
            list_id=self.list_id,
            algorithm=self.asked.algorithm,
            value=value_of(self.asked.value, self.asked.frames),
            client=client,
            judgement=self.judgement,
            reason=self.reason,
            note=self.note,
            said_at=now,
            generation=max((opinion.generation for opinion in said), default=0),
            source_keys=tuple(keys)[:_MAXIMUM_SOURCE_KEYS],
            near=bool(said) and all(opinion.near for opinion in said),
        )


def read_feedback(stated: Sequence[match_service_pb2.HitFeedback]) -> list[StatedFeedback]:
    """What a request says. Raises `HashmatchError` EMPTY_BATCH, BATCH_TOO_LARGE and INVALID_FIELD."""
    if not stated:
        raise HashmatchError(ErrorReason.EMPTY_BATCH, "there is no feedback", fields={"feedback": "at least one"})
    if len(stated) > MAXIMUM_FEEDBACK_OF_REQUEST:
        problem = f"at most {MAXIMUM_FEEDBACK_OF_REQUEST}"
        raise HashmatchError(ErrorReason.BATCH_TOO_LARGE, f"feedback: {problem}", fields={"feedback": problem})
    return [_read(f"feedback[{number}]", each) for number, each in enumerate(stated)]


def _read(place: str, stated: match_service_pb2.HitFeedback) -> StatedFeedback:
    check_list_id(stated.list_id)
    try:
        judgement = Judgement(stated.judgement)
    except ValueError:
        raise invalid_field(f"{place}.judgement", "unspecified or unknown") from None
    try:
        reason = DisputeReason(stated.reason)
    except ValueError:
        raise invalid_field(f"{place}.reason", "unknown") from None
    if (judgement is Judgement.DISPUTED) != (reason is not DisputeReason.NONE):
        raise invalid_field(f"{place}.reason", "needed for a dispute, and for nothing else")
    if len(stated.note) > MAXIMUM_NOTE:
        raise invalid_field(f"{place}.note", f"at most {MAXIMUM_NOTE} characters")
    if _DIGITS.search(stated.note):
        raise invalid_field(f"{place}.note", "has what looks like a hash")
    if reason is DisputeReason.OTHER and not stated.note.strip():
        raise invalid_field(f"{place}.note", "needed where the reason is another one")
    return StatedFeedback(messages.asked_hash(stated.hash), stated.list_id, judgement, reason, stated.note)


def recorded(feedback_id: str, said: Feedback) -> feedback_admin_service_pb2.RecordedFeedback:
    """What an operator is told of it."""
    return feedback_admin_service_pb2.RecordedFeedback(
        feedback_id=feedback_id,
        list_id=said.list_id,
        algorithm=common_pb2.Algorithm.ValueType(said.algorithm),
        source_keys=said.source_keys,
        near=said.near,
        judgement=match_service_pb2.FeedbackJudgement.ValueType(said.judgement),
        reason=match_service_pb2.DisputeReason.ValueType(said.reason),
        note=said.note,
        client=said.client,
        said_at=messages.timestamp(said.said_at),
        generation=said.generation,
    )
