"""Makes a bundle of a list: everything that its current generation says, in an order that is the same everywhere.

This reads a whole list, which no call of the service does: it is for who has the sealing key, on the server's host.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hashmatch.columns.rows import SOURCE_KEYS, Rows
from hashmatch.columns.source_keys import unpack_source_keys
from hashmatch.formats.bundle import VERSION, BundleHeader, Fingerprint, written
from hashmatch.ingest.current import CurrentList
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.model.opinions import Statement, StatementSet
from hashmatch.store.manifest import list_not_found
from hashmatch.store.store import Store


def bundle_of(store: Store, list_id: str) -> Iterator[bytes]:
    """The bundle of what a list has now, line by line. Holds the list in memory.

    Raises `HashmatchError` LIST_NOT_FOUND, GENERATION_NOT_FOUND if nothing is published, `StoreUnavailableError` and
    `StoreDamagedError`.
    """
    sealed = store.manifests.load()
    if sealed is None:
        raise list_not_found(list_id)
    state = sealed.manifest.state(list_id)
    if state.generation is None:
        raise HashmatchError(ErrorReason.GENERATION_NOT_FOUND, "nothing of the list is published")
    current = CurrentList(state, sealed.manifest.placement, store.segments)
    rows = [current.rows(kind) for kind in sorted(current.kinds - {SOURCE_KEYS})]
    said = sorted({_undated(each) for part in rows for ref in np.unique(part.refs) for each in part.sets[ref]})
    header = BundleHeader(
        hashmatch_bundle=VERSION,
        definition=state.definition,
        generation=state.generation.number,
        as_of=state.generation.as_of,
    )
    yield from written(header, said, _entries(rows, {each: number for number, each in enumerate(said)}))


def _entries(rows: list[Rows], numbers: dict[Statement, int]) -> Iterator[tuple[str, list[Fingerprint]]]:
    """The entries with a key, by their keys, then the others, by their hashes."""
    keyed: dict[str, list[Fingerprint]] = {}
    for part in rows:
        for digest, said, keys in _ordered(part):
            for each, key in zip(said, keys, strict=True):
                if key:
                    keyed.setdefault(key, []).append((Algorithm(part.kind), digest, numbers[_undated(each)]))
    for key in sorted(keyed):
        yield key, sorted(set(keyed[key]))
    for part in rows:
        for digest, said, keys in _ordered(part):
            unkeyed = {numbers[_undated(each)] for each, key in zip(said, keys, strict=True) if not key}
            for number in sorted(unkeyed):
                yield "", [(Algorithm(part.kind), digest, number)]


def _ordered(rows: Rows) -> Iterator[tuple[bytes, StatementSet, list[str]]]:
    """Digests in order, with their statements and the key of each, blank if it has none."""
    size = rows.digests.shape[1]
    # Placements, by which rows are sorted, are secret and differ between stores.
    order = np.argsort(np.ascontiguousarray(rows.digests).view(f"S{size}").ravel(), kind="stable")
    for row in order.tolist():
        said = rows.sets[rows.refs[row]]
        keys = [] if rows.payloads is None else unpack_source_keys(rows.payloads[row])
        yield rows.digests[row].tobytes(), said, keys or [""] * len(said)


def _undated(statement: Statement) -> Statement:
    """What a body states, without what a list counts for itself."""
    return statement._replace(since_generation=0, frames=0)
