"""What the store says of a delivery before it is published: the ground on which the gates decide.

Everything here is a count. Which hashes are concerned is never told: not in the report, the log or an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from hashmatch.columns.placement import as_words
from hashmatch.columns.rows import Rows, positions_in
from hashmatch.ingest.changes import Changes
from hashmatch.ingest.current import CurrentList
from hashmatch.ingest.near_duplicates import Density, density_of
from hashmatch.ingest.overlaps import known_good, overlap_with, suppressed
from hashmatch.ingest.withdrawn import returning
from hashmatch.model.algorithms import (
    EMPTY_FILE_DIGESTS,
    PDQ_CODES,
    PDQ_MAXIMUM_DISTANCE,
    Algorithm,
    is_degenerate,
)
from hashmatch.model.classification import classification_map
from hashmatch.model.lists import ListNature
from hashmatch.model.vetting import ListOverlap
from hashmatch.store.manifest import Manifest
from hashmatch.store.segments import StoreDamagedError
from hashmatch.store.store import Store


class Evidence(NamedTuple):
    """Counts of a delivery's hashes.

    `harmless` are in one of the `corpora` known-good corpora, `harmless_served` those of them that are not suppressed.
    `suppressed` are suppressed in the list, `suppressed_added` those of them that it lacks now. `returned_hashes` and
    `returned_entries` were withdrawn at the body's word, are not on the list now, and come back. `degenerate` got past
    the quarantine. `density` is None if there is no PDQ code. `unreadable` are other lists, corpora among them, that
    could not be compared with because the store lacks something of them; `base_unreadable` and `withdrawn_unreadable`
    say the same of the list itself and of what was withdrawn from it.
    """

    nature: ListNature
    overlaps: tuple[ListOverlap, ...] = ()
    corpora: int = 0
    harmless: int = 0
    harmless_served: int = 0
    suppressed: int = 0
    suppressed_added: int = 0
    returned_hashes: int = 0
    returned_entries: int = 0
    degenerate: int = 0
    density: Density | None = None
    unreadable: tuple[str, ...] = ()
    base_unreadable: bool = False
    withdrawn_unreadable: bool = False


def gather(changes: Changes, current: CurrentList, manifest: Manifest, store: Store) -> Evidence:
    """The evidence on a delivery to a list. Raises `StoreUnavailableError` and `StoreDamagedError`.

    That another list is damaged raises nothing: it is told.
    """
    definition = current.state.definition
    delivered = changes.delivered
    if changes.base_unreadable:
        current = CurrentList(
            msgspec.structs.replace(current.state, generation=None), manifest.placement, store.segments
        )
    overlaps: list[ListOverlap] = []
    unreadable: list[str] = []
    corpora = 0
    harmless = {rows.kind: np.zeros(len(rows), np.bool_) for rows in delivered}
    for list_id, state in sorted(manifest.lists.items()):
        served = state.definition.nature.is_served
        if state.generation is None or list_id == definition.list_id or not (served or definition.nature.is_served):
            continue
        corpora += not served
        # One after the other: what was read of it is held on to by each.
        other = CurrentList(state, manifest.placement, store.segments)
        try:
            overlap = (
                overlap_with(delivered, other, classification_map())
                if served
                else known_good(delivered, other, harmless)
            )
        except StoreDamagedError:
            unreadable.append(list_id)
            continue
        if overlap.shared:
            overlaps.append(overlap)
    evidence = Evidence(
        definition.nature,
        tuple(overlaps),
        corpora,
        degenerate=sum(map(_degenerate, delivered)),
        density=_density(delivered, current),
        unreadable=tuple(unreadable),
        base_unreadable=changes.base_unreadable,
    )
    if not definition.nature.is_served:
        return evidence
    left_out = suppressed(
        delivered, store.suppressions.read(manifest.suppressions), definition.list_id, current, manifest.placement
    )
    try:
        returned = returning(changes, current, manifest.placement, store.segments)
    except StoreDamagedError:
        returned = None
    returned_hashes, returned_entries = returned or (0, 0)
    return evidence._replace(
        harmless=sum(int(np.count_nonzero(mask)) for mask in harmless.values()),
        harmless_served=sum(int(np.count_nonzero(harmless[kind] & ~mask)) for kind, mask in left_out.rows.items()),
        suppressed=sum(int(np.count_nonzero(mask)) for mask in left_out.rows.values()),
        suppressed_added=left_out.added,
        returned_hashes=returned_hashes,
        returned_entries=returned_entries,
        withdrawn_unreadable=returned is None,
    )


def _degenerate(rows: Rows) -> int:
    """How many of the rows no parser should have let through."""
    algorithm = Algorithm(rows.kind)
    words = as_words(rows.digests)
    # Found by what is cheap to see in a column; what stands out is then put to the rule.
    suspicious = words[:, 0] == words[:, 1]
    empty = EMPTY_FILE_DIGESTS.get(algorithm)
    if empty is not None:
        suspicious |= words[:, 0] == np.frombuffer(empty[:4], np.uint32)[0]
    if algorithm in PDQ_CODES:
        ones = np.bitwise_count(words).sum(axis=1, dtype=np.int64)
        suspicious |= np.minimum(ones, 8 * algorithm.digest_size - ones) <= PDQ_MAXIMUM_DISTANCE
    digests = (rows.digests[row].tobytes() for row in np.flatnonzero(suspicious).tolist())
    return sum(digest == empty or is_degenerate(algorithm, digest) for digest in digests)


def _density(delivered: Sequence[Rows], current: CurrentList) -> Density | None:
    """The near duplicates of delivered PDQ codes among themselves and what the list has besides."""
    for rows in delivered:
        if rows.kind == Algorithm.PDQ and len(rows):
            besides = current.rows(rows.kind)
            besides = besides.take(positions_in(besides, rows) < 0)
            return density_of(rows.digests, besides.digests)
    return None
