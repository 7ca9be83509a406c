"""Entries with source keys: a delivery that changes some of a list's entries, put upon what the list has."""

from __future__ import annotations

import numpy as np

from hashmatch.columns.placement import PlacementSecret
from hashmatch.columns.rows import SOURCE_KEYS, Payloads, Rows, SetInterner, make_rows
from hashmatch.columns.source_keys import pack_source_keys, unpack_source_keys
from hashmatch.ingest.assembly import Entries
from hashmatch.ingest.current import CurrentList, packed
from hashmatch.ingest.entry_hashes import EntryHash, source_key_rows
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.opinions import Statement


def hashes_by_key(delivered: dict[int, Rows], entries: Entries) -> dict[str, list[EntryHash]]:
    """The hashes of each keyed entry of a delivery."""
    hashes: dict[str, list[EntryHash]] = {key: [] for key in entries.keys}
    for kind, rows in sorted(delivered.items()):
        if rows.payloads is None:
            continue
        for row in range(len(rows)):
            digest = rows.digests[row].tobytes()
            for key in unpack_source_keys(rows.payloads[row]):
                if key:
                    hashes[key].append((kind, digest))
    return hashes


def merged_by_key(
    delivered: dict[int, Rows], entries: Entries, current: CurrentList, secret: PlacementSecret, generation: int
) -> dict[int, Rows]:
    """All that the list will say of every digest that a keyed incremental delivery touches.

    An opinion stays unless its entry is in the delivery; an opinion of an entry without a key stays unless the delivery
    has its hash without a key, or removes it.
    """
    touched_keys = {*entries.keys, *entries.removed_keys}
    new: dict[EntryHash, list[tuple[Statement, str]]] = {}
    for kind, rows in delivered.items():
        for row in range(len(rows)):
            keys = unpack_source_keys(rows.payloads[row]) if rows.payloads is not None else []
            said = rows.sets[rows.refs[row]]
            new[kind, rows.digests[row].tobytes()] = [
                (each, keys[position] if position < len(keys) else "") for position, each in enumerate(said)
            ]
    unkeyed = {place for place, said in new.items() if any(not key for _, key in said)}
    for fingerprints in entries.fingerprints:
        for digest in fingerprints.removed:
            place = (int(fingerprints.algorithm), digest.tobytes())
            unkeyed.add(place)
            new.setdefault(place, [])
    hashes = hashes_by_key(delivered, entries)
    ordered_keys = sorted(touched_keys)
    if current.keyed and ordered_keys:
        for old_hashes in current.hashes_of_entries(ordered_keys):
            for place in old_hashes:
                new.setdefault(place, [])
    result: dict[int, Rows] = {}
    for kind in sorted({kind for kind, _ in new}):
        digests = sorted(digest for each, digest in new if each == kind)
        columns = packed(digests, Algorithm(kind).digest_size)
        held = current.held(kind, columns)
        interner = SetInterner()
        refs = np.empty(len(digests), np.uint32)
        payloads = []
        for index, digest in enumerate(digests):
            place = (kind, digest)
            keys = unpack_source_keys(held.payload(index))
            staying = [
                (each._replace(since_generation=generation), key)
                for position, each in enumerate(held.set_of(index))
                if (key := keys[position] if position < len(keys) else "") not in touched_keys
                and (key or place not in unkeyed)
            ]
            stands = sorted({*staying, *new[place]})
            refs[index] = interner.number(tuple(each for each, _ in stands))
            payloads.append(pack_source_keys([key for _, key in stands]) if stands else b"")
        result[kind] = make_rows(kind, columns, refs, interner.sets, secret, Payloads.of(payloads))
    removed_keys = entries.removed_keys
    if hashes or removed_keys:
        result[SOURCE_KEYS] = source_key_rows(hashes, removed_keys, secret)
    return result
