"""The lists as a few dictionaries: what answers must agree with. It knows nothing of segments, filters or caches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from hashmatch.v1 import common_pb2
from tests.integration.universe import NEAR, PADDING, Place

RETAINED = 3

# Label, scheme, jurisdiction.
Said = tuple[str, str, str]


class Line(NamedTuple):
    """One opinion of a list: what it says of a hash, and under which of the body's keys (empty for none)."""

    place: Place
    said: Said
    key: str


Content = frozenset[Line]


class Record(NamedTuple):
    """One record of a delivery."""

    places: tuple[Place, ...]
    key: str = ""
    label: str = ""
    removed: bool = False


@dataclass(frozen=True)
class Delivery:
    """What a body hands over. Keyed records replace earlier ones of their key; others stand by themselves.

    What is `padded` has ahead of them the hashes of `PADDING`, each in a record of its own.
    """

    records: tuple[Record, ...]
    full: bool
    keyed: bool = False
    padded: bool = False

    @property
    def all_records(self) -> tuple[Record, ...]:
        """What is written."""
        label = self.records[0].label
        padding = (
            Record((place,), f"padding-{number}" if self.keyed else "", label)
            for number, place in enumerate(PADDING if self.padded else ())
        )
        return (*padding, *self.records)

    def applied_to(self, content: Content, scheme: str, jurisdiction: str) -> Content:
        """What the list has after it."""

        def lines(record: Record) -> set[Line]:
            said = (record.label, scheme, jurisdiction)
            return {Line(place, said, record.key) for place in record.places}

        if self.keyed:
            last = {record.key: record for record in self.all_records}
            added = set().union(*(lines(record) for record in last.values() if not record.removed))
            staying = {line for line in content if line.key not in last}
        else:
            added = set()
            for record in self.all_records:
                if record.removed:
                    added = {line for line in added if line.place not in record.places}
                else:
                    added |= lines(record)
            touched = {place for record in self.all_records for place in record.places}
            staying = {line for line in content if line.key or line.place not in touched}
        return frozenset(added if self.full else staying | added)


@dataclass(frozen=True)
class Generation:
    """A published state. `first` is the epoch in which each statement on a hash first appeared in an unbroken line."""

    number: int
    as_of: float
    content: Content
    first: Mapping[tuple[Place, Said], int]

    def counts(self) -> dict[int, int]:
        """The distinct hashes by algorithm."""
        counts: dict[int, int] = {}
        for algorithm, _ in {line.place for line in self.content}:
            counts[algorithm] = counts.get(algorithm, 0) + 1
        return counts


@dataclass(frozen=True)
class ListState:
    """A list. `visible_since` is the epoch of the last roll back."""

    list_id: str
    body: str
    max_age: float
    nature: int
    scheme: str
    jurisdiction: str
    generation: Generation | None = None
    retained: tuple[Generation, ...] = ()
    last_number: int = 0
    visible_since: int = 0

    @property
    def content(self) -> Content:
        return self.generation.content if self.generation is not None else frozenset()

    def succeeded_by(self, generation: Generation | None) -> ListState:
        retained = self.retained if self.generation is None else (self.generation, *self.retained)
        return replace(self, generation=generation, retained=retained[:RETAINED], last_number=self.last_number + 1)

    def carries(self, algorithm: int) -> bool:
        return any(line.place[0] == algorithm for line in self.content)


@dataclass(frozen=True)
class State:
    """Everything of one epoch.

    `suppressed` gives for a hash the lists in which it is suppressed, none meaning all; `lifted` the last epoch in
    which a suppression of it ended. `visible` is the truth about newness: since when each opinion of a list is seen
    without interruption.
    """

    lists: Mapping[str, ListState] = field(default_factory=dict)
    suppressed: Mapping[Place, frozenset[str]] = field(default_factory=dict)
    lifted: Mapping[Place, int] = field(default_factory=dict)
    visible: Mapping[tuple[str, Place, Said], int] = field(default_factory=dict)

    def with_list(self, state: ListState) -> State:
        return replace(self, lists={**self.lists, state.list_id: state})

    def is_suppressed(self, place: Place, list_id: str) -> bool:
        lists = self.suppressed.get(place)
        return lists is not None and (not lists or list_id in lists)

    def seen_at(self, epoch: int) -> State:
        """This state as that of `epoch`: what was not to be seen just before is new."""
        seen = {
            (list_id, line.place, line.said): self.visible.get((list_id, line.place, line.said), epoch)
            for list_id, state in self.lists.items()
            for line in state.content
            if not self.is_suppressed(line.place, list_id)
        }
        return replace(self, visible=seen)


class Scope(NamedTuple):
    """What a question is asked of."""

    list_ids: tuple[str, ...] = ()
    min_sources: int = 0
    newer_than_epoch: int = 0


class Cause(NamedTuple):
    """Why something was not determined."""

    reason: int
    list_id: str = ""


class Opinion(NamedTuple):
    """What a list says of a hash, as an answer should state it."""

    list_id: str
    body: str
    nature: int
    generation: int
    said: Said
    source_key: str
    stale: bool
    since_epoch: int
    near: bool


@dataclass(frozen=True)
class Expected:
    """The answer on one hash."""

    verdict: int
    agreement: int
    opinions: tuple[Opinion, ...]
    causes: frozenset[Cause]
    suppressed: bool
    below_min_sources: bool


# The epoch that an answer of the server gave for each opinion: where the truth leaves room, it must be kept to.
Reported = Mapping[tuple[str, Line], int]


@dataclass(frozen=True)
class Question:
    """The state of an epoch, looked at through a scope at a moment."""

    state: State
    scope: Scope
    now: float
    reported: Reported

    @property
    def lists(self) -> dict[str, ListState]:
        """The lists in scope that serve something."""
        return {
            list_id: state
            for list_id, state in self.state.lists.items()
            if state.generation is not None and list_id in (self.scope.list_ids or self.state.lists)
        }

    def is_stale(self, state: ListState) -> bool:
        assert state.generation is not None
        return self.now - state.generation.as_of > state.max_age

    def carriers(self, algorithm: int) -> list[ListState]:
        return [state for state in self.lists.values() if state.carries(algorithm)]

    def doubts(self, algorithm: int) -> frozenset[Cause]:
        """Why the absence of a hash of the algorithm proves nothing."""
        carriers = self.carriers(algorithm)
        causes = set()
        if self.scope.list_ids:
            carrying = {state.list_id for state in carriers}
            causes |= {
                Cause(common_pb2.UNDETERMINED_REASON_ALGORITHM_NOT_CARRIED, list_id)
                for list_id in self.scope.list_ids
                if list_id not in carrying
            }
        elif not carriers:
            causes.add(Cause(common_pb2.UNDETERMINED_REASON_ALGORITHM_NOT_CARRIED))
        if carriers and len({state.body for state in carriers}) < self.scope.min_sources:
            causes.add(Cause(common_pb2.UNDETERMINED_REASON_TOO_FEW_SOURCES))
        causes |= {
            Cause(common_pb2.UNDETERMINED_REASON_LIST_STALE, state.list_id)
            for state in carriers
            if self.is_stale(state)
        }
        return frozenset(causes)

    def answer(self, place: Place) -> Expected:
        """What must be answered on a hash."""
        opinions = []
        suppressed = False
        listed = NEAR.get(place, place)
        for list_id, state in self.lists.items():
            for line in state.content:
                if line.place != listed:
                    continue
                if self.state.is_suppressed(listed, list_id) or self.state.is_suppressed(place, list_id):
                    suppressed = True
                    continue
                since = self.reported[list_id, line]
                if since > self.scope.newer_than_epoch:
                    assert state.generation is not None
                    opinions.append(
                        Opinion(
                            list_id,
                            state.body,
                            state.nature,
                            state.generation.number,
                            line.said,
                            line.key,
                            self.is_stale(state),
                            since,
                            place in NEAR,
                        )
                    )
        bodies = {opinion.body for opinion in opinions}
        doubts = self.doubts(place[0])
        if bodies and len(bodies) >= self.scope.min_sources:
            verdict = common_pb2.VERDICT_MATCH
        elif doubts:
            verdict = common_pb2.VERDICT_NOT_DETERMINED
        else:
            verdict = common_pb2.VERDICT_NO_KNOWN_MATCH
        return Expected(
            verdict,
            agreement_of(opinions),
            tuple(sorted(opinions)),
            doubts,
            suppressed,
            bool(bodies) and len(bodies) < self.scope.min_sources,
        )

    def item_verdict(self, places: Iterable[Place]) -> int:
        """What must be said of an item with these hashes."""
        places = list(places)
        answers = [self.answer(place) for place in places]
        if any(answer.verdict == common_pb2.VERDICT_MATCH for answer in answers):
            return common_pb2.VERDICT_MATCH
        consulted = {state.list_id for algorithm, _ in places for state in self.carriers(algorithm)}
        nobody = common_pb2.UNDETERMINED_REASON_ALGORITHM_NOT_CARRIED
        only_nobody = all(cause.reason == nobody for answer in answers for cause in answer.causes)
        if consulted and consulted.issuperset(self.scope.list_ids) and only_nobody:
            return common_pb2.VERDICT_NO_KNOWN_MATCH
        return common_pb2.VERDICT_NOT_DETERMINED


def agreement_of(opinions: Iterable[Opinion]) -> int:
    """Whether the bodies say the same, as the contract defines it."""
    opinions = list(opinions)
    if not opinions:
        return common_pb2.AGREEMENT_UNSPECIFIED
    if len({opinion.said[:2] for opinion in opinions}) > 1:
        return common_pb2.AGREEMENT_DISPUTED
    several = len({opinion.body for opinion in opinions}) > 1
    return common_pb2.AGREEMENT_AGREED if several else common_pb2.AGREEMENT_SINGLE
