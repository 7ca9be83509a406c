"""The floor: the highest epoch that this server has ever served, kept on its disk.

A store that lost writes, in a failover or a restore from an old copy, shows an older manifest that verifies perfectly.
Only who remembers the newer one can tell. So the floor is raised, durably, before an epoch is served, and nothing below
it is served any more; a different manifest under the same epoch is refused as well.
"""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import msgspec

from hashmatch.model.decoding import UNREADABLE
from hashmatch.store.manifest import Manifest, SealedManifest
from hashmatch.trust.durable_files import owners_alone


class FloorError(Exception):
    """The file of the floor cannot be read or written. It is never begun anew by itself: that would forget."""


class ManifestRefusedError(Exception):
    """A manifest that verifies and must not be served; `reason` is a stable word."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class _Mark(msgspec.Struct, frozen=True):
    store_id: str
    epoch: int
    content: str


_MARK_READER = msgspec.json.Decoder(_Mark)


class EpochFloor:
    """The floor in one file; thread-safe. Without a path it is kept in memory alone.

    Where several processes serve together, one keeps the file and the others begin with what it says: `pass_to`.
    """

    def __init__(self, path: Path | None) -> None:
        """Read the file where there is one. Raises `FloorError`."""
        self._path = path
        self._lock = threading.Lock()
        self._mark: _Mark | None = None
        if path is not None and path.exists():
            try:
                self._mark = _MARK_READER.decode(path.read_bytes())
            except (OSError, *UNREADABLE) as error:
                raise FloorError(f"{path} cannot be read; without it an old list could be served as new") from error

    def highest(self) -> int:
        """The highest epoch seen; 0 if none."""
        return 0 if self._mark is None else self._mark.epoch

    def check(self, manifest: Manifest) -> None:
        """Raise `ManifestRefusedError` for a manifest that must not be served."""
        mark = self._mark
        if mark is None:
            return
        if manifest.store_id != mark.store_id:
            raise ManifestRefusedError(
                "other-store", "the store was begun anew; remove the epoch file if that is what you want"
            )
        if manifest.epoch < mark.epoch:
            raise ManifestRefusedError(
                "older-epoch", f"the store shows epoch {manifest.epoch}, epoch {mark.epoch} was served before"
            )
        if manifest.epoch == mark.epoch and content_of(manifest) != mark.content:
            raise ManifestRefusedError("fork", f"the store shows another manifest under epoch {mark.epoch}")

    def raise_to(self, sealed: SealedManifest) -> None:
        """Remember a manifest, durably, before it is served. Raises `ManifestRefusedError` and `FloorError`."""
        manifest = sealed.manifest
        with self._lock:
            self.check(manifest)
            mark = _Mark(manifest.store_id, manifest.epoch, content_of(manifest))
            if mark == self._mark:
                return
            if self._path is not None:
                # First the mark: a crash in between leaves a manifest that is below it, and so is not restored.
                _write_durably(self._path, msgspec.json.encode(mark))
                _write_durably(self._manifest_path(self._path), sealed.raw)
            self._mark = mark

    def pass_to(self, manifest: Manifest) -> None:
        """Remember a manifest that the process which keeps the file remembers. Raises `ManifestRefusedError`."""
        with self._lock:
            self.check(manifest)
            self._mark = _Mark(manifest.store_id, manifest.epoch, content_of(manifest))

    def sealed_manifest(self) -> bytes | None:
        """The manifest of the floor as it was sealed; None if it is not known."""
        try:
            return None if self._path is None else self._manifest_path(self._path).read_bytes()
        except OSError:
            return None

    @staticmethod
    def _manifest_path(path: Path) -> Path:
        return path.with_suffix(".manifest")


def content_of(manifest: Manifest) -> str:
    """The SHA-256 of what a manifest publishes, whatever its renewals."""
    undated = msgspec.structs.replace(manifest, renewals=0, expires_at=0.0)
    return hashlib.sha256(msgspec.msgpack.encode(undated)).hexdigest()


def _write_durably(path: Path, content: bytes) -> None:
    scratch = path.with_suffix(".new")
    try:
        with open(scratch, "wb", opener=owners_alone) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise FloorError(f"{path} cannot be written: {error.strerror}") from error
