"""What a parser makes of a delivery: columns of digests, what was said of them, and a tally that reconciles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from hashmatch.model.algorithms import Algorithm
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.model.lists import ListNature
from hashmatch.model.opinions import Statement

EXAMPLES_PER_REASON = 10


class DeliveryError(HashmatchError):
    """A delivery that cannot be read any further. `record` is a line or record number from 1, 0 if unknown."""

    def __init__(self, message: str, *, record: int = 0, reason: ErrorReason = ErrorReason.DELIVERY_MALFORMED) -> None:
        where = f"record {record}: " if record else ""
        super().__init__(reason, f"{where}{message}", metadata={"record": str(record)} if record else {})

    @property
    def record(self) -> int:
        """The line or record number, from 1; 0 if unknown."""
        return int(self.metadata.get("record", 0))


@dataclass(frozen=True, slots=True)
class Column:
    """Digests of one algorithm, in delivery order.

    `digests` is (n, digest_size) uint8, C-contiguous. `statements` is (n,) uint32, indexes into the parser's
    `statements`, or one int for all. `records` is (n,) uint64, the record that each digest comes from, ascending; None
    in formats where the order of records never matters (no keys, no removals). `removal` marks digests that an unkeyed
    record removes from the list.
    """

    algorithm: Algorithm
    digests: npt.NDArray[np.uint8]
    statements: npt.NDArray[np.uint32] | int
    records: npt.NDArray[np.uint64] | None = None
    removal: bool = False


class KeyedRecord(NamedTuple):
    """A record that has a source key: its later states replace its earlier ones. `removed` withdraws the entry.

    `as_of`, in seconds since 1970, says which state is the later one in formats where the order of records does not;
    of states with the same one the later record stands.
    """

    record: int
    key: str
    removed: bool = False
    as_of: float = 0.0


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a delivery."""

    columns: tuple[Column, ...]
    keyed: tuple[KeyedRecord, ...] = ()


@dataclass(slots=True)
class Tally:
    """Counts of one delivery.

    `records` counts lines or rows that are neither blank nor comments. `read` counts fingerprints met; a record without
    any fingerprint (and that is no removal by key) counts as one that is quarantined. `removals` counts records that
    only remove. So read = fingerprints handed out that add + quarantined + removals. `declared_records` is how many
    records the delivery itself says that it has, `declared_nature` what it says that they are about; None if it does
    not say.
    """

    records: int = 0
    read: int = 0
    removals: int = 0
    declared_records: int | None = None
    declared_nature: ListNature | None = None
    quarantined: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[int]] = field(default_factory=dict)

    def quarantine(self, reason: str, record: int, count: int = 1) -> None:
        """Count `count` fingerprints refused for `reason` (a stable word), the first of them in `record`."""
        self.quarantined[reason] += count
        examples = self.examples.setdefault(reason, [])
        if len(examples) < EXAMPLES_PER_REASON:
            examples.append(record)


class DeliveryParser(Protocol):
    """Reads one delivery. Raises only `DeliveryError`; an unsound record is quarantined instead.

    `statements` grows as the delivery is read; a chunk refers only to statements that are already there.
    """

    statements: list[Statement]
    tally: Tally

    def feed(self, data: bytes) -> Iterator[Chunk]:
        """Take the next bytes, of any number, cut anywhere."""
        ...

    def finish(self) -> Iterator[Chunk]:
        """Take the end of the delivery. Raises `DeliveryError` if it is truncated."""
        ...


@dataclass(frozen=True, slots=True)
class ParserOptions:
    """What the importer states about a delivery: the label, scheme and jurisdiction of entries that give none."""

    label: str = ""
    scheme: str = ""
    jurisdiction: str = ""
    profile: str = ""
