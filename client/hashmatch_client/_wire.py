"""Between the contract's messages and the client's values.

What a newer server may say that this client does not know becomes UNRECOGNISED, and an unknown verdict becomes
NOT_DETERMINED with that cause: never a negative, never an exception that would hide the rest of the answer.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from hashmatch.v1 import common_pb2, list_service_pb2, match_service_pb2
from hashmatch_client._hashes import Algorithm, Hash, Item, Scope
from hashmatch_client._results import (
    Agreement,
    Cause,
    Classification,
    FeedbackCounts,
    Finding,
    Generation,
    HashAnswer,
    HashList,
    ItemAnswer,
    ListFreshness,
    ListNature,
    MatchKind,
    Opinion,
    SnapshotChange,
    SnapshotInfo,
    SnapshotUpdate,
    UndeterminedRange,
    UndeterminedReason,
    Verdict,
    Vetting,
    VideoShares,
)

E = TypeVar("E", bound=enum.Enum)


def _numbers(of: type[E], members: Iterable[tuple[str, int]], prefix: str) -> dict[int, E]:
    """The members of `of` by the numbers that the contract gives to the same names."""
    by_name = of.__members__
    numbers = {name.removeprefix(prefix): number for name, number in members}
    return {number: by_name[name] for name, number in numbers.items() if name in by_name}


_ALGORITHMS = _numbers(Algorithm, common_pb2.Algorithm.items(), "ALGORITHM_")
_VERDICTS = _numbers(Verdict, common_pb2.Verdict.items(), "VERDICT_")
_REASONS = _numbers(UndeterminedReason, common_pb2.UndeterminedReason.items(), "UNDETERMINED_REASON_")
_AGREEMENTS = {0: Agreement.NONE} | _numbers(Agreement, common_pb2.Agreement.items(), "AGREEMENT_")
_NATURES = _numbers(ListNature, common_pb2.ListNature.items(), "LIST_NATURE_")
_KINDS = _numbers(MatchKind, common_pb2.MatchKind.items(), "MATCH_KIND_")

_ALGORITHM_NUMBERS = {
    algorithm: common_pb2.Algorithm.Value(name)
    for name, number in common_pb2.Algorithm.items()
    if (algorithm := _ALGORITHMS.get(number)) is not None
}

_UNRECOGNISED = Cause(UndeterminedReason.UNRECOGNISED)


# What is asked.


def algorithm_number(algorithm: Algorithm) -> common_pb2.Algorithm.ValueType:
    """The contract's number of an algorithm that this client can ask about."""
    return _ALGORITHM_NUMBERS[algorithm]


def hash_message(value: Hash) -> common_pb2.Hash:
    """The message for one hash."""
    return common_pb2.Hash(
        algorithm=algorithm_number(value.algorithm),
        value=value.value,
        quality=value.quality,
        alternates=value.alternates,
        frames=[common_pb2.VideoFrame(pdq=frame.pdq, quality=frame.quality) for frame in value.frames],
    )


def scope_message(scope: Scope) -> match_service_pb2.MatchScope:
    """The message for a scope."""
    return match_service_pb2.MatchScope(
        list_ids=scope.lists,
        min_sources=scope.min_sources,
        newer_than_epoch=scope.newer_than_epoch,
        natures=[common_pb2.ListNature.Value(f"LIST_NATURE_{nature.name}") for nature in scope.natures],
        max_distance=scope.max_distance,
        purpose=scope.purpose,
    )


def batch_request(
    items: Iterable[Item], scope: Scope, *, want_receipt: bool = False
) -> match_service_pb2.BatchMatchRequest:
    """The request for a batch of items."""
    messages = [
        match_service_pb2.MatchItem(reference=item.reference, hashes=map(hash_message, item.hashes)) for item in items
    ]
    return match_service_pb2.BatchMatchRequest(items=messages, scope=scope_message(scope), want_receipt=want_receipt)


# What is answered.


def _moment(message: Message, name: str) -> datetime | None:
    if not message.HasField(name):
        return None
    stamp: Timestamp = getattr(message, name)
    return stamp.ToDatetime(tzinfo=UTC)


def _span(duration: Duration) -> timedelta:
    return duration.ToTimedelta()


def causes(messages: Iterable[common_pb2.UndeterminedCause]) -> tuple[Cause, ...]:
    """The causes in the order given."""
    return tuple(
        Cause(_REASONS.get(message.reason, UndeterminedReason.UNRECOGNISED), message.list_id) for message in messages
    )


def _vetting(message: common_pb2.Vetting) -> Vetting:
    return Vetting(message.approvals, message.approvals_required, _moment(message, "published_at"))


def _classification(message: common_pb2.Classification) -> Classification:
    return Classification(
        mapped=message.status == common_pb2.CLASSIFICATION_STATUS_MAPPED,
        mapping_version=message.mapping_version,
        depicted=tuple(message.depicted),
        age=message.age,
        act=message.act,
        portrayal=message.portrayal,
        baseline=message.baseline,
    )


def natures(numbers: Iterable[int]) -> tuple[ListNature, ...]:
    """The natures of these numbers."""
    return tuple(_NATURES.get(number, ListNature.UNRECOGNISED) for number in numbers)


def opinion(message: common_pb2.Opinion) -> Opinion:
    """One opinion."""
    return Opinion(
        body=message.body,
        list_id=message.list_id,
        generation=message.generation,
        nature=_NATURES.get(message.nature, ListNature.UNRECOGNISED),
        label=message.label,
        scheme=message.scheme,
        jurisdiction=message.jurisdiction,
        flags=tuple(message.flags),
        updated_on=message.updated_on,
        source_key=message.source_key,
        since_epoch=message.since_epoch,
        vetting=_vetting(message.vetting),
        stale=message.stale,
        kind=_KINDS.get(message.kind, MatchKind.UNRECOGNISED),
        distance=message.distance if message.HasField("distance") else None,
        classification=_classification(message.classification),
        video=_video_shares(message.video) if message.HasField("video") else None,
        feedback=(
            FeedbackCounts(message.feedback.confirmed, message.feedback.disputed)
            if message.HasField("feedback")
            else None
        ),
    )


def _video_shares(message: common_pb2.VideoShares) -> VideoShares:
    return VideoShares(
        message.asked_frames, message.asked_frames_matched, message.listed_frames, message.listed_frames_matched
    )


def hash_answer(asked: Hash, message: match_service_pb2.HashResult) -> HashAnswer:
    """The answer for a hash. An unknown verdict is NOT_DETERMINED, and says so among its causes."""
    verdict = _VERDICTS.get(message.verdict)
    stated = causes(message.causes)
    return HashAnswer(
        algorithm=asked.algorithm,
        verdict=Verdict.NOT_DETERMINED if verdict is None else verdict,
        causes=stated if verdict is not None else (*stated, _UNRECOGNISED),
        opinions=tuple(map(opinion, message.opinions)),
        suppressed=message.suppressed,
        below_min_sources=message.below_min_sources,
        natures=natures(message.natures),
    )


def item_answer(
    asked: Item, message: match_service_pb2.ItemResult, snapshot: SnapshotInfo, request_id: str
) -> ItemAnswer:
    """The answer for an item whose result has as many hashes as were asked about."""
    verdict = _VERDICTS.get(message.verdict)
    hashes = tuple(map(hash_answer, asked.hashes, message.hashes))
    stated = dict.fromkeys(cause for answer in hashes for cause in answer.causes)
    return ItemAnswer(
        reference=message.reference,
        verdict=Verdict.NOT_DETERMINED if verdict is None else verdict,
        agreement=agreement(message.agreement),
        causes=tuple(stated if verdict is not None else stated | {_UNRECOGNISED: None}),
        hashes=hashes,
        snapshot=snapshot,
        request_id=request_id,
        natures=natures(message.natures),
    )


def agreement(number: int) -> Agreement:
    """The agreement of that number."""
    return _AGREEMENTS.get(number, Agreement.UNRECOGNISED)


def finding(message: match_service_pb2.Finding) -> Finding:
    """One finding of a bulk batch."""
    return Finding(
        agreement(message.agreement),
        tuple(map(opinion, message.opinions)),
        causes(message.causes),
        natures(message.natures),
    )


def undetermined_range(message: match_service_pb2.UndeterminedRange) -> UndeterminedRange:
    """One run of undetermined hashes."""
    return UndeterminedRange(message.first, message.count, causes(message.causes))


def _freshness(message: common_pb2.ListFreshness) -> ListFreshness:
    return ListFreshness(
        list_id=message.list_id,
        generation=message.generation,
        nature=_NATURES.get(message.nature, ListNature.UNRECOGNISED),
        as_of=_moment(message, "as_of"),
        age=_span(message.age),
        stale=message.stale,
    )


def snapshot_info(message: common_pb2.SnapshotInfo) -> SnapshotInfo:
    """What an answer was given from; all zeros if the server did not say."""
    return SnapshotInfo(
        epoch=message.epoch,
        published_at=_moment(message, "published_at"),
        confirmed_at=_moment(message, "confirmed_at"),
        answered_at=_moment(message, "answered_at"),
        lists=tuple(map(_freshness, message.lists)),
        approvals_required=message.approvals_required,
        approvals_signed=message.approvals_signed,
    )


def _change(message: match_service_pb2.SnapshotChange) -> SnapshotChange:
    return SnapshotChange(
        epoch=message.epoch,
        published_at=_moment(message, "published_at"),
        list_id=message.list_id,
        act=message.act,
        generation=message.generation,
        added=message.added,
        removed=message.removed,
    )


def snapshot_update(
    message: match_service_pb2.GetSnapshotResponse | match_service_pb2.WatchSnapshotsResponse, request_id: str
) -> SnapshotUpdate:
    """What is served and what changed."""
    return SnapshotUpdate(
        snapshot=snapshot_info(message.snapshot),
        changes=tuple(map(_change, message.changes)),
        changes_complete=message.changes_complete,
        request_id=request_id,
    )


def _generation(message: list_service_pb2.Generation) -> Generation:
    counts: dict[Algorithm, int] = {}
    for count in message.counts:
        key = _ALGORITHMS.get(count.algorithm, Algorithm.UNRECOGNISED)
        counts[key] = counts.get(key, 0) + count.hashes
    return Generation(
        number=message.number,
        epoch=message.epoch,
        published_at=_moment(message, "published_at"),
        as_of=_moment(message, "as_of"),
        counts=counts,
        vetting=_vetting(message.vetting),
        delivery_sha256=message.delivery_sha256,
    )


def hash_list(message: list_service_pb2.HashList) -> HashList:
    """One list."""
    definition = message.definition
    return HashList(
        list_id=definition.list_id,
        body=definition.body,
        title=definition.title,
        nature=_NATURES.get(definition.nature, ListNature.UNRECOGNISED),
        scheme=definition.scheme,
        jurisdiction=definition.jurisdiction,
        max_age=_span(definition.max_age) if definition.HasField("max_age") else None,
        generation=_generation(message.generation) if message.HasField("generation") else None,
        freshness=_freshness(message.freshness) if message.HasField("freshness") else None,
        maximum_distance=definition.maximum_distance if definition.HasField("maximum_distance") else None,
        minimum_asked_share=definition.minimum_asked_share,
        minimum_listed_share=definition.minimum_listed_share,
    )
