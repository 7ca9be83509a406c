"""The source keys of a row's statements, packed as the row's payload."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from hashmatch.columns.rows import SOURCE_KEY_DIGEST_SIZE

_KEYS_READER = msgspec.msgpack.Decoder(list[str])


def pack_source_keys(keys: Sequence[str]) -> bytes:
    """The payload for the keys of a row's entries, in the order of their statements; empty if none has a key."""
    return msgspec.msgpack.encode(keys) if any(keys) else b""


def unpack_source_keys(payload: bytes) -> list[str]:
    """The keys of a payload; none for the empty payload."""
    return _KEYS_READER.decode(payload) if payload else []


def source_key_digest(key: str) -> bytes:
    """The 16-byte digest under which an entry's key is placed and found."""
    return hashlib.blake2b(key.encode(), digest_size=SOURCE_KEY_DIGEST_SIZE).digest()
