"""What the server says, as frozen values.

No answer has a truth value. `if answer:` could mean "was there an answer" or "was it a match", and read either way it
turns NOT_DETERMINED into something that it is not; so it raises. Ask `is_match`, `is_no_known_match` or
`is_determined`.
"""

from __future__ import annotations

import bisect
import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NoReturn

from hashmatch_client._hashes import Algorithm


class NoTruthValue:
    """Forbids `if value`, which cannot tell three answers apart."""

    __slots__ = ()

    def __bool__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} has no truth value: there are three verdicts; "
            "ask is_match, is_no_known_match or is_determined"
        )


class Verdict(NoTruthValue, enum.Enum):
    """What the lists in scope say of a hash. None of the three means that a file is harmless."""

    MATCH = "MATCH"
    NO_KNOWN_MATCH = "NO_KNOWN_MATCH"
    NOT_DETERMINED = "NOT_DETERMINED"


class UndeterminedReason(enum.Enum):
    """Why a verdict is NOT_DETERMINED. The contract, `hashmatch/v1/common.proto`, describes each."""

    INVALID_HASH = "INVALID_HASH"
    UNKNOWN_ALGORITHM = "UNKNOWN_ALGORITHM"
    ALGORITHM_NOT_SERVED = "ALGORITHM_NOT_SERVED"
    ALGORITHM_NOT_CARRIED = "ALGORITHM_NOT_CARRIED"
    TOO_FEW_SOURCES = "TOO_FEW_SOURCES"
    LIST_STALE = "LIST_STALE"
    NO_SNAPSHOT = "NO_SNAPSHOT"
    SNAPSHOT_UNCONFIRMED = "SNAPSHOT_UNCONFIRMED"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    STORE_DAMAGED = "STORE_DAMAGED"
    LOW_QUALITY = "LOW_QUALITY"
    DEGENERATE_HASH = "DEGENERATE_HASH"
    WORK_LIMIT = "WORK_LIMIT"
    UNRECOGNISED = "UNRECOGNISED"
    """Said by this client: the server gave a verdict or a reason that the client does not know."""


class Agreement(enum.Enum):
    """Whether the bodies that list a hash say the same of it."""

    NONE = "NONE"
    SINGLE = "SINGLE"
    AGREED = "AGREED"
    DISPUTED = "DISPUTED"
    UNRECOGNISED = "UNRECOGNISED"


class ListNature(enum.Enum):
    """What kind of material a list is about. One nature never reads as another."""

    UNSPECIFIED = "UNSPECIFIED"
    ILLEGAL = "ILLEGAL"
    EXPLOITATIVE = "EXPLOITATIVE"
    SELF_REPORTED = "SELF_REPORTED"
    TERRORIST = "TERRORIST"
    TEST = "TEST"
    KNOWN_GOOD = "KNOWN_GOOD"
    UNRECOGNISED = "UNRECOGNISED"


class MatchKind(enum.Enum):
    """How a listed value and the asked value compare."""

    UNSPECIFIED = "UNSPECIFIED"
    EXACT = "EXACT"
    NEAR = "NEAR"
    UNRECOGNISED = "UNRECOGNISED"


@dataclass(frozen=True, slots=True)
class Cause:
    """One cause of a NOT_DETERMINED; `list_id` is empty if it concerns every list."""

    reason: UndeterminedReason
    list_id: str = ""


@dataclass(frozen=True, slots=True)
class Vetting:
    """How the generation that an opinion comes from was vetted."""

    approvals: int
    approvals_required: int
    published_at: datetime | None


@dataclass(frozen=True, slots=True)
class Classification:
    """What a raw label is known to say, in words that bodies share: never more than holds for all its uses.

    `mapped` is False if the server's mapping does not know the label; nothing follows from that. An empty text says
    nothing either way. The contract, `hashmatch/v1/common.proto`, names the words.
    """

    mapped: bool = False
    mapping_version: int = 0
    depicted: tuple[str, ...] = ()
    age: str = ""
    act: str = ""
    portrayal: str = ""
    baseline: str = ""


UNCLASSIFIED = Classification()


@dataclass(frozen=True, slots=True)
class VideoShares:
    """How much of two videos is the same, in usable frames: of the one asked about, and of the listed one.

    Frames of low quality, black and other degenerate ones and repeated ones do not count.
    """

    asked_frames: int
    asked_frames_matched: int
    listed_frames: int
    listed_frames_matched: int

    @property
    def asked(self) -> float:
        """The share of the video asked about that is near the listed one."""
        return self.asked_frames_matched / self.asked_frames

    @property
    def listed(self) -> float:
        """The share of the listed video that is near the one asked about."""
        return self.listed_frames_matched / self.listed_frames


@dataclass(frozen=True, slots=True)
class FeedbackCounts:
    """How many callers said of a match that it is right, and that it is wrong."""

    confirmed: int
    disputed: int


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one list says of one hash, in the body's own words.

    `video` says of a video how much of it is the same, `feedback` what callers said of the match, if anybody did and
    the server's policy lets this one know.
    """

    body: str
    list_id: str
    generation: int
    nature: ListNature
    label: str
    scheme: str
    jurisdiction: str
    flags: tuple[str, ...]
    updated_on: str
    source_key: str
    since_epoch: int
    vetting: Vetting
    stale: bool
    kind: MatchKind
    distance: int | None
    classification: Classification = UNCLASSIFIED
    video: VideoShares | None = None
    feedback: FeedbackCounts | None = None

    @property
    def is_test(self) -> bool:
        """Whether the list holds benign fixtures, so that the match is a test and never a finding."""
        return self.nature is ListNature.TEST


@dataclass(frozen=True, slots=True)
class ListFreshness:
    """A list as of the snapshot that an answer was given from."""

    list_id: str
    generation: int
    nature: ListNature
    as_of: datetime | None
    age: timedelta
    stale: bool


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """What an answer was given from."""

    epoch: int
    published_at: datetime | None
    confirmed_at: datetime | None
    answered_at: datetime | None
    lists: tuple[ListFreshness, ...]
    approvals_required: int
    approvals_signed: bool = False

    @property
    def oldest_list(self) -> ListFreshness | None:
        """The list of the greatest age, or None if there is no list."""
        return max(self.lists, key=lambda each: each.age, default=None)


class _Verdicts(NoTruthValue):
    """The questions that every answer with one verdict takes."""

    __slots__ = ()

    verdict: Verdict

    @property
    def is_match(self) -> bool:
        """Whether the verdict is MATCH."""
        return self.verdict is Verdict.MATCH

    @property
    def is_no_known_match(self) -> bool:
        """Whether every list in scope was consulted and none has it."""
        return self.verdict is Verdict.NO_KNOWN_MATCH

    @property
    def is_determined(self) -> bool:
        """Whether the question could be answered, either way."""
        return self.verdict is not Verdict.NOT_DETERMINED


@dataclass(frozen=True, slots=True)
class HashAnswer(_Verdicts):
    """The answer for one hash of an item.

    Beside a MATCH, `causes` tells which part of the scope could not be consulted. `suppressed` says that the operator
    withholds at least one opinion; `below_min_sources`, that fewer bodies list the hash than were asked for. `natures`
    are those of the lists that a MATCH rests on; look there before acting.
    """

    algorithm: Algorithm
    verdict: Verdict
    causes: tuple[Cause, ...]
    opinions: tuple[Opinion, ...]
    suppressed: bool
    below_min_sources: bool
    natures: tuple[ListNature, ...] = ()


@dataclass(frozen=True, slots=True)
class ItemAnswer(_Verdicts):
    """The answer for one item: the verdict over its hashes, and one answer a hash in the order they were asked.

    `causes` are those given for any of its hashes, each once. `natures` are those of the lists that a MATCH rests on.
    """

    reference: str
    verdict: Verdict
    agreement: Agreement
    causes: tuple[Cause, ...]
    hashes: tuple[HashAnswer, ...]
    snapshot: SnapshotInfo
    request_id: str
    natures: tuple[ListNature, ...] = ()

    @property
    def opinions(self) -> tuple[Opinion, ...]:
        """Every opinion on any hash of the item, each once."""
        return tuple(dict.fromkeys(opinion for answer in self.hashes for opinion in answer.opinions))

    @property
    def is_test_match(self) -> bool:
        """Whether it is a match on lists of benign fixtures alone: a test, never a finding."""
        matching = [opinion for answer in self.hashes if answer.is_match for opinion in answer.opinions]
        return self.is_match and len(matching) > 0 and all(opinion.is_test for opinion in matching)


@dataclass(frozen=True, slots=True)
class Finding:
    """The opinions that one or more hashes of a bulk batch share, and the natures of the lists that they are from."""

    agreement: Agreement
    opinions: tuple[Opinion, ...]
    causes: tuple[Cause, ...]
    natures: tuple[ListNature, ...] = ()


@dataclass(frozen=True, slots=True)
class BulkHit:
    """A match in a bulk run: `position` counts digests from the start of the run, `index` from that of the batch.

    `distance` is that of the nearest listed value, where the caller is told; None for an exact algorithm.
    """

    position: int
    index: int
    digest: bytes = field(repr=False)
    finding: Finding
    distance: int | None = None


@dataclass(frozen=True, slots=True)
class UndeterminedRange:
    """A run of digests of a batch that could not be determined, and why."""

    first: int
    count: int
    causes: tuple[Cause, ...]


@dataclass(frozen=True, slots=True)
class BulkAnswer(NoTruthValue):
    """The answer to one batch of a bulk run: digests `first` to `first + count - 1` of the run.

    What is neither a hit nor in an undetermined range is NO_KNOWN_MATCH; `verdict_of` says it for one digest.
    """

    batch: int
    first: int
    count: int
    algorithm: Algorithm
    digests: bytes = field(repr=False)
    match_indexes: tuple[int, ...]
    finding_indexes: tuple[int, ...]
    findings: tuple[Finding, ...]
    undetermined: tuple[UndeterminedRange, ...]
    snapshot: SnapshotInfo
    request_id: str
    distances: tuple[int, ...] = ()

    def hits(self) -> Iterator[BulkHit]:
        """The matches of the batch, in order."""
        size = len(self.digests) // self.count
        distances = self.distances or (None,) * len(self.match_indexes)
        for index, finding, distance in zip(self.match_indexes, self.finding_indexes, distances, strict=True):
            digest = self.digests[index * size : (index + 1) * size]
            yield BulkHit(self.first + index, index, digest, self.findings[finding], distance)

    def verdict_of(self, index: int) -> Verdict:
        """The verdict on the digest at `index` in the batch."""
        if not 0 <= index < self.count:
            raise IndexError(f"the batch has {self.count} digests")
        place = bisect.bisect_left(self.match_indexes, index)
        if place < len(self.match_indexes) and self.match_indexes[place] == index:
            return Verdict.MATCH
        if any(run.first <= index < run.first + run.count for run in self.undetermined):
            return Verdict.NOT_DETERMINED
        return Verdict.NO_KNOWN_MATCH

    @property
    def matches(self) -> int:
        """How many digests of the batch match."""
        return len(self.match_indexes)

    @property
    def not_determined(self) -> int:
        """How many digests of the batch could not be determined."""
        return sum(run.count for run in self.undetermined)

    @property
    def no_known_match(self) -> int:
        """How many digests of the batch are on no list."""
        return self.count - self.matches - self.not_determined


@dataclass(frozen=True, slots=True)
class SnapshotChange:
    """Something that was published."""

    epoch: int
    published_at: datetime | None
    list_id: str
    act: str
    generation: int
    added: int
    removed: int


@dataclass(frozen=True, slots=True)
class SnapshotUpdate:
    """What is served, and what changed since the epoch that was asked about, oldest first.

    Where `changes_complete` is False the server no longer knows all that changed: ask again about everything.
    """

    snapshot: SnapshotInfo
    changes: tuple[SnapshotChange, ...]
    changes_complete: bool
    request_id: str


@dataclass(frozen=True, slots=True)
class Generation:
    """A published state of a list; `counts` are its distinct hashes by algorithm."""

    number: int
    epoch: int
    published_at: datetime | None
    as_of: datetime | None
    counts: Mapping[Algorithm, int]
    vetting: Vetting
    delivery_sha256: bytes


@dataclass(frozen=True, slots=True)
class HashList:
    """A list: what the operator states about it, what is served of it, and how fresh that is.

    `generation` and `freshness` are None as long as nothing of the list is served. `maximum_distance` is that of a near
    PDQ code, None for the server's own limit; the shares are those of a video's frames from which on it matches.
    """

    list_id: str
    body: str
    title: str
    nature: ListNature
    scheme: str
    jurisdiction: str
    max_age: timedelta | None
    generation: Generation | None
    freshness: ListFreshness | None
    maximum_distance: int | None = None
    minimum_asked_share: float = 0.8
    minimum_listed_share: float = 0.0
