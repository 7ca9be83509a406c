"""Between the contract's messages and the model: translation, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from hashmatch.index.refresher import Served
from hashmatch.index.snapshot import LoadedList
from hashmatch.matching.findings import Finding
from hashmatch.matching.items import AskedHash
from hashmatch.matching.scope import Scope
from hashmatch.matching.visibility import Visibility
from hashmatch.model.access import UNRESTRICTED, Permission
from hashmatch.model.algorithms import EXACT_ALGORITHMS
from hashmatch.model.classification import Classification, ClassificationMap
from hashmatch.model.errors import invalid_field
from hashmatch.model.lists import ListNature
from hashmatch.model.opinions import Opinion, Statement
from hashmatch.model.verdicts import Cause
from hashmatch.model.videos import Frame, SharedFrames
from hashmatch.store.manifest import Generation, HistoryRecord
from hashmatch.v1 import common_pb2, list_service_pb2, match_service_pb2

_NANOS = 1_000_000_000


def timestamp(seconds: float) -> Timestamp:
    """Seconds since 1970 as a message."""
    whole, rest = divmod(round(seconds * 1_000_000), 1_000_000)
    return Timestamp(seconds=whole, nanos=rest * 1_000)


def duration(seconds: float) -> Duration:
    """Seconds, not negative, as a message."""
    whole, rest = divmod(round(seconds * 1_000_000), 1_000_000)
    return Duration(seconds=whole, nanos=rest * 1_000)


def seconds_of(message: Timestamp | Duration) -> float:
    """A timestamp or duration in seconds."""
    return message.seconds + message.nanos / _NANOS


def scope_of(message: match_service_pb2.MatchScope) -> Scope:
    """The scope that a request states. Raises `HashmatchError` INVALID_FIELD."""
    natures = tuple(map(_nature, sorted(set(message.natures)))) if message.natures else ()
    distance = message.max_distance if message.HasField("max_distance") else None
    scope = Scope(tuple(message.list_ids), message.min_sources or 1, message.newer_than_epoch, natures, distance)
    scope.validate()
    return scope


_EXACT = frozenset(map(int, EXACT_ALGORITHMS))


def asked_hash(message: common_pb2.Hash) -> AskedHash:
    """A hash that a caller states, well-formed or not."""
    frames = [Frame(frame.pdq, frame.quality) for frame in message.frames] if message.frames else ()
    if int(message.algorithm) in _EXACT:
        return AskedHash(message.algorithm, message.value, None, message.alternates, frames)
    quality = message.quality if message.HasField("quality") else None
    return AskedHash(message.algorithm, message.value, quality, message.alternates, frames)


def _nature(number: int) -> ListNature:
    try:
        return ListNature(number)
    except ValueError:
        raise invalid_field("scope.natures", "unspecified or unknown") from None


def natures(found: Iterable[ListNature]) -> list[common_pb2.ListNature.ValueType]:
    """Natures as the contract's numbers."""
    return [common_pb2.ListNature.ValueType(nature) for nature in found]


def causes(found: Iterable[Cause]) -> list[common_pb2.UndeterminedCause]:
    """Causes as messages."""
    return [
        common_pb2.UndeterminedCause(reason=common_pb2.UndeterminedReason.ValueType(each.reason), list_id=each.list_id)
        for each in found
    ]


def vetting(generation: Generation) -> common_pb2.Vetting:
    """How a generation was vetted."""
    return common_pb2.Vetting(
        approvals=generation.approvals,
        approvals_required=generation.approvals_required,
        published_at=timestamp(generation.published_at),
    )


def classifications(known: ClassificationMap) -> dict[Classification, common_pb2.Classification]:
    """Every classification that a map may give, as the message that all its opinions share."""
    return {each: _classification(each, known.version) for each in known.classifications}


def _classification(found: Classification, version: int) -> common_pb2.Classification:
    if not found.mapped:
        return common_pb2.Classification(status=common_pb2.CLASSIFICATION_STATUS_UNMAPPED, mapping_version=version)
    return common_pb2.Classification(
        status=common_pb2.CLASSIFICATION_STATUS_MAPPED,
        mapping_version=version,
        depicted=found.depicted,
        age=found.age,
        act=found.act,
        portrayal=found.portrayal,
        baseline=found.baseline.value,
    )


def opinion(
    found: Opinion, loaded: LoadedList, *, stale: bool, classification: common_pb2.Classification | None
) -> common_pb2.Opinion:
    """An opinion of a list, which is or is not too old to give negatives, with what its label is known to say.

    Without a classification it is a brief one: who lists the hash, and neither what the body calls it nor its key.
    """
    definition, statement = loaded.state.definition, found.statement
    if classification is None:
        statement, found = _brief(statement), found._replace(source_key="")
    return common_pb2.Opinion(
        body=definition.body,
        list_id=found.list_id,
        generation=found.generation,
        nature=common_pb2.ListNature.ValueType(definition.nature),
        label=statement.label,
        scheme=statement.scheme,
        jurisdiction=statement.jurisdiction,
        flags=statement.flags,
        updated_on=statement.updated_on,
        source_key=found.source_key,
        since_epoch=found.since_epoch,
        vetting=vetting(loaded.generation),
        stale=stale,
        kind=common_pb2.MATCH_KIND_NEAR if found.near else common_pb2.MATCH_KIND_EXACT,
        distance=found.distance,
        classification=classification,
        video=None if found.video is None else _video_shares(found.video),
        feedback=None if found.feedback is None else common_pb2.FeedbackCounts(**found.feedback._asdict()),
    )


def _video_shares(shared: SharedFrames) -> common_pb2.VideoShares:
    return common_pb2.VideoShares(
        asked_frames=shared.asked,
        asked_frames_matched=shared.asked_matched,
        listed_frames=shared.listed,
        listed_frames_matched=shared.listed_matched,
    )


def _brief(statement: Statement) -> Statement:
    return Statement(jurisdiction=statement.jurisdiction)


def hash_result(
    algorithm: int, finding: Finding, opinions: Callable[[Iterable[Opinion]], list[common_pb2.Opinion]]
) -> match_service_pb2.HashResult:
    """The answer for one hash of an item."""
    result = match_service_pb2.HashResult(
        algorithm=common_pb2.Algorithm.ValueType(algorithm),
        verdict=common_pb2.Verdict.ValueType(finding.verdict),
        suppressed=finding.suppressed,
        below_min_sources=finding.below_min_sources,
        natures=natures(finding.natures) if finding.natures else None,
    )
    # Most answers have neither.
    if finding.causes:
        result.causes.extend(causes(finding.causes))
    if finding.opinions:
        result.opinions.extend(opinions(finding.opinions))
    return result


def freshness(loaded: LoadedList, now: float) -> common_pb2.ListFreshness:
    """How fresh a list is."""
    return common_pb2.ListFreshness(
        list_id=loaded.list_id,
        generation=loaded.generation.number,
        as_of=timestamp(loaded.generation.as_of),
        age=duration(loaded.age(now)),
        stale=loaded.is_stale(now),
        nature=common_pb2.ListNature.ValueType(loaded.state.definition.nature),
    )


def snapshot_info(served: Served, seen: Visibility, lists: Iterable[LoadedList], now: float) -> common_pb2.SnapshotInfo:
    """What an answer was given from, as far as the caller may see it."""
    return common_pb2.SnapshotInfo(
        epoch=seen.epoch,
        published_at=timestamp(seen.published_at),
        confirmed_at=timestamp(served.confirmed_at),
        answered_at=timestamp(now),
        lists=[freshness(each, now) for each in lists],
        approvals_required=served.snapshot.manifest.approvals_required,
        approvals_signed=served.snapshot.manifest.approvals_signed,
    )


def changes_since(seen: Visibility, epoch: int) -> tuple[list[match_service_pb2.SnapshotChange], bool]:
    """What was published after `epoch`, oldest first, and whether the record reaches back that far."""
    if epoch >= seen.epoch:
        return [], True
    history = seen.snapshot.manifest.history
    # Epochs begin at 1; a record of the epoch after the asked one, or of an older one, proves that none is missing. Who
    # could see less before has no record of what came into sight.
    reaches = (not history or history[0].epoch <= epoch + 1) and seen.permission.since_epoch <= epoch
    return [_change(record) for record in seen.history() if record.epoch > epoch], reaches


def _change(record: HistoryRecord) -> match_service_pb2.SnapshotChange:
    return match_service_pb2.SnapshotChange(
        epoch=record.epoch,
        published_at=timestamp(record.at),
        list_id=record.list_id,
        act=record.act,
        generation=record.generation,
        added=record.added,
        removed=record.removed,
    )


def generation(found: Generation, permission: Permission = UNRESTRICTED) -> list_service_pb2.Generation:
    """A published state of a list, without the counts of algorithms that the caller may not see."""
    return list_service_pb2.Generation(
        number=found.number,
        epoch=found.epoch,
        published_at=timestamp(found.published_at),
        as_of=timestamp(found.as_of),
        counts=algorithm_counts(
            {algorithm: count for algorithm, count in found.counts.items() if permission.sees_algorithm(algorithm)}
        ),
        vetting=vetting(found),
        delivery_sha256=found.delivery_sha256,
    )


def algorithm_counts(counts: Mapping[int, int]) -> list[list_service_pb2.AlgorithmCount]:
    """Hashes by algorithm."""
    return [
        list_service_pb2.AlgorithmCount(algorithm=common_pb2.Algorithm.ValueType(algorithm), hashes=count)
        for algorithm, count in sorted(counts.items())
    ]
