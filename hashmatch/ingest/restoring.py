"""Restoring: filling a store that lost data from this server's archive."""

from __future__ import annotations

from collections.abc import Collection

from hashmatch.store.archive import Archive
from hashmatch.store.floor import EpochFloor
from hashmatch.store.manifest import Manifest, ManifestConflictError
from hashmatch.store.segments import SegmentInfo, StoreDamagedError
from hashmatch.store.store import Store


class Restorer:
    """Puts back what the manifest of the floor names and the store lacks; then, if need be, that manifest itself.

    The manifest was published once and is the newest that this server knows, so putting it back publishes nothing new.
    """

    def __init__(self, store: Store, floor: EpochFloor, archive: Archive) -> None:
        self._store = store
        self._floor = floor
        self._archive = archive

    def restore(self, damaged: Collection[str] = ()) -> int:
        """Restore what is missing, and the segments `damaged`. Returns how many things were put back.

        Raises `StoreUnavailableError`, `StoreDamagedError` and `ArchiveError`.
        """
        raw = self._floor.sealed_manifest()
        if raw is None:
            return 0
        manifest = self._store.manifests.open(raw)
        if manifest.epoch != self._floor.highest():
            return 0
        current = self._store.manifests.load()
        if current is not None and current.manifest.store_id != manifest.store_id:
            # Begun anew by somebody: it has no use for what was lost, and nothing would ever collect it there.
            return 0
        restored = self._restore_content(manifest, damaged)
        if current is not None and current.manifest.epoch >= manifest.epoch:
            return restored
        try:
            self._store.manifests.put(b"" if current is None else current.raw, raw)
        except ManifestConflictError:
            return restored
        return restored + 1

    def _restore_content(self, manifest: Manifest, damaged: Collection[str]) -> int:
        restored = 0
        for segment_id, info in manifest.segments().items():
            if self._archive.has(segment_id) and (segment_id in damaged or not self._store.segments.is_whole(info)):
                self._archive.restore(segment_id, self._store.connection)
                restored += 1
        suppressions = manifest.suppressions
        if (
            suppressions is not None
            and self._archive.has(suppressions.blob_id)
            and not self._store.suppressions.is_whole(suppressions)
        ):
            self._archive.restore(suppressions.blob_id, self._store.connection)
            restored += 1
        return restored

    def _is_sound(self, info: SegmentInfo) -> bool:
        """Whether the store has all of a segment as it was written: a block may be there and spoilt."""
        if not self._store.segments.is_whole(info):
            return False
        try:
            self._store.segments.open(info).verify()
        except StoreDamagedError:
            return False
        return True
