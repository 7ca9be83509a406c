"""How many perceptual codes of a delivery have near duplicates: a list that is full of them drowns what it is asked.

Estimated on a sample, because comparing everything with everything does not end. The sample is the same every time, so
that the same delivery upon the same list makes the same report.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hashmatch.columns.placement import Digests
from hashmatch.ingest.overlaps import evenly_spaced
from hashmatch.model.algorithms import PDQ_MAXIMUM_DISTANCE

# Less than a second of comparing.
_PAIRS = 1 << 26
_MAXIMUM_REFERENCES = 1 << 20
_MAXIMUM_PROBES = 2_048
_CHUNK = 1 << 15


class Density(NamedTuple):
    """`near` of `probes` codes have another within the matching distance among `references` codes.

    `largest_family` estimates the most codes that are near one of them, itself included.
    """

    probes: int
    references: int
    near: int
    largest_family: int

    @property
    def share(self) -> float:
        """The share of the probed codes that have a near duplicate."""
        return self.near / self.probes if self.probes else 0.0


def density_of(delivered: Digests, listed: Digests) -> Density:
    """The density of distinct PDQ codes (n, 32), delivered, among themselves and (m, 32) that the list has besides."""
    together = _words(np.concatenate((delivered, listed)))
    total = len(together)
    if total > _MAXIMUM_REFERENCES:
        together = together[evenly_spaced(total, _MAXIMUM_REFERENCES)]
    probes = _words(delivered)
    wanted = max(1, min(_MAXIMUM_PROBES, _PAIRS // max(1, len(together))))
    if len(probes) > wanted:
        probes = probes[evenly_spaced(len(probes), wanted)]
    neighbours = np.zeros(len(probes), np.int64)
    for low in range(0, len(together), _CHUNK):
        columns = np.ascontiguousarray(together[low : low + _CHUNK].T)
        for number, probe in enumerate(probes):
            # In one byte: a distance of 256 wraps to 0, which like the code itself is no near duplicate.
            distances = np.bitwise_count(columns[0] ^ probe[0])
            for column, word in zip(columns[1:], probe[1:], strict=True):
                distances += np.bitwise_count(column ^ word)
            neighbours[number] += np.count_nonzero((distances > 0) & (distances <= PDQ_MAXIMUM_DISTANCE))
    largest = int(neighbours.max(initial=0)) * total // max(1, len(together)) + 1 if len(probes) else 0
    return Density(len(probes), len(together), int(np.count_nonzero(neighbours)), largest)


def _words(digests: Digests) -> npt.NDArray[np.uint64]:
    return np.ascontiguousarray(digests).view(np.uint64).reshape(len(digests), -1)
