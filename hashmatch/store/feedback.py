"""What callers said of matches: a sealed field for each client, hash and list, under derived names."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Iterator

import msgspec

from hashmatch.model.feedback import Feedback
from hashmatch.store.connection import Connection
from hashmatch.store.keys import Keys
from hashmatch.trust.sealing import SealingError, SealingKey

_FEEDBACK_READER = msgspec.msgpack.Decoder(Feedback)

_ID_BYTES = 12
# Whoever changes anything puts a new random word here, so that servers need not read everything to see that all is as
# it was. No id is as short.
_VERSION = "version"
_VERSION_BYTES = 8


class FeedbackStore:
    """Keeps feedback. Methods raise `StoreUnavailableError`."""

    def __init__(self, connection: Connection, keys: Keys, sealing_key: SealingKey) -> None:
        self._connection = connection
        self._key = keys.feedback
        self._sealing_key = sealing_key
        self._sealer = sealing_key.sealer(b"", b"feedback")

    def id_of(self, feedback: Feedback) -> str:
        """The name of what a client says of a hash in a list, whatever that is."""
        return _named(self._sealing_key, feedback)

    def put(self, feedback: Feedback) -> None:
        """Keep what a client says, in the place of what it said before."""
        feedback_id = self.id_of(feedback)
        sealed = self._sealer.seal_with_random_nonce(msgspec.msgpack.encode(feedback), feedback_id.encode())
        self._connection.hash_set(self._key, feedback_id, sealed)
        self._remove_others(feedback)
        self._changed()

    def remove(self, feedback: Iterable[Feedback]) -> None:
        """Keep something no longer."""
        for each in feedback:
            self._connection.hash_delete(self._key, self.id_of(each))
            self._remove_others(each)
        self._changed()

    def version(self) -> bytes | None:
        """What is another word whenever something has changed; None if nothing was ever said."""
        return self._connection.hash_get(self._key, _VERSION)

    def all(self) -> dict[str, Feedback]:
        """Everything by its id. What does not verify is passed over: nobody said it."""
        found: dict[str, Feedback] = {}
        for _, said in self._opened():
            # While keys rotate the same may lie there under the names of two.
            found[self.id_of(said)] = max(said, found.get(self.id_of(said), said), key=lambda each: each.said_at)
        return found

    def under(self, key_ids: Collection[str]) -> list[Feedback]:
        """What is sealed under one of these keys."""
        return [said for key_id, said in self._opened() if key_id in key_ids]

    def _opened(self) -> Iterator[tuple[str, Feedback]]:
        for field, sealed in self._connection.hash_all(self._key).items():
            try:
                key_id = self._sealer.key_of(sealed, field)
                yield key_id, _FEEDBACK_READER.decode(self._sealer.open_with_nonce(sealed, field))
            except (SealingError, msgspec.MsgspecError):
                continue

    def _remove_others(self, feedback: Feedback) -> None:
        """Remove what lies under the names that follow from other keys."""
        for key in self._sealing_key.others:
            self._connection.hash_delete(self._key, _named(key, feedback))

    def _changed(self) -> None:
        self._connection.hash_set(self._key, _VERSION, secrets.token_bytes(_VERSION_BYTES))


def _named(key: SealingKey, feedback: Feedback) -> str:
    names = (feedback.client, feedback.list_id, feedback.algorithm, feedback.value)
    return key.derive(msgspec.msgpack.encode(names), b"feedback id")[:_ID_BYTES].hex()
