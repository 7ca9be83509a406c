"""Entries that matched in a flood: a sealed field for each list and value, under derived names."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from hashmatch.model.floods import Flood
from hashmatch.store.connection import Connection
from hashmatch.store.keys import Keys
from hashmatch.trust.sealing import SealingError, SealingKey

_FLOOD_READER = msgspec.msgpack.Decoder(Flood)

MAXIMUM_FLOODS = 1_000
RETENTION_SECONDS = 7 * 86_400
_ID_BYTES = 12


class FloodStore:
    """Keeps the latest floods for a week. Methods raise `StoreUnavailableError`."""

    def __init__(self, connection: Connection, keys: Keys, sealing_key: SealingKey) -> None:
        self._connection = connection
        self._key = keys.floods
        self._sealing_key = sealing_key
        self._sealer = sealing_key.sealer(b"", b"floods")

    def id_of(self, flood: Flood) -> str:
        """The name of what matched, however often it did."""
        names = (flood.list_id, flood.algorithm, flood.value)
        return self._sealing_key.derive(msgspec.msgpack.encode(names), b"flood id")[:_ID_BYTES].hex()

    def put(self, floods: Iterable[Flood], now: float) -> None:
        """Keep floods, each in the place of an earlier one of the same; of too many, and of old ones, none."""
        for flood in floods:
            flood_id = self.id_of(flood)
            sealed = self._sealer.seal_with_random_nonce(msgspec.msgpack.encode(flood), flood_id.encode())
            self._connection.hash_set(self._key, flood_id, sealed)
        self._connection.expire(self._key, RETENTION_SECONDS)
        fields = self._connection.hash_all(self._key)
        kept = self._opened(fields, now)
        latest = sorted(kept, key=lambda flood_id: -kept[flood_id].seen_at)[:MAXIMUM_FLOODS]
        for field in fields.keys() - {flood_id.encode() for flood_id in latest}:
            self._connection.hash_delete(self._key, field.decode("latin-1"))

    def all(self, now: float) -> dict[str, Flood]:
        """Those of the last week by their ids. What does not verify is passed over: no server of ours wrote it."""
        return self._opened(self._connection.hash_all(self._key), now)

    def _opened(self, fields: dict[bytes, bytes], now: float) -> dict[str, Flood]:
        found = {}
        for field, sealed in fields.items():
            try:
                flood = _FLOOD_READER.decode(self._sealer.open_with_nonce(sealed, field))
            except (SealingError, msgspec.MsgspecError):
                continue
            if now - flood.seen_at <= RETENTION_SECONDS:
                found[field.decode("latin-1")] = flood
        return found
