"""What servers find damaged in the store, for those that can put it back: who finds it has often not written it."""

from __future__ import annotations

from collections.abc import Iterable

from hashmatch.store.connection import Connection
from hashmatch.store.keys import Keys

# More at once are told when some of these are healed.
_MAXIMUM = 1_000


class DamageNotes:
    """Ids of segments that lack a block, or have one that does not verify. Methods raise `StoreUnavailableError`.

    A note is believed as far as looking at the segment goes, and no further.
    """

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._connection = connection
        self._key = keys.damaged

    def add(self, segment_ids: Iterable[str]) -> None:
        """Tell of segments."""
        for segment_id in segment_ids:
            self._connection.hash_set(self._key, segment_id, b"")

    def all(self) -> set[str]:
        """What was told of, and nobody has healed yet."""
        found = sorted(self._connection.hash_all(self._key))
        return {field.decode("ascii", "surrogateescape") for field in found[:_MAXIMUM]}

    def remove(self, segment_ids: Iterable[str]) -> None:
        """Forget what was told of segments."""
        for segment_id in segment_ids:
            self._connection.hash_delete(self._key, segment_id.encode("ascii", "surrogateescape"))
