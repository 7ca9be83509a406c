"""Restoring: filling a store that lost data from this server's archive."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial

from hashmatch.model.clock import Clock
from hashmatch.store.archive import Archive, ArchiveError
from hashmatch.store.floor import EpochFloor
from hashmatch.store.manifest import Manifest, ManifestConflictError, ManifestSpoiltError
from hashmatch.store.segments import SegmentInfo, StoreDamagedError
from hashmatch.store.store import Store

# How long, in seconds, others have to put back what this server has not. They look every second.
_PATIENCE = 30.0
# What is wrong with so many files of the archive is told in one line of the log.
_TOLD_AT_ONCE = 10


class Restorer:
    """Puts back what the manifest of the floor names and the store lacks; then, if need be, that manifest itself.

    The manifest was published once and is the newest that this server knows, so putting it back publishes nothing new.
    It takes the place of none, of an older one of the same store, and of one that is spoilt in a store that has
    segments of ours.

    Each server archives what it wrote. Where several administer, one that has not everything must not put the manifest
    back before the others have put back what it names: then all would look well to whoever has the rest, and that would
    stay missing. But for ever it does not wait: what nobody has is gone, and lists can be delivered anew only upon the
    newest manifest.
    """

    def __init__(self, store: Store, floor: EpochFloor, archive: Archive, clock: Clock) -> None:
        self._store = store
        self._floor = floor
        self._archive = archive
        self._clock = clock
        # Since when, on the monotonic clock, something has been missing that the archive does not have.
        self._lacking_since: float | None = None

    def heal(self) -> int:
        """Restore the segments that other servers found damaged, as far as the archive has them. Returns how many.

        Raises `StoreUnavailableError` and `StoreDamagedError`, and when all else is done `ArchiveError`.
        """
        noted = self._store.damage.all()
        raw = self._floor.sealed_manifest() if noted else None
        if raw is None:
            return 0
        named = self._newest(self._store.manifests.open(raw)).segments()
        ours = {segment_id for segment_id in noted if segment_id in named and self._archive.has(segment_id)}
        spoilt = [segment_id for segment_id in ours if not self._is_sound(named[segment_id])]
        unreadable: dict[str, ArchiveError] = {}
        for segment_id in spoilt:
            _put_back(segment_id, partial(self._store.segments.restore, named[segment_id], self._archive), unreadable)
        # What is rotten in the archive may have been well in the store, and the other way round.
        healed = {segment_id for segment_id in spoilt if self._is_sound(named[segment_id])}
        # What no manifest names any more nobody has to heal; the rest is left to the server that wrote it, and what the
        # archive has in no better state stays noted.
        self._store.damage.remove((ours - set(spoilt)) | healed | (noted - named.keys()))
        _raise_all(unreadable)
        return len(healed)

    def restore(self, damaged: Collection[str] = ()) -> int:
        """Restore what is missing, and the segments `damaged`. Returns how many things were put back.

        What does not verify in the archive counts as something that it does not have, and keeps nothing else from being
        put back: what is wrong with it is raised when all else is done. Raises `StoreUnavailableError`,
        `StoreDamagedError` and `ArchiveError`.
        """
        unreadable: dict[str, ArchiveError] = {}
        restored = self._restore(damaged, unreadable)
        _raise_all(unreadable)
        return restored

    def _restore(self, damaged: Collection[str], unreadable: dict[str, ArchiveError]) -> int:
        raw = self._floor.sealed_manifest()
        if raw is None:
            return 0
        manifest = self._store.manifests.open(raw)
        if manifest.epoch != self._floor.highest():
            return 0
        try:
            current = self._store.manifests.load()
        except ManifestSpoiltError as error:
            if not self._has_any_of(manifest):
                # Perhaps it is somebody else's store, under another key.
                raise
            restored = self._restore_content(manifest, damaged, unreadable)
            return restored + self._put_manifest(manifest, error.raw, raw)
        if current is not None and current.manifest.store_id != manifest.store_id:
            # Begun anew by somebody: it has no use for what was lost, and nothing would ever collect it there.
            return 0
        if current is not None and current.manifest.epoch >= manifest.epoch:
            # The floor may lag behind: what it names and the store no longer does was collected.
            return self._restore_content(current.manifest, damaged, unreadable)
        restored = self._restore_content(manifest, damaged, unreadable)
        return restored + self._put_manifest(manifest, b"" if current is None else current.raw, raw)

    def _newest(self, manifest: Manifest) -> Manifest:
        """The store's own manifest, if it is no older than that of the floor and can be read; otherwise this one."""
        try:
            current = self._store.manifests.load()
        except StoreDamagedError:
            return manifest
        if current is None or current.manifest.store_id != manifest.store_id:
            return manifest
        return max(current.manifest, manifest, key=lambda each: each.epoch)

    def _put_manifest(self, manifest: Manifest, expected: bytes, raw: bytes) -> int:
        """Put it where `expected` lies; returns 1, or 0 if it has to wait or something else lies there by now."""
        if not self._is_complete(manifest) and not self._waited_long_enough():
            return 0
        self._lacking_since = None
        try:
            self._store.manifests.put(expected, raw)
        except ManifestConflictError:
            return 0
        return 1

    def _has_any_of(self, manifest: Manifest) -> bool:
        """Whether the store has what only this manifest's store can have: a segment under its random id."""
        return any(map(self._store.segments.is_whole, manifest.segments().values()))

    def _restore_content(
        self, manifest: Manifest, damaged: Collection[str], unreadable: dict[str, ArchiveError]
    ) -> int:
        restored = 0
        for segment_id, info in manifest.segments().items():
            if self._archive.has(segment_id) and (segment_id in damaged or not self._store.segments.is_whole(info)):
                restored += _put_back(
                    segment_id, partial(self._store.segments.restore, info, self._archive), unreadable
                )
        suppressions = manifest.suppressions
        if (
            suppressions is not None
            and self._archive.has(suppressions.blob_id)
            and not self._store.suppressions.is_whole(suppressions)
        ):
            put_back = partial(self._store.suppressions.restore, suppressions, self._archive)
            restored += _put_back(suppressions.blob_id, put_back, unreadable)
        return restored

    def _is_sound(self, info: SegmentInfo) -> bool:
        """Whether the store has all of a segment as it was written: a block may be there and spoilt."""
        try:
            self._store.segments.open(info).verify()
        except StoreDamagedError:
            return False
        return True

    def _is_complete(self, manifest: Manifest) -> bool:
        """Whether the store has everything that the manifest names."""
        suppressions = manifest.suppressions
        return all(map(self._store.segments.is_whole, manifest.segments().values())) and (
            suppressions is None or self._store.suppressions.is_whole(suppressions)
        )

    def _waited_long_enough(self) -> bool:
        now = self._clock.monotonic()
        if self._lacking_since is None:
            self._lacking_since = now
        return now - self._lacking_since >= _PATIENCE


def _put_back(identifier: str, restore: Callable[[], None], unreadable: dict[str, ArchiveError]) -> bool:
    """Put back what the archive has of something; False, and `unreadable` says why, if that is not all of it."""
    try:
        restore()
    except ArchiveError as error:
        unreadable[identifier] = error
    return identifier not in unreadable


def _raise_all(unreadable: Mapping[str, ArchiveError]) -> None:
    """Raise one `ArchiveError` that tells what is wrong with each, if anything is."""
    told = [str(error) for _, error in sorted(unreadable.items())]
    if told:
        more = len(told) - _TOLD_AT_ONCE
        raise ArchiveError("; ".join([*told[:_TOLD_AT_ONCE], *([f"and {more} more"] if more > 0 else [])]))
