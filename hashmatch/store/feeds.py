"""Feeds: who runs one at the moment, and how its last round went.

Neither is needed for a list to be right: how far a list has been pulled stands in its published generation. A lease
that is lost costs a round that is run twice, and a status that is lost one that is run early.
"""

from __future__ import annotations

import secrets

import msgspec

from hashmatch.model.feeds import FeedStatus
from hashmatch.store.connection import Connection
from hashmatch.store.keys import Keys
from hashmatch.store.segments import StoreDamagedError
from hashmatch.trust.sealing import SealingError, SealingKey

_STATUS_READER = msgspec.msgpack.Decoder(FeedStatus)

_ID_BYTES = 8
_HOLDER_BYTES = 16


class FeedLease:
    """The right to run one feed, for as long as it is renewed. Methods raise `StoreUnavailableError`."""

    def __init__(self, connection: Connection, key: bytes) -> None:
        self._connection = connection
        self._key = key
        self._holder = secrets.token_bytes(_HOLDER_BYTES)

    def take(self, seconds: float) -> bool:
        """Hold it for `seconds` from now, or longer if it is held already; False if somebody else has it."""
        return self._connection.take_lease(self._key, self._holder, seconds)

    def release(self) -> None:
        """Let others have it at once."""
        self._connection.release_lease(self._key, self._holder)


class FeedStore:
    """Leases, and statuses that are sealed. Methods raise `StoreUnavailableError`."""

    def __init__(self, connection: Connection, keys: Keys, sealing_key: SealingKey) -> None:
        self._connection = connection
        self._keys = keys
        self._sealing_key = sealing_key
        self._sealer = sealing_key.sealer(b"", b"feeds")

    def lease(self, feed: str) -> FeedLease:
        """A lease that nobody holds yet. Every round wants one of its own."""
        return FeedLease(self._connection, self._keys.feed_lease(self._id(feed)))

    def is_running(self, feed: str) -> bool:
        """Whether somebody holds the lease of a feed."""
        return self._connection.count_existing([self._keys.feed_lease(self._id(feed))]) > 0

    def put(self, status: FeedStatus) -> None:
        """Replace the status of a feed."""
        feed_id = self._id(status.feed)
        sealed = self._sealer.seal_with_random_nonce(msgspec.msgpack.encode(status), feed_id.encode())
        self._connection.hash_set(self._keys.feeds, feed_id, sealed)

    def get(self, feed: str) -> FeedStatus:
        """The status of a feed, of one that never ran if there is none. Raises `StoreDamagedError`."""
        feed_id = self._id(feed)
        sealed = self._connection.hash_get(self._keys.feeds, feed_id)
        if sealed is None:
            return FeedStatus(feed=feed)
        try:
            return _STATUS_READER.decode(self._sealer.open_with_nonce(sealed, feed_id.encode()))
        except (SealingError, msgspec.MsgspecError) as error:
            raise StoreDamagedError("the status of a feed does not verify") from error

    def _id(self, feed: str) -> str:
        """What keys and fields say in the place of a name, which tells who delivers."""
        return self._sealing_key.derive(feed.encode(), b"feed id")[:_ID_BYTES].hex()
