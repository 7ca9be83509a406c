"""The hashes of an entry, packed as the payload of its source key: how a withdrawal by key finds what to remove."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hashmatch.columns.placement import PlacementSecret
from hashmatch.columns.rows import SOURCE_KEY_DIGEST_SIZE, SOURCE_KEYS, Payloads, Rows, make_rows
from hashmatch.columns.source_keys import source_key_digest
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.opinions import Statement

EntryHash = tuple[int, bytes]

_PRESENT = 1


def pack_entry_hashes(hashes: Sequence[EntryHash]) -> bytes:
    """The payload for (algorithm, digest) pairs: each digest behind its algorithm's number."""
    return b"".join(bytes((algorithm,)) + digest for algorithm, digest in hashes)


def unpack_entry_hashes(payload: bytes) -> list[EntryHash]:
    """The (algorithm, digest) pairs of a payload."""
    hashes = []
    at = 0
    while at < len(payload):
        end = at + 1 + Algorithm(payload[at]).digest_size
        hashes.append((payload[at], payload[at + 1 : end]))
        at = end
    return hashes


def source_key_rows(entries: dict[str, list[EntryHash]], removed: Sequence[str], secret: PlacementSecret) -> Rows:
    """Rows that map the keys of entries to their hashes, and the keys of removed entries to nothing."""
    keys = [*entries, *removed]
    digests = np.frombuffer(b"".join(map(source_key_digest, keys)), np.uint8).reshape(-1, SOURCE_KEY_DIGEST_SIZE)
    refs = np.zeros(len(keys), np.uint32)
    refs[: len(entries)] = _PRESENT
    payloads = Payloads.of([*map(pack_entry_hashes, entries.values()), *(b"" for _ in removed)])
    return make_rows(SOURCE_KEYS, digests, refs, ((), (Statement(),)), secret, payloads)
