"""Sweeping: what nothing refers to any longer does not stay in this server's archive.

The collector deletes a segment in the store and in the archive of the server that it runs on. Another server, which
wrote it, keeps its own copy; and where the store was emptied, the notes of what to collect went with it. What an
importer had not finished when it was killed nobody has noted at all.
"""

from __future__ import annotations

from hashmatch.model.clock import Clock
from hashmatch.store.archive import Archive, ArchiveError
from hashmatch.store.floor import EpochFloor, ManifestRefusedError
from hashmatch.store.manifest import Manifest
from hashmatch.store.stagings import STAGED
from hashmatch.store.store import Store

# How long, in seconds, nothing must have referred to a file: time to notice that a store is not the one it should be,
# and not so long that a server which is restarted every night never comes to it.
GRACE = 6 * 3_600.0
# How old a file is, in seconds, that was begun and is not finished: no delivery takes that long.
UNFINISHED_AGE = 86_400.0
# How often it is looked, in seconds.
LOOK_INTERVAL = 600.0


class ArchiveSweeper:
    """Deletes what was left in the archive of one server; one at a time."""

    def __init__(self, store: Store, floor: EpochFloor, archive: Archive, clock: Clock) -> None:
        self._store = store
        self._floor = floor
        self._archive = archive
        self._clock = clock
        self._due = 0.0
        # Since when, on the monotonic clock, nothing has referred to a file, by its id.
        self._unreferenced: dict[str, float] = {}

    def sweep(self) -> int:
        """Delete what is due, if it is time to look. Returns how many files.

        Raises `StoreUnavailableError` and `StoreDamagedError`, and `ArchiveError` when all that can be deleted is.
        """
        now = self._clock.monotonic()
        if now < self._due:
            return 0
        self._due = now + LOOK_INTERVAL
        swept = self._archive.delete_unfinished(self._clock.now() - UNFINISHED_AGE)
        # The files first, and then what refers to them in the order in which it is passed on: what is written has its
        # note before, and what is published in between is in the manifest.
        files = self._archive.identifiers()
        referred = self._referred()
        if referred is None:
            self._unreferenced.clear()
            return swept
        self._unreferenced = {each: self._unreferenced.get(each, now) for each in files - referred}
        failure: ArchiveError | None = None
        for identifier in [each for each, since in self._unreferenced.items() if now - since > GRACE]:
            try:
                self._archive.delete(identifier)
            except ArchiveError as error:
                failure = error
                continue
            del self._unreferenced[identifier]
            swept += 1
        if failure is not None:
            raise failure
        return swept

    def _referred(self) -> set[str] | None:
        """The ids of all that anything refers to; None where nobody can tell."""
        # What is noted is the collector's, whatever becomes of it, and so is what a staging has that cannot be opened.
        referred = set(self._store.stagings.notes())
        for staging in self._store.stagings.all():
            if staging.state == STAGED:
                referred.update(info.segment_id for info in staging.segments())
        sealed = self._store.manifests.load()
        if sealed is None:
            return None
        try:
            self._floor.check(sealed.manifest)
        except ManifestRefusedError:
            # The store has lost something, or is another one: it is this archive that it is put back from.
            return None
        referred |= _named(sealed.manifest)
        served = self._floor.sealed_manifest()
        return referred if served is None else referred | _named(self._store.manifests.open(served))


def _named(manifest: Manifest) -> set[str]:
    """The ids of what a manifest names: served, retained, withdrawn, suppressed."""
    blobs = set() if manifest.suppressions is None else {manifest.suppressions.blob_id}
    return blobs | manifest.segments().keys()
