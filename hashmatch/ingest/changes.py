"""Compares what a list will have with what it has: what to write, and what the vetting report says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hashmatch.columns.placement import PlacementSecret
from hashmatch.columns.rows import SOURCE_KEYS, Rows, SetInterner, make_rows, overlay, positions_in
from hashmatch.ingest.assembly import Entries, rows_of
from hashmatch.ingest.current import CurrentList, packed
from hashmatch.ingest.entry_hashes import EntryHash, source_key_rows
from hashmatch.ingest.keyed import hashes_by_key, merged_by_key
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.opinions import Statement, StatementSet
from hashmatch.model.vetting import DeliveryMode
from hashmatch.store.segments import StoreDamagedError

Positions = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# A change of more than a tenth of the rows is written as a new base: a delta would cost every lookup.
_LARGEST_DELTA_SHARE = 10


@dataclass(frozen=True, slots=True)
class RowsChange:
    """What to write of one kind: a new base, a delta upon the current chain, or (`rows` None) nothing at all left."""

    kind: int
    rows: Rows | None
    replace: bool


@dataclass(slots=True)
class Changes:
    """A comparison. Counts are of hashes; `counts` maps algorithms to the hashes that there will be.

    `delivered` are the hashes that the delivery itself states, whether they change anything or not, one `Rows` for each
    algorithm; `delivered_keys` are the keys of its entries. `superseded`, which `duplicates` includes, were replaced by
    a later state of their entry in the same delivery. `base_unreadable` says that what the list has of some kind cannot
    be read: then everything delivered of it counts as added, and everything that there was as removed.
    """

    rows: list[RowsChange]
    counts: dict[int, int]
    delivered: Sequence[Rows] = ()
    delivered_keys: Sequence[str] = ()
    stored: int = 0
    duplicates: int = 0
    superseded: int = 0
    added: int = 0
    removed: int = 0
    changed: int = 0
    unchanged: int = 0
    base_unreadable: bool = False


def changes_of(
    entries: Entries, mode: DeliveryMode, current: CurrentList, secret: PlacementSecret, generation: int
) -> Changes:
    """What a delivery changes. Raises `StoreUnavailableError`, and `StoreDamagedError` for one that is not full.

    A full delivery is what a damaged list is made whole with: it needs nothing of what there was.
    """
    changes = Changes([], dict(current.counts))
    delivered: dict[int, Rows] = {}
    for fingerprints in entries.fingerprints:
        rows, stored, repeated = rows_of(fingerprints, entries, secret, generation)
        delivered[fingerprints.algorithm] = rows
        changes.stored += stored
        changes.duplicates += repeated
    changes.superseded = entries.superseded
    changes.duplicates += entries.superseded
    changes.delivered = [rows for _, rows in sorted(delivered.items())]
    changes.delivered_keys = entries.keys
    if mode is DeliveryMode.FULL:
        if entries.keyed:
            delivered[SOURCE_KEYS] = source_key_rows(hashes_by_key(delivered, entries), (), secret)
        for kind in sorted(delivered.keys() | current.kinds):
            try:
                _replace(changes, kind, delivered.get(kind), current)
            except StoreDamagedError:
                _write_anew(changes, kind, delivered.get(kind))
        return changes
    if entries.keyed or current.keyed:
        delivered = merged_by_key(delivered, entries, current, secret, generation)
    else:
        for fingerprints in entries.fingerprints:
            gone = fingerprints.removed
            if len(gone):
                removals = make_rows(fingerprints.algorithm, gone, np.zeros(len(gone), np.uint32), ((),), secret)
                kind = int(fingerprints.algorithm)
                delivered[kind] = overlay([delivered[kind], removals], keep_removed=True)
    for kind, rows in sorted(delivered.items()):
        _update(changes, kind, rows, current)
    return changes


def withdrawal_of(
    hashes: list[EntryHash], keys: list[str], current: CurrentList, secret: PlacementSecret, generation: int
) -> tuple[Changes, int]:
    """What withdrawing hashes, with all that the list says of them, and entries by key changes.

    Returns the changes and how many of the given hashes and keys the list did not have.
    """
    changes = Changes([], dict(current.counts))
    missing = 0
    by_algorithm: dict[int, set[bytes]] = {}
    for algorithm, digest in dict.fromkeys(hashes):
        by_algorithm.setdefault(algorithm, set()).add(digest)
    delivered: dict[int, Rows] = {}
    if keys:
        entries = Entries((), (), (), list(dict.fromkeys(keys)), 0)
        if current.keyed:
            missing += sum(not found for found in current.hashes_of_entries(entries.removed_keys))
            delivered = merged_by_key({}, entries, current, secret, generation)
        else:
            missing += len(entries.removed_keys)
    for algorithm, digests in sorted(by_algorithm.items()):
        gone = packed(sorted(digests), Algorithm(algorithm).digest_size)
        missing += int(np.count_nonzero(current.held(algorithm, gone).numbers < 0))
        removals = make_rows(algorithm, gone, np.zeros(len(gone), np.uint32), ((),), secret)
        layers = [delivered[algorithm], removals] if algorithm in delivered else [removals]
        delivered[algorithm] = overlay(layers, keep_removed=True)
    for kind, rows in sorted(delivered.items()):
        _update(changes, kind, rows, current)
    return changes, missing


def _replace(changes: Changes, kind: int, rows: Rows | None, current: CurrentList) -> None:
    """The delivery is all that the list will have of this kind."""
    before = current.rows(kind) if kind in current.kinds else None
    if rows is None or not len(rows):
        if before is not None:
            changes.rows.append(RowsChange(kind, None, replace=True))
            _count(changes, kind, removed=len(before))
        changes.counts.pop(kind, None)
        return
    if before is None:
        changes.rows.append(RowsChange(kind, rows, replace=True))
        _count(changes, kind, added=len(rows))
        _set_count(changes, kind, len(rows))
        return
    positions = positions_in(rows, before)
    listed = positions >= 0
    numbers = np.full(len(rows), -1, np.int64)
    numbers[listed] = before.refs[positions[listed]]
    same_payload = _same_payloads(rows, before, positions)
    rows, same = _with_first_appearances(rows, numbers, before.sets)
    same &= same_payload
    gone = before.take(positions_in(before, rows) < 0)
    added = int(np.count_nonzero(positions < 0))
    changed = len(rows) - added - int(np.count_nonzero(same))
    _count(changes, kind, added, len(gone), changed, int(np.count_nonzero(same)))
    _set_count(changes, kind, len(rows))
    if (added + changed + len(gone)) * _LARGEST_DELTA_SHARE > len(rows):
        changes.rows.append(RowsChange(kind, rows, replace=True))
    elif added or changed or len(gone):
        removals = Rows(kind, gone.digests, gone.placed, np.zeros(len(gone), np.uint32), ((),))
        delta = overlay([rows.take(~same), removals], keep_removed=True)
        changes.rows.append(RowsChange(kind, delta, replace=False))


def _write_anew(changes: Changes, kind: int, rows: Rows | None) -> None:
    """The delivery takes the place of what cannot be read, whatever that was."""
    changes.base_unreadable = True
    added = 0 if rows is None else len(rows)
    _count(changes, kind, added=added, removed=changes.counts.get(kind, 0))
    _set_count(changes, kind, added)
    changes.rows.append(RowsChange(kind, rows if added else None, replace=True))


def _update(changes: Changes, kind: int, rows: Rows, current: CurrentList) -> None:
    """The delivery says of some digests all that the list will have of them; an empty set removes one."""
    held = current.held(kind, rows.digests)
    rows, same = _with_first_appearances(rows, held.numbers, tuple(held.sets))
    if rows.payloads is not None:
        for row in np.flatnonzero(same).tolist():
            same[row] = rows.payloads[row] == held.payload(row)
    live = rows.live
    listed = held.numbers >= 0
    added, gone = live & ~listed, listed & ~live
    changed = live & listed & ~same
    _count(changes, kind, *(int(np.count_nonzero(each)) for each in (added, gone, changed, live & same)))
    if kind != SOURCE_KEYS:
        total = changes.counts.get(kind, 0) + int(np.count_nonzero(added)) - int(np.count_nonzero(gone))
        _set_count(changes, kind, total)
    touched = added | gone | changed
    if touched.any():
        changes.rows.append(RowsChange(kind, rows.take(touched), replace=kind not in current.kinds))


def _count(changes: Changes, kind: int, added: int = 0, removed: int = 0, changed: int = 0, same: int = 0) -> None:
    if kind == SOURCE_KEYS:
        return
    changes.added += added
    changes.removed += removed
    changes.changed += changed
    changes.unchanged += same


def _set_count(changes: Changes, kind: int, total: int) -> None:
    if kind == SOURCE_KEYS:
        return
    changes.counts.pop(kind, None)
    if total:
        changes.counts[kind] = total


def _with_first_appearances(rows: Rows, numbers: Positions, before: tuple[StatementSet, ...]) -> tuple[Rows, Mask]:
    """Let statements that the list already made keep the generation in which they first appeared.

    `numbers` gives, for each row, the set of the same digest in `before`, or -1. Also returns which rows say exactly
    what was said before.
    """
    interner = SetInterner()
    pairs = rows.refs.astype(np.int64) * (len(before) + 1) + (numbers + 1)
    distinct, inverse = np.unique(pairs, return_inverse=True)
    refs = np.empty(len(distinct), np.uint32)
    same = np.zeros(len(distinct), np.bool_)
    for index, pair in enumerate(distinct.tolist()):
        ref, number = divmod(pair, len(before) + 1)
        earlier: StatementSet = before[number - 1] if number else ()
        first_seen = {_undated(said): said for said in sorted(earlier, reverse=True)}
        now = tuple(_first_said(said, first_seen) for said in rows.sets[ref])
        refs[index] = interner.number(now)
        same[index] = bool(number) and now == earlier
    kept = Rows(rows.kind, rows.digests, rows.placed, refs[inverse], tuple(interner.sets), rows.payloads)
    return kept, same[inverse]


def _first_said(statement: Statement, first_seen: Mapping[Statement, Statement]) -> Statement:
    earlier = first_seen.get(_undated(statement))
    return statement if earlier is None else earlier


def _undated(statement: Statement) -> Statement:
    return statement._replace(since_generation=0)


def _same_payloads(rows: Rows, before: Rows, positions: Positions) -> Mask:
    if rows.payloads is None and before.payloads is None:
        return np.ones(len(rows), np.bool_)
    return np.fromiter(
        (
            position >= 0
            and (b"" if rows.payloads is None else rows.payloads[row])
            == (b"" if before.payloads is None else before.payloads[position])
            for row, position in enumerate(positions.tolist())
        ),
        np.bool_,
        len(rows),
    )
