"""Random digests, deliveries of them, and questions whose right answers are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from hashmatch.v1 import common_pb2, match_service_pb2

Digests: TypeAlias = npt.NDArray[np.uint8]

BATCH = 10_000
LABELS = ("A1", "A2", "B1", "B2")

_HEX = np.frombuffer(bytes(range(256)).hex().encode(), np.uint16)
_LABEL_CELLS = np.frombuffer("".join(f"{label}\t" for label in LABELS).encode(), np.uint8).reshape(len(LABELS), -1)
_AT_ONCE = 500_000


def random_digests(count: int, *, seed: int, size: int = 32) -> Digests:
    """(count, size) random bytes; different seeds never meet."""
    return np.frombuffer(np.random.default_rng(seed).bytes(count * size), np.uint8).reshape(count, size)


def values(digests: Digests) -> list[bytes]:
    """Digests one by one, as a caller of Redis has them."""
    size, packed = digests.shape[1], digests.tobytes()
    return [packed[start : start + size] for start in range(0, len(packed), size)]


def label_of(index: int) -> str:
    """The label of the digest of this index in a labelled delivery."""
    return LABELS[index % len(LABELS)]


def hash_text(digests: Digests) -> bytes:
    """One digest a line."""
    return _lines(_HEX[digests].view(np.uint8))


def labelled_rows(digests: Digests) -> bytes:
    """One label and digest a line; the first digest has index 0."""
    labels = _LABEL_CELLS[np.arange(len(digests)) % len(LABELS)]
    return _lines(np.hstack([labels, _HEX[digests].view(np.uint8)]))


def _lines(cells: Digests) -> bytes:
    return np.hstack([cells, np.full((len(cells), 1), ord("\n"), np.uint8)]).tobytes()


def write(path: Path, digests: Digests, *, labelled: bool = False) -> Path:
    """Write a delivery."""
    # A multiple of the number of labels, so that every part begins with the first.
    assert _AT_ONCE % len(LABELS) == 0
    with path.open("wb") as file:
        for part in parts(digests, _AT_ONCE):
            file.write(labelled_rows(part) if labelled else hash_text(part))
    return path


@dataclass(frozen=True, slots=True)
class Question:
    """A batch for BulkMatch: its number, its bytes on the wire, its digests, and where among them which entries are."""

    sequence: int
    request: bytes
    digests: Digests
    positions: list[int]
    entries: list[int]


def questions(listed: Digests, count: int, *, hits: int, seed: int) -> list[Question]:
    """Batches of `BATCH` digests, `hits` of each drawn from `listed`. Question i has the sequence number i."""
    rng = np.random.default_rng(seed)
    made = []
    for sequence in range(count):
        digests = np.frombuffer(rng.bytes(BATCH * 32), np.uint8).reshape(BATCH, 32).copy()
        positions = np.sort(rng.choice(BATCH, hits, replace=False))
        entries = rng.integers(0, len(listed), hits)
        digests[positions] = listed[entries]
        request = match_service_pb2.BulkMatchRequest(
            sequence=sequence,
            column=match_service_pb2.HashColumn(algorithm=common_pb2.ALGORITHM_SHA256, digests=digests.tobytes()),
        )
        made.append(Question(sequence, request.SerializeToString(), digests, positions.tolist(), entries.tolist()))
    return made


def item(**hashes: bytes) -> bytes:
    """A request of BatchMatch for one item with these hashes, given as algorithm=value."""
    request = match_service_pb2.BatchMatchRequest()
    made = request.items.add(reference="item")
    for algorithm, value in hashes.items():
        made.hashes.add(algorithm=common_pb2.Algorithm.Value(f"ALGORITHM_{algorithm.upper()}"), value=value)
    return request.SerializeToString()


def parts(digests: Digests, size: int) -> Iterator[Digests]:
    """Digests in parts of at most `size`."""
    for start in range(0, len(digests), size):
        yield digests[start : start + size]
