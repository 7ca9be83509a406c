"""What was withdrawn from a list at the body's word: remembered, so that its return does not go unnoticed.

A delivery adds again what it has; a body that withdrew an entry and still delivers it contradicts itself. The record is
a segment for each kind of rows beside the list's generations, so that neither compaction nor a roll back loses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from hashmatch.columns.placement import PlacementSecret
from hashmatch.columns.rows import SOURCE_KEYS, Rows, overlay, positions_in
from hashmatch.ingest.changes import Changes, RowsChange
from hashmatch.ingest.current import CurrentList
from hashmatch.ingest.entry_hashes import source_key_rows
from hashmatch.model.opinions import Statement
from hashmatch.store.manifest import Generation, ListState
from hashmatch.store.segments import SegmentInfo, SegmentStore, StoreDamagedError

WITHDRAWN = "withdrawn"
"""The gate that what was withdrawn does not come back unnoticed."""

_WITHDRAWN = ((), (Statement(),))


def with_withdrawals(
    recorded: Sequence[SegmentInfo], changes: Iterable[RowsChange], secret: PlacementSecret, segments: SegmentStore
) -> list[RowsChange]:
    """What to write of the record: of each kind that `changes` takes rows off, the record with these rows.

    Where what was recorded cannot be read, they are written beside it: it may be that it can be read again one day.
    Raises `StoreUnavailableError`.
    """
    added = []
    for change in changes:
        if change.rows is None or change.rows.live.all():
            continue
        gone = change.rows.take(~change.rows.live)
        marked = Rows(gone.kind, gone.digests, gone.placed, np.ones(len(gone), np.uint32), _WITHDRAWN)
        try:
            before = [segments.open(info).rows(secret) for info in recorded if info.kind == gone.kind]
        except StoreDamagedError:
            added.append(RowsChange(gone.kind, marked, replace=False))
        else:
            added.append(RowsChange(gone.kind, overlay([*before, marked], keep_removed=False), replace=True))
    return added


def returning(
    changes: Changes, current: CurrentList, secret: PlacementSecret, segments: SegmentStore
) -> tuple[int, int]:
    """How many hashes, and how many entries by their keys, a delivery brings back. Raises what the store raises."""
    hashes = entries = 0
    for info in current.state.withdrawn:
        if info.kind == SOURCE_KEYS:
            rows = source_key_rows({key: [] for key in changes.delivered_keys}, (), secret)
            entries += _back(segments.open(info).rows(secret), rows, current)
        else:
            for rows in changes.delivered:
                if rows.kind == info.kind:
                    hashes += _back(segments.open(info).rows(secret), rows, current)
    return hashes, entries


def returning_with(
    target: Generation, state: ListState, secret: PlacementSecret, segments: SegmentStore
) -> tuple[int, int]:
    """How many withdrawn hashes, and entries by their keys, an earlier generation brings back. Raises likewise."""
    now = CurrentList(state, secret, segments)
    then = CurrentList(msgspec.structs.replace(state, generation=target), secret, segments)
    hashes = entries = 0
    for info in state.withdrawn:
        rows = segments.open(info).rows(secret)
        back = int(np.count_nonzero(then.lists(rows) & ~now.lists(rows)))
        if info.kind == SOURCE_KEYS:
            entries += back
        else:
            hashes += back
    return hashes, entries


def _back(withdrawn: Rows, rows: Rows, current: CurrentList) -> int:
    """How many of the withdrawn are delivered and not on the list now."""
    delivered = withdrawn.take(positions_in(withdrawn, rows) >= 0)
    return int(np.count_nonzero(~current.lists(delivered)))
