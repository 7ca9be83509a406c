"""Compaction and collection: keeping chains of deltas short, and deleting what nothing refers to any longer."""

from __future__ import annotations

from collections.abc import Sequence

from hashmatch.columns.rows import overlay
from hashmatch.ingest.changes import RowsChange
from hashmatch.ingest.publisher import Publisher
from hashmatch.ingest.staging import is_outdated, write_segment
from hashmatch.model.clock import Clock
from hashmatch.store.manifest import Manifest
from hashmatch.store.segments import SegmentInfo, StoreDamagedError
from hashmatch.store.stagings import STAGED
from hashmatch.store.store import Store

# A chain is folded when it has this many deltas. Deltas are folded among themselves as long as they are small, so that
# a large base is read and written again only once its deltas together weigh something.
MAXIMUM_DELTAS = 6
_BASE_SHARE = 10
# What nothing refers to stays this long for servers that still read it, and for stagings that are being written.
GRACE_SECONDS = 3_600.0
ACTOR = "system:compaction"


class Compactor:
    """Folds chains; one at a time. Methods raise what the store raises."""

    def __init__(self, store: Store, clock: Clock, publisher: Publisher) -> None:
        self._store = store
        self._clock = clock
        self._publisher = publisher

    def compact(self) -> int:
        """Fold every chain that has grown too long. Returns how many were folded.

        One that cannot be read keeps no other from being folded; what is wrong with it is raised afterwards.
        """
        sealed = self._store.manifests.load()
        if sealed is None:
            return 0
        manifest = sealed.manifest
        folded = 0
        damage: StoreDamagedError | None = None
        for list_id, state in manifest.lists.items():
            infos = () if state.generation is None else state.generation.segments
            for kind in sorted({info.kind for info in infos}):
                chain = [info for info in infos if info.kind == kind]
                foldable = _foldable(chain)
                if not foldable:
                    continue
                try:
                    folded += self._fold(list_id, foldable, manifest, whole=len(foldable) == len(chain))
                except StoreDamagedError as error:
                    damage = error
        if damage is not None:
            raise damage
        return folded

    def _fold(self, list_id: str, infos: Sequence[SegmentInfo], manifest: Manifest, *, whole: bool) -> bool:
        layers = [self._store.segments.open(info).rows(manifest.placement) for info in infos]
        rows = overlay(layers, keep_removed=not whole)
        change = RowsChange(rows.kind, rows, replace=whole)
        info = write_segment(self._store, self._clock, change)
        self._store.segments.open(info).verify()
        return self._publisher.replace_segments(list_id, infos, [info], ACTOR)


def _foldable(chain: Sequence[SegmentInfo]) -> Sequence[SegmentInfo]:
    """Which segments, side by side, to fold into one; none if the chain is short enough."""
    base, deltas = chain[0], chain[1:]
    if len(deltas) < MAXIMUM_DELTAS:
        return ()
    if sum(info.rows for info in deltas) * _BASE_SHARE >= base.rows:
        return chain
    return deltas


class Collector:
    """Deletes what was noted and is referred to by nothing."""

    def __init__(self, store: Store, clock: Clock, *, grace_seconds: float = GRACE_SECONDS) -> None:
        self._store = store
        self._clock = clock
        self._grace = grace_seconds

    def collect(self) -> int:
        """Delete what is due. Returns how many segments and versions of the suppressions were deleted.

        A staging that cannot be opened is kept with what was written for it: the key may be on another server. It holds
        up nothing else; `StoreDamagedError` names it when all else is done.
        """
        notes = self._store.stagings.notes()
        # The stagings before the manifest: one that is published in between is then known from either.
        stagings, unreadable = self._store.stagings.read()
        sealed = self._store.manifests.load()
        if sealed is None:
            # Without a manifest nobody can tell what is referred to.
            return 0
        now = self._clock.now()
        referred = {*sealed.manifest.segments()}
        if sealed.manifest.suppressions is not None:
            referred.add(sealed.manifest.suppressions.blob_id)
        staged: set[str] = set()
        for staging in stagings:
            if staging.state == STAGED and not is_outdated(staging, sealed.manifest):
                staged.update(info.segment_id for info in staging.segments())
            elif now - staging.staged_at > self._grace:
                self._store.stagings.remove(staging.staging_id)
        deleted = 0
        for identifier, note in notes.items():
            # What is staged keeps its note: nobody notes it again when the staging is discarded.
            if now - note.noted_at <= self._grace or identifier in staged:
                continue
            if identifier not in referred:
                if unreadable and (note.staging_id is None or note.staging_id in unreadable):
                    continue
                # It may have been dropped just now, after the notes were read: then its grace begins now.
                if not self._store.stagings.is_noted(identifier, note):
                    continue
                if note.segment is not None:
                    self._store.segments.delete(note.segment)
                if note.suppressions is not None:
                    self._store.suppressions.delete(note.suppressions)
                deleted += 1
            self._store.stagings.remove_note(identifier, note)
        self._store.stagings.tell(unreadable)
        return deleted
