"""What a question is put to: the lists in scope, and what stands in the way of a negative from them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from hashmatch.index.snapshot import LoadedList, Snapshot
from hashmatch.matching.findings import Finding, ItemAnswer
from hashmatch.matching.visibility import Visibility, visibility
from hashmatch.model.access import UNRESTRICTED, Permission
from hashmatch.model.algorithms import PDQ_MAXIMUM_DISTANCE, Algorithm
from hashmatch.model.errors import invalid_field
from hashmatch.model.lists import ListNature, check_list_id
from hashmatch.model.verdicts import Cause, UndeterminedReason, Verdict
from hashmatch.store.suppressions import Suppression

MAXIMUM_SCOPE_LISTS = 1_000
MAXIMUM_SOURCES = 1_000


class Scope(NamedTuple):
    """A caller's choice: lists and natures (empty for all), how many bodies make a match, and newer than which epoch.

    `max_distance` is how far a near PDQ code may be; None for as far as the server and each list permit. `permission`
    is what the caller may see: whatever is beyond it takes no part, as if it did not exist.
    """

    list_ids: tuple[str, ...] = ()
    min_sources: int = 1
    newer_than_epoch: int = 0
    natures: tuple[ListNature, ...] = ()
    max_distance: int | None = None
    permission: Permission = UNRESTRICTED

    def validate(self) -> None:
        """Raise `HashmatchError` INVALID_FIELD if something is out of range."""
        if len(self.list_ids) > MAXIMUM_SCOPE_LISTS:
            raise invalid_field("scope.list_ids", f"at most {MAXIMUM_SCOPE_LISTS}")
        for list_id in self.list_ids:
            check_list_id(list_id)
        if not 1 <= self.min_sources <= MAXIMUM_SOURCES:
            raise invalid_field("scope.min_sources", f"0 to {MAXIMUM_SOURCES}")
        if not all(nature.is_served for nature in self.natures):
            raise invalid_field("scope.natures", "known-good lists are never consulted")
        if self.max_distance is not None and not 0 <= self.max_distance <= PDQ_MAXIMUM_DISTANCE:
            raise invalid_field("scope.max_distance", f"0 to {PDQ_MAXIMUM_DISTANCE}")


EVERYTHING = Scope()


@dataclass(slots=True)
class View:
    """A scope upon a snapshot: what a batch is answered from."""

    snapshot: Snapshot
    scope: Scope
    lists: Mapping[str, LoadedList]
    # Lists that the caller named and that have nothing published, or are of a nature that is not asked for.
    unserved: tuple[str, ...]
    # Why nothing that this server says of any list can be a negative.
    doubts: tuple[Cause, ...]
    now: float
    # What was found for combinations of holdings that came before; see `matching.few`.
    findings: dict[Hashable, Finding] = field(default_factory=dict)
    # Answers that items share; see `matching.items`.
    answers: dict[Hashable, ItemAnswer] = field(default_factory=dict)
    # Findings and answers with what they are on the wire, by their identity; see `service.answering`.
    encoded: dict[Hashable, tuple[Finding | ItemAnswer, bytes]] = field(default_factory=dict)
    _carriers: dict[Algorithm, dict[str, LoadedList]] = field(default_factory=dict)
    _doubts: dict[Algorithm, tuple[Cause, ...]] = field(default_factory=dict)
    _silence: dict[Algorithm, Finding] = field(default_factory=dict)

    def suppression(self, algorithm: Algorithm, digest: bytes) -> Suppression | None:
        """What suppresses a hash, or did, in one of the lists in scope: what is done about others must not show."""
        found = self.snapshot.suppressions.get((algorithm, digest))
        return found if found is not None and found.changed_for(self.lists.keys()) else None

    def carriers(self, algorithm: Algorithm) -> dict[str, LoadedList]:
        """The lists in scope that have hashes of the algorithm."""
        carriers = self._carriers.get(algorithm)
        if carriers is None:
            permitted = self.scope.permission.sees_algorithm(algorithm)
            lists = self.lists.items() if permitted else ()
            carriers = {list_id: loaded for list_id, loaded in lists if loaded.carries(algorithm)}
            self._carriers[algorithm] = carriers
        return carriers

    def doubts_about(self, algorithm: Algorithm) -> tuple[Cause, ...]:
        """Why the absence of a hash of this algorithm would prove nothing; empty if it does prove something."""
        known = self._doubts.get(algorithm)
        if known is None:
            known = self._doubts[algorithm] = self._find_doubts(algorithm)
        return known

    def silence(self, algorithm: Algorithm) -> Finding:
        """What is found for a hash of this algorithm that no list has; always the same object."""
        known = self._silence.get(algorithm)
        if known is None:
            known = Finding(Verdict.NO_KNOWN_MATCH).with_doubts(self.doubts_about(algorithm))
            self._silence[algorithm] = known
        return known

    def _find_doubts(self, algorithm: Algorithm) -> tuple[Cause, ...]:
        carriers = self.carriers(algorithm)
        causes = [*self.doubts]
        if not carriers and not self.scope.list_ids:
            causes.append(Cause(UndeterminedReason.ALGORITHM_NOT_CARRIED))
        if self.scope.list_ids:
            # The caller asked about these lists by name: one that cannot answer must not look like one that said no.
            mute = [*self.unserved, *(list_id for list_id in self.lists if list_id not in carriers)]
            causes += [Cause(UndeterminedReason.ALGORITHM_NOT_CARRIED, list_id) for list_id in mute]
        if carriers and self.scope.min_sources > 1:
            bodies = {loaded.state.definition.body for loaded in carriers.values()}
            if len(bodies) < self.scope.min_sources:
                causes.append(Cause(UndeterminedReason.TOO_FEW_SOURCES))
        causes += [
            Cause(UndeterminedReason.LIST_STALE, list_id)
            for list_id, loaded in carriers.items()
            if loaded.is_stale(self.now)
        ]
        return tuple(causes)


def view(
    snapshot: Snapshot,
    scope: Scope,
    *,
    now: float,
    doubts: tuple[Cause, ...] = (),
    seen: Visibility | None = None,
) -> View:
    """Put a scope upon a snapshot. `seen` is what its permission leaves of it, if that was worked out before.

    Raises `HashmatchError` LIST_NOT_FOUND for a named list that does not exist, or that the caller may not know of.
    """
    seen = visibility(snapshot, scope.permission) if seen is None else seen
    if not scope.list_ids:
        return View(snapshot, scope, _of_natures(seen.lists, scope.natures), (), doubts, now)
    named = dict.fromkeys(scope.list_ids)
    for list_id in named:
        seen.state(list_id)
    lists = {list_id: seen.lists[list_id] for list_id in named if list_id in seen.lists}
    lists = dict(_of_natures(lists, scope.natures))
    return View(snapshot, scope, lists, tuple(each for each in named if each not in lists), doubts, now)


def _of_natures(lists: Mapping[str, LoadedList], natures: Sequence[ListNature]) -> Mapping[str, LoadedList]:
    """The lists of one of the natures; all if none is named."""
    if not natures:
        return lists
    return {list_id: loaded for list_id, loaded in lists.items() if loaded.state.definition.nature in natures}
