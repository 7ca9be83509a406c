"""What a delivery has in common with other lists, with what is known to be harmless, and with what is suppressed.

Only counts leave this module: which hashes two lists share is nobody's business but theirs.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hashmatch.columns.placement import PlacementSecret
from hashmatch.columns.rows import Rows, make_rows, positions_in
from hashmatch.ingest.current import CurrentList, packed
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.classification import ClassificationMap
from hashmatch.model.opinions import StatementSet
from hashmatch.model.vetting import ListOverlap
from hashmatch.store.suppressions import Suppression

Mask = npt.NDArray[np.bool_]

# Of each algorithm at most this many hashes are compared with every other list: a share does not get truer by more.
SAMPLE = 20_000


class Comparison(enum.Enum):
    """What two lists say of one hash."""

    AGREED = enum.auto()
    DISPUTED = enum.auto()
    INCOMPARABLE = enum.auto()


class Suppressed(NamedTuple):
    """The hashes of a delivery that are suppressed in its list: by kind which rows, and how many the list lacks now."""

    rows: Mapping[int, Mask]
    added: int


def known_good(delivered: Sequence[Rows], corpus: CurrentList, harmless: Mapping[int, Mask]) -> ListOverlap:
    """How many of the delivered hashes a corpus has; which rows is added to `harmless`, by kind.

    Raises `StoreUnavailableError` and `StoreDamagedError`.
    """
    shared = 0
    for rows in delivered:
        listed = corpus.lists(rows)
        harmless[rows.kind][:] |= listed
        shared += int(np.count_nonzero(listed))
    definition = corpus.state.definition
    looked_for = sum(map(len, delivered))
    return ListOverlap(list_id=definition.list_id, nature=definition.nature, looked_for=looked_for, shared=shared)


def suppressed(
    delivered: Sequence[Rows],
    suppressions: Sequence[Suppression],
    list_id: str,
    current: CurrentList,
    secret: PlacementSecret,
) -> Suppressed:
    """Which of the delivered hashes are suppressed in the list. Raises what the store raises."""
    found = {}
    added = 0
    for rows in delivered:
        digests = sorted(
            {
                each.digest
                for each in suppressions
                if each.algorithm == rows.kind and each.active and each.covers(list_id)
            }
        )
        mask = np.zeros(len(rows), np.bool_)
        if digests:
            columns = packed(digests, Algorithm(rows.kind).digest_size)
            wanted = make_rows(rows.kind, columns, np.zeros(len(digests), np.uint32), ((),), secret)
            positions = positions_in(wanted, rows)
            back = wanted.take(positions >= 0)
            mask[positions[positions >= 0]] = True
            added += int(np.count_nonzero(~current.lists(back)))
        found[rows.kind] = mask
    return Suppressed(found, added)


def overlap_with(delivered: Sequence[Rows], other: CurrentList, known: ClassificationMap) -> ListOverlap:
    """What a sample of the delivered hashes has in common with another list. Raises what the store raises."""
    looked_for = 0
    compared: Counter[Comparison] = Counter()
    for rows in delivered:
        if rows.kind not in other.kinds:
            continue
        sample = rows if len(rows) <= SAMPLE else rows.take(evenly_spaced(len(rows), SAMPLE))
        looked_for += len(sample)
        held = other.held(rows.kind, sample.digests)
        listed = np.flatnonzero(held.numbers >= 0)
        pairs = np.stack((sample.refs[listed].astype(np.int64), held.numbers[listed]), axis=1)
        distinct, counts = np.unique(pairs, axis=0, return_counts=True)
        for (ref, number), count in zip(distinct.tolist(), counts.tolist(), strict=True):
            compared[compare(sample.sets[ref], held.sets[number], known)] += count
    definition = other.state.definition
    return ListOverlap(
        list_id=definition.list_id,
        nature=definition.nature,
        looked_for=looked_for,
        shared=compared.total(),
        agreed=compared[Comparison.AGREED],
        disputed=compared[Comparison.DISPUTED],
    )


def compare(one: StatementSet, other: StatementSet, known: ClassificationMap) -> Comparison:
    """What two statement sets on one hash are to each other.

    Under a scheme that both use, the labels must be the same. Labels of different schemes are never taken for the same;
    they dispute each other only where the classification data say that they cannot both be true.
    """
    ours = {(each.scheme, each.label) for each in one}
    theirs = {(each.scheme, each.label) for each in other}
    shared = {scheme for scheme, _ in ours} & {scheme for scheme, _ in theirs}
    if shared:
        same = {each for each in ours if each[0] in shared} == {each for each in theirs if each[0] in shared}
        return Comparison.AGREED if same else Comparison.DISPUTED
    return Comparison.DISPUTED if known.contradict(ours, theirs) else Comparison.INCOMPARABLE


def evenly_spaced(count: int, wanted: int) -> npt.NDArray[np.int64]:
    """`wanted` of the positions below `count`, ascending: the same ones every time."""
    return np.arange(wanted, dtype=np.int64) * count // wanted
