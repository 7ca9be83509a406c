"""Records that wait in one hash of the store: each sealed in its place, and changed only from what it was read as."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from typing import Generic, NamedTuple, TypeVar

import msgspec

from hashmatch.model.decoding import UNREADABLE
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.store.connection import Connection
from hashmatch.store.segments import StoreDamagedError
from hashmatch.trust.sealing import SealingError, SealingKey

T = TypeVar("T")

_ATTEMPTS = 20


class Read(NamedTuple, Generic[T]):
    """The `records` that open, and the ids of those that do not: spoilt, or sealed under a key that is not here.

    Which of the two nobody can tell, so that what cannot be opened is never taken for lost.
    """

    records: list[T]
    unreadable: list[str]


class SealedRecords(Generic[T]):
    """The records of one kind, by their ids. Methods raise `StoreUnavailableError`.

    `reader` reads the kind, and is one that was made on import: msgspec cannot read a type for the first time in two
    threads. `purpose` sets what is sealed apart from other kinds, `what` names one of them in errors, and `unknown` is
    the reason that is given where there is none.
    """

    def __init__(
        self,
        connection: Connection,
        key: bytes,
        sealing_key: SealingKey,
        reader: msgspec.msgpack.Decoder[T],
        *,
        purpose: bytes,
        what: str,
        unknown: ErrorReason,
    ) -> None:
        self._connection = connection
        self._key = key
        self._sealer = sealing_key.sealer(b"", purpose)
        self._reader = reader
        self._what = what
        self._unknown = unknown

    def put(self, record_id: str, record: T) -> None:
        """Write a record, whatever is there: for a new one. What is there is changed with `change`."""
        self._connection.hash_set(self._key, record_id, self._sealed(record_id, record))

    def get(self, record_id: str) -> T:
        """A record. Raises `HashmatchError` if there is none, and `StoreDamagedError`."""
        return self._open(record_id, self._load(record_id))

    def change(self, record_id: str, change: Callable[[T], T | None]) -> T:
        """Put what `change` makes of a record in its place, in one step; None leaves it. Returns what is there then.

        `change` is called again with what the record has become where somebody else was faster. Raises
        `HashmatchError` if there is none, or CONFLICT if others always were, `StoreDamagedError`, and what `change`
        raises.
        """
        for _ in range(_ATTEMPTS):
            sealed = self._load(record_id)
            record = self._open(record_id, sealed)
            changed = change(record)
            if changed is None:
                return record
            if self._connection.hash_compare_and_set(self._key, record_id, sealed, self._sealed(record_id, changed)):
                return changed
        raise HashmatchError(
            ErrorReason.CONFLICT, f"others kept changing the {self._what} at the same time; try again", retry_after=1.0
        )

    def read(self) -> Read[T]:
        """Every record: one that cannot be opened keeps nobody from the others."""
        found: Read[T] = Read([], [])
        for field, sealed in self._connection.hash_all(self._key).items():
            try:
                found.records.append(self._open(field.decode(), sealed))
            except (StoreDamagedError, UnicodeDecodeError):
                found.unreadable.append(field.decode("utf-8", "backslashreplace"))
        found.unreadable.sort()
        return found

    def all(self) -> list[T]:
        """Every record that can be opened."""
        return self.read().records

    def under(self, key_ids: Collection[str]) -> list[T]:
        """Those that are sealed under one of these keys, and can be opened."""
        found = []
        for field, sealed in self._connection.hash_all(self._key).items():
            with contextlib.suppress(StoreDamagedError, SealingError, UnicodeDecodeError):
                record_id = field.decode()
                if self._sealer.key_of(sealed, record_id.encode()) in key_ids:
                    found.append(self._open(record_id, sealed))
        return found

    def tell(self, unreadable: Collection[str]) -> None:
        """Raise `StoreDamagedError` that names what cannot be opened, if there is anything."""
        if unreadable:
            raise StoreDamagedError(
                f"cannot be opened here, and is kept: {self._what} {', '.join(unreadable)}; it is spoilt, or sealed "
                "under a key that is none of sealing.key_file, next_key_file and old_key_files here"
            )

    def remove(self, record_id: str) -> None:
        """Forget a record."""
        self._connection.hash_delete(self._key, record_id)

    def _load(self, record_id: str) -> bytes:
        sealed = self._connection.hash_get(self._key, record_id)
        if sealed is None:
            raise HashmatchError(self._unknown, f"there is no such {self._what}")
        return sealed

    def _sealed(self, record_id: str, record: T) -> bytes:
        return self._sealer.seal_with_random_nonce(msgspec.msgpack.encode(record), record_id.encode())

    def _open(self, record_id: str, sealed: bytes) -> T:
        try:
            return self._reader.decode(self._sealer.open_with_nonce(sealed, record_id.encode()))
        except (SealingError, *UNREADABLE) as error:
            raise self._damaged() from error

    def _damaged(self) -> StoreDamagedError:
        return StoreDamagedError(f"a {self._what} does not verify")
