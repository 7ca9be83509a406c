"""Suppressions: hashes that the operator leaves out of every answer, sealed apart from the lists they override."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable, Mapping

import msgspec

from hashmatch.store.archive import Archive
from hashmatch.store.connection import Connection
from hashmatch.store.keys import Keys
from hashmatch.store.manifest import SuppressionsInfo
from hashmatch.store.segments import StoreDamagedError
from hashmatch.trust.sealing import SealingError, SealingKey

MAXIMUM_SUPPRESSIONS = 100_000
# Stands in the place of a list's id, which is never empty.
EVERY_LIST = ""


class Suppression(msgspec.Struct, frozen=True, kw_only=True):
    """One hash that is left out; `list_ids` empty means in every list.

    After it is lifted it stays, no longer `active`: from then on the hash counts as newly visible. `changed` has, for
    each list, "" standing for every list, the epoch in which the hash was last suppressed or lifted there, and `lifted`
    that in which it was last lifted. They are kept apart so that what is done about one list tells nothing of another.
    """

    algorithm: int
    digest: bytes
    list_ids: tuple[str, ...]
    reason: str
    actor: str
    changed: dict[str, int]
    lifted: dict[str, int] = {}
    active: bool = True

    def covers(self, list_id: str) -> bool:
        """Whether it concerns the list."""
        return not self.list_ids or list_id in self.list_ids

    def seen_again_since(self, list_id: str) -> int:
        """The epoch from which the hash counts as newly visible in a list where it is not left out; 0 for always."""
        return max(self.lifted.get(EVERY_LIST, 0), self.lifted.get(list_id, 0))

    def changed_for(self, lists: Collection[str]) -> int:
        """The epoch in which it last changed for one of these lists; 0 if it never concerned any."""
        return max((epoch for scope, epoch in self.changed.items() if scope == EVERY_LIST or scope in lists), default=0)


_SUPPRESSIONS_READER = msgspec.msgpack.Decoder(list[Suppression])


class SuppressionStore:
    """Writes and reads whole versions. Methods raise `StoreUnavailableError`."""

    def __init__(
        self, connection: Connection, keys: Keys, sealing_key: SealingKey, archive: Archive | None = None
    ) -> None:
        """What is written is copied to `archive` where there is one."""
        self._archive = archive
        self._connection = connection
        self._keys = keys
        self._sealer = sealing_key.sealer(b"", b"suppressions")

    def write(
        self, suppressions: Iterable[Suppression], *, note_pending: Callable[[SuppressionsInfo], object]
    ) -> SuppressionsInfo:
        """Write a new version that nothing refers to yet. `note_pending` is told of it before anything is written."""
        content = list(suppressions)
        blob_id = secrets.token_hex(8)
        info = SuppressionsInfo(blob_id, len(content))
        note_pending(info)
        sealed = self._sealer.seal_with_random_nonce(msgspec.msgpack.encode(content), blob_id.encode())
        self._connection.set(self._keys.suppressions(blob_id), sealed)
        if self._archive is not None:
            with self._archive.writer(blob_id) as copy:
                copy.add({self._keys.suppressions(blob_id): sealed})
        return info

    def read(self, info: SuppressionsInfo | None) -> list[Suppression]:
        """A version. Raises `StoreDamagedError`."""
        if info is None:
            return []
        sealed = self._connection.get(self._keys.suppressions(info.blob_id))
        if sealed is None:
            raise StoreDamagedError("the suppressions are missing")
        try:
            plain = self._sealer.open_with_nonce(sealed, info.blob_id.encode())
            return _SUPPRESSIONS_READER.decode(plain)
        except (SealingError, msgspec.MsgspecError) as error:
            raise StoreDamagedError("the suppressions do not verify") from error

    def key_id(self, info: SuppressionsInfo) -> str:
        """The id of the key that a version is sealed under. Raises `StoreDamagedError`."""
        sealed = self._connection.get(self._keys.suppressions(info.blob_id))
        try:
            return self._sealer.key_of(sealed or b"", info.blob_id.encode())
        except SealingError as error:
            raise StoreDamagedError("the suppressions do not verify") from error

    def restore(self, info: SuppressionsInfo, archive: Archive) -> None:
        """Put a version back from an archive, if it verifies. Raises `ArchiveError` otherwise."""
        key = self._keys.suppressions(info.blob_id)

        def sound(values: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
            sealed = values.get(key)
            if sealed is None:
                return {}
            try:
                self._sealer.open_with_nonce(sealed, info.blob_id.encode())
            except SealingError:
                return {}
            return {key: sealed}

        archive.restore(info.blob_id, self._connection, sound, 1)

    def delete(self, info: SuppressionsInfo) -> None:
        """Delete a version."""
        self._connection.delete([self._keys.suppressions(info.blob_id)])
        if self._archive is not None:
            self._archive.delete(info.blob_id)

    def is_whole(self, info: SuppressionsInfo) -> bool:
        """Whether the store has a version."""
        return self._connection.count_existing([self._keys.suppressions(info.blob_id)]) == 1
