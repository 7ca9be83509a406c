"""Sealing anew what lies under keys that are to be done without, while everything goes on being served.

A segment is read, written as another under the key that seals now, read back, and takes the old one's place in the
manifest. Servers follow as they follow a compaction; the old one is collected. It is done a part at a time, so that
other upkeep has its turn, until nothing is left.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from hashmatch.ingest.acts import Acts, always, with_record
from hashmatch.ingest.changes import RowsChange
from hashmatch.ingest.staging import write_segment, write_suppressions
from hashmatch.store.manifest import Generation, ListState, Manifest, ManifestConflictError, parse_header
from hashmatch.store.segments import SegmentInfo
from hashmatch.store.stagings import STAGED, PendingNote, Staging
from hashmatch.store.store import Store

T = TypeVar("T")

# As many as are read and written in some ten seconds.
_ROWS_AT_ONCE = 2_000_000
ACTOR = "system:resealing"


def left_under_old_keys(store: Store) -> int:
    """How many things are still under the retired keys: of everything that outlasts the keys' names.

    Raises `StoreUnavailableError` and `StoreDamagedError`.
    """
    retired = store.sealing_key.retired
    sealed = store.manifests.load() if retired else None
    if sealed is None:
        return 0
    return (
        len(_under(retired, sealed.manifest.segments().values()))
        + _suppressions_are_under(retired, store, sealed.manifest)
        + (parse_header(sealed.raw).key_id in retired)
        + len(_stagings_under(retired, store))
        + len(store.proposals.under(retired))
        + len(store.feedback.under(retired))
    )


class Resealer:
    """Seals anew what is under retired keys; one at a time. Methods raise what `Acts` raises."""

    def __init__(self, acts: Acts) -> None:
        self._acts = acts
        self._store = acts.store
        self._clock = acts.clock
        self._retired = acts.store.sealing_key.retired

    def reseal(self) -> int:
        """Seal a part anew. Returns how many things; 0 if nothing is left."""
        if not self._retired:
            return 0
        sealed = self._store.manifests.load()
        if sealed is None:
            return 0
        manifest = sealed.manifest
        mapping = self._rewritten(self._part_of(_under(self._retired, manifest.segments().values())), manifest)
        done = len(mapping) + _suppressions_are_under(self._retired, self._store, manifest)
        done += parse_header(sealed.raw).key_id in self._retired
        if done and not self._replace(mapping):
            return 0
        return done + self._reseal_waiting() + self._reseal_feedback()

    def _replace(self, mapping: Mapping[str, SegmentInfo]) -> bool:
        """Put new segments, new suppressions and so a new manifest in place; False if all of it has moved on."""

        def change(manifest: Manifest, epoch: int) -> Manifest:
            if mapping and not mapping.keys() & manifest.segments().keys():
                raise ManifestConflictError("the lists have moved on")
            info = manifest.suppressions
            if info is not None and _suppressions_are_under(self._retired, self._store, manifest):
                info = write_suppressions(self._store, self._clock, self._store.suppressions.read(info))
            lists = {list_id: _state_with(state, mapping) for list_id, state in manifest.lists.items()}
            record = self._acts.record(epoch, "reseal", ACTOR)
            return with_record(msgspec.structs.replace(manifest, lists=lists, suppressions=info), record)

        try:
            self._acts.apply(change, "reseal", ACTOR, validate_only=False, harmless=always, segments=len(mapping))
        except ManifestConflictError:
            return False
        return True

    def _reseal_waiting(self) -> int:
        """Stagings with their segments, and proposals. One that changes meanwhile stays for the next time."""
        done = 0
        manifest = self._acts.manifest()
        assert manifest is not None
        for staging in _stagings_under(self._retired, self._store):
            resealed = self._with_segments_anew(staging, manifest) if staging.state == STAGED else staging
            # A publication that has read the staging before may be about to name the segments that are replaced.
            for info in _under(self._retired, staging.segments()):
                note = PendingNote(self._clock.now(), segment=info, staging_id=staging.staging_id)
                self._store.stagings.note(info.segment_id, note)
            done += _put_back(self._store.stagings.change, staging.staging_id, staging, resealed)
        for proposal in self._store.proposals.under(self._retired):
            done += _put_back(self._store.proposals.change, proposal.proposal_id, proposal, proposal)
        return done

    def _reseal_feedback(self) -> int:
        found = self._store.feedback.under(self._retired)
        newest = self._store.feedback.all()
        for said in found:
            # What the client said since then is under the new key.
            if newest.get(self._store.feedback.id_of(said)) == said:
                self._store.feedback.put(said)
        return len(found)

    def _with_segments_anew(self, staging: Staging, manifest: Manifest) -> Staging:
        mapping = self._rewritten(_under(self._retired, staging.segments()), manifest, staging.staging_id)
        changes = tuple(
            change if change.segment is None else msgspec.structs.replace(change, segment=_new(change.segment, mapping))
            for change in staging.changes
        )
        return msgspec.structs.replace(staging, changes=changes)

    def _part_of(self, infos: Sequence[SegmentInfo]) -> list[SegmentInfo]:
        """As many of them as are done at once: at least one, if there is one."""
        part: list[SegmentInfo] = []
        rows = 0
        for info in infos:
            if part and rows + info.rows > _ROWS_AT_ONCE:
                break
            part.append(info)
            rows += info.rows
        return part

    def _rewritten(
        self, infos: Sequence[SegmentInfo], manifest: Manifest, staging_id: str = ""
    ) -> dict[str, SegmentInfo]:
        """New segments with the rows of old ones, by the ids of these; of a staging unless its id is empty."""
        mapping = {}
        for info in infos:
            rows = self._store.segments.open(info).rows(manifest.placement)
            written = write_segment(self._store, self._clock, RowsChange(rows.kind, rows, replace=True), staging_id)
            self._store.segments.open(written).verify()
            mapping[info.segment_id] = written
        return mapping


def _put_back(change: Callable[[str, Callable[[T], T | None]], T], record_id: str, before: T, resealed: T) -> bool:
    """Put what is sealed anew in the place of what it was made from; whether that was still there."""
    replaced = False

    def anew(now: T) -> T | None:
        nonlocal replaced
        replaced = now == before
        return resealed if replaced else None

    change(record_id, anew)
    return replaced


def _under(key_ids: Collection[str], infos: Iterable[SegmentInfo]) -> list[SegmentInfo]:
    return [info for info in infos if info.key_id in key_ids]


def _stagings_under(key_ids: Collection[str], store: Store) -> list[Staging]:
    """The stagings that are under one of these keys, and the open ones with segments that are.

    An approval seals the record under the key that is current then, and leaves the segments as they are.
    """
    records = {staging.staging_id for staging in store.stagings.under(key_ids)}
    return [
        staging
        for staging in store.stagings.all()
        if staging.staging_id in records or (staging.state == STAGED and _under(key_ids, staging.segments()))
    ]


def _suppressions_are_under(key_ids: Collection[str], store: Store, manifest: Manifest) -> bool:
    info = manifest.suppressions
    return info is not None and store.suppressions.key_id(info) in key_ids


def _new(info: SegmentInfo, mapping: Mapping[str, SegmentInfo]) -> SegmentInfo:
    return mapping.get(info.segment_id, info)


def _segments(infos: Sequence[SegmentInfo], mapping: Mapping[str, SegmentInfo]) -> tuple[SegmentInfo, ...]:
    return tuple(_new(info, mapping) for info in infos)


def _generation_with(generation: Generation, mapping: Mapping[str, SegmentInfo]) -> Generation:
    return msgspec.structs.replace(generation, segments=_segments(generation.segments, mapping))


def _state_with(state: ListState, mapping: Mapping[str, SegmentInfo]) -> ListState:
    """The state with new segments wherever the old ones were: served, retained, recorded as withdrawn."""
    return msgspec.structs.replace(
        state,
        generation=None if state.generation is None else _generation_with(state.generation, mapping),
        retained=tuple(_generation_with(each, mapping) for each in state.retained),
        withdrawn=_segments(state.withdrawn, mapping),
    )
