"""The lists of the fake server, and what they say of a hash."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from hashmatch.v1 import common_pb2, list_service_pb2, match_service_pb2
from hashmatch_client._hashes import Algorithm, Hash
from hashmatch_client._results import ListNature

_EXACT: dict[int, int] = {
    common_pb2.ALGORITHM_MD5: 16,
    common_pb2.ALGORITHM_SHA1: 20,
    common_pb2.ALGORITHM_SHA256: 32,
    common_pb2.ALGORITHM_SHA512: 64,
}
_PERCEPTUAL = {common_pb2.ALGORITHM_PDQ, common_pb2.ALGORITHM_VPDQ, common_pb2.ALGORITHM_PHOTODNA}

# What the fake answers does not depend on when it answers it.
_NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class FakeList:
    """A list: hashes in hexadecimal with their labels, and what is stated about it.

    It carries the algorithms of its hashes and those of `algorithms`.
    """

    hashes: Mapping[str, str] = field(repr=False)
    body: str = "Demo Hotline"
    nature: ListNature = ListNature.ILLEGAL
    title: str = ""
    scheme: str = "demo"
    jurisdiction: str = ""
    flags: Sequence[str] = ()
    age: timedelta = timedelta(hours=1)
    max_age: timedelta = timedelta(days=7)
    algorithms: Sequence[Algorithm] = (Algorithm.MD5, Algorithm.SHA1, Algorithm.SHA256)

    @property
    def stale(self) -> bool:
        """Whether the list is older than its maximum age, and so gives no negatives."""
        return self.age > self.max_age


@dataclass(frozen=True)
class _Entry:
    key: str
    label: str
    since_epoch: int


@dataclass(frozen=True)
class Published:
    """A list as it is served; `entries` are by the number of the algorithm and by digest."""

    list_id: str
    source: FakeList
    generation: int
    epoch: int
    entries: Mapping[int, Mapping[bytes, _Entry]]

    def opinion(self, entry: _Entry) -> common_pb2.Opinion:
        """What the list says of an entry."""
        return common_pb2.Opinion(
            body=self.source.body,
            list_id=self.list_id,
            generation=self.generation,
            nature=_nature(self.source),
            label=entry.label,
            scheme=self.source.scheme,
            jurisdiction=self.source.jurisdiction,
            flags=self.source.flags,
            updated_on="2026-01-14",
            source_key=entry.key,
            since_epoch=entry.since_epoch,
            vetting=common_pb2.Vetting(approvals=2, approvals_required=2, published_at=_stamp()),
            stale=self.source.stale,
            kind=common_pb2.MATCH_KIND_EXACT,
            classification=common_pb2.Classification(status=common_pb2.CLASSIFICATION_STATUS_UNMAPPED),
        )

    def freshness(self) -> common_pb2.ListFreshness:
        """How fresh the list is."""
        return common_pb2.ListFreshness(
            list_id=self.list_id,
            generation=self.generation,
            as_of=_stamp(self.source.age),
            age=_duration(self.source.age),
            stale=self.source.stale,
            nature=_nature(self.source),
        )

    def message(self) -> list_service_pb2.HashList:
        """The list as ListService tells of it."""
        counts = [
            list_service_pb2.AlgorithmCount(algorithm=_algorithm(number), hashes=len(entries))
            for number, entries in sorted(self.entries.items())
        ]
        return list_service_pb2.HashList(
            definition=list_service_pb2.ListDefinition(
                list_id=self.list_id,
                body=self.source.body,
                title=self.source.title or self.list_id,
                nature=_nature(self.source),
                scheme=self.source.scheme,
                jurisdiction=self.source.jurisdiction,
                max_age=_duration(self.source.max_age),
            ),
            generation=list_service_pb2.Generation(
                number=self.generation,
                epoch=self.epoch,
                published_at=_stamp(),
                as_of=_stamp(self.source.age),
                counts=counts,
                vetting=common_pb2.Vetting(approvals=2, approvals_required=2, published_at=_stamp()),
            ),
            freshness=self.freshness(),
        )


class FakeLists:
    """Every list, and what changed, in step for all who read."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._published: Mapping[str, Published] = {}
        self._changes: list[match_service_pb2.SnapshotChange] = []
        self._closed = False

    @property
    def epoch(self) -> int:
        """How often something was published."""
        return len(self._changes)

    def publish(self, list_id: str, source: FakeList) -> int:
        """Serves `source` from now on and returns its epoch."""
        with self._changed:
            before = self._published.get(list_id)
            after = _publish(list_id, source, self.epoch + 1, before)
            old = _digests(before) if before else set()
            new = _digests(after)
            self._published = {**self._published, list_id: after}
            self._changes.append(
                match_service_pb2.SnapshotChange(
                    epoch=after.epoch,
                    published_at=_stamp(),
                    list_id=list_id,
                    act="publish",
                    generation=after.generation,
                    added=len(new - old),
                    removed=len(old - new),
                )
            )
            self._changed.notify_all()
            return after.epoch

    def close(self) -> None:
        """Sends home all who wait for changes."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wait_for_change(self, seen: int) -> bool:
        """Waits a moment for an epoch after `seen`; whether to go on."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self.epoch > seen, timeout=0.05)
            return not self._closed

    def all(self) -> list[Published]:
        """The lists, ordered by id."""
        return [self._published[list_id] for list_id in sorted(self._published)]

    def in_scope(self, scope: match_service_pb2.MatchScope) -> list[Published] | None:
        """The lists that a scope names, or None if one of them does not exist."""
        published = self._published
        if any(list_id not in published for list_id in scope.list_ids):
            return None
        return [
            each
            for each in self.all()
            if each.list_id in (scope.list_ids or published)
            and (not scope.natures or _nature(each.source) in scope.natures)
        ]

    def snapshot(self, lists: Sequence[Published]) -> common_pb2.SnapshotInfo:
        """What an answer from these lists was given from."""
        return common_pb2.SnapshotInfo(
            epoch=self.epoch,
            published_at=_stamp(),
            confirmed_at=_stamp(),
            answered_at=_stamp(),
            lists=[each.freshness() for each in lists],
            approvals_required=2,
            approvals_signed=True,
        )

    def changes_since(self, epoch: int) -> list[match_service_pb2.SnapshotChange]:
        """What changed after an epoch, oldest first."""
        return self._changes[epoch:]


def look_up(
    algorithm: int, value: bytes, lists: Sequence[Published], scope: match_service_pb2.MatchScope
) -> match_service_pb2.HashResult:
    """What these lists say of one hash."""
    result = match_service_pb2.HashResult(algorithm=_algorithm(algorithm))
    reason = _why_not(algorithm, value, lists, scope)
    if reason is not None:
        result.verdict = common_pb2.VERDICT_NOT_DETERMINED
        result.causes.add(reason=reason)
        return result
    bodies = set()
    for each in lists:
        entry = each.entries.get(algorithm, {}).get(value)
        if entry is not None and entry.since_epoch > scope.newer_than_epoch:
            bodies.add(each.source.body)
            result.opinions.append(each.opinion(entry))
    silent = _silent(algorithm, lists, scope)
    if len(bodies) >= max(1, scope.min_sources):
        result.verdict = common_pb2.VERDICT_MATCH
        result.natures.extend(sorted({opinion.nature for opinion in result.opinions}))
    elif silent:
        result.verdict = common_pb2.VERDICT_NOT_DETERMINED
    else:
        result.verdict = common_pb2.VERDICT_NO_KNOWN_MATCH
        result.below_min_sources = bool(bodies)
    result.causes.extend(silent)
    return result


def agreement_of(opinions: Sequence[common_pb2.Opinion]) -> common_pb2.Agreement.ValueType:
    """Whether the bodies behind these opinions agree."""
    if not opinions:
        return common_pb2.AGREEMENT_UNSPECIFIED
    if len({(opinion.scheme, opinion.label) for opinion in opinions}) > 1:
        return common_pb2.AGREEMENT_DISPUTED
    if len({opinion.body for opinion in opinions}) > 1:
        return common_pb2.AGREEMENT_AGREED
    return common_pb2.AGREEMENT_SINGLE


def item_verdict(results: Sequence[match_service_pb2.HashResult]) -> common_pb2.Verdict.ValueType:
    """The verdict on an item, by the rule that the contract states."""
    verdicts = {result.verdict for result in results}
    if common_pb2.VERDICT_MATCH in verdicts:
        return common_pb2.VERDICT_MATCH
    not_carried = common_pb2.UNDETERMINED_REASON_ALGORITHM_NOT_CARRIED
    decisive = {r.verdict for r in results if any(c.reason != not_carried for c in r.causes) or not r.causes}
    return (
        common_pb2.VERDICT_NO_KNOWN_MATCH
        if decisive == {common_pb2.VERDICT_NO_KNOWN_MATCH}
        else common_pb2.VERDICT_NOT_DETERMINED
    )


def _why_not(
    algorithm: int, value: bytes, lists: Sequence[Published], scope: match_service_pb2.MatchScope
) -> common_pb2.UndeterminedReason.ValueType | None:
    """Why a hash cannot be looked up at all, or None."""
    if algorithm in _PERCEPTUAL:
        return common_pb2.UNDETERMINED_REASON_ALGORITHM_NOT_SERVED
    if algorithm not in _EXACT:
        return common_pb2.UNDETERMINED_REASON_UNKNOWN_ALGORITHM
    if len(value) != _EXACT[algorithm]:
        return common_pb2.UNDETERMINED_REASON_INVALID_HASH
    if not lists and not scope.natures:
        return common_pb2.UNDETERMINED_REASON_NO_SNAPSHOT
    carriers = {each.source.body for each in lists if algorithm in each.entries}
    if not carriers:
        return common_pb2.UNDETERMINED_REASON_ALGORITHM_NOT_CARRIED
    if len(carriers) < scope.min_sources:
        return common_pb2.UNDETERMINED_REASON_TOO_FEW_SOURCES
    return None


def _silent(
    algorithm: int, lists: Sequence[Published], scope: match_service_pb2.MatchScope
) -> list[common_pb2.UndeterminedCause]:
    """The lists whose silence on a hash proves nothing."""
    of_other_natures = set(scope.list_ids).difference(each.list_id for each in lists)
    causes = [
        common_pb2.UndeterminedCause(reason=common_pb2.UNDETERMINED_REASON_ALGORITHM_NOT_CARRIED, list_id=list_id)
        for list_id in sorted(of_other_natures)
    ]
    for each in lists:
        if algorithm in each.entries and each.source.stale:
            reason = common_pb2.UNDETERMINED_REASON_LIST_STALE
            causes.append(common_pb2.UndeterminedCause(reason=reason, list_id=each.list_id))
        elif algorithm not in each.entries and each.list_id in scope.list_ids:
            reason = common_pb2.UNDETERMINED_REASON_ALGORITHM_NOT_CARRIED
            causes.append(common_pb2.UndeterminedCause(reason=reason, list_id=each.list_id))
    return causes


def _publish(list_id: str, source: FakeList, epoch: int, before: Published | None) -> Published:
    entries: dict[int, dict[bytes, _Entry]] = {
        common_pb2.Algorithm.Value(f"ALGORITHM_{algorithm.name}"): {} for algorithm in source.algorithms
    }
    for position, (text, label) in enumerate(source.hashes.items(), start=1):
        value = Hash.from_hex(text)
        number = common_pb2.Algorithm.Value(f"ALGORITHM_{value.algorithm.name}")
        known = before.entries.get(number, {}).get(value.value) if before else None
        entry = _Entry(f"{list_id}-{position}", label, known.since_epoch if known else epoch)
        entries.setdefault(number, {})[value.value] = entry
    return Published(list_id, source, before.generation + 1 if before else 1, epoch, entries)


def _digests(published: Published) -> set[bytes]:
    return {digest for entries in published.entries.values() for digest in entries}


def _nature(source: FakeList) -> common_pb2.ListNature.ValueType:
    return common_pb2.ListNature.Value(f"LIST_NATURE_{source.nature.name}")


def _algorithm(number: int) -> common_pb2.Algorithm.ValueType:
    return common_pb2.Algorithm.ValueType(number)


def _stamp(ago: timedelta = timedelta(0)) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(_NOW - ago)
    return stamp


def _duration(span: timedelta) -> Duration:
    duration = Duration()
    duration.FromTimedelta(span)
    return duration
