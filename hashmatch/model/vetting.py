"""Vetting: what was found in a delivery before anybody is served from it."""

from __future__ import annotations

import enum

import msgspec

from hashmatch.model.lists import ListNature


class DeliveryMode(enum.IntEnum):
    """How a delivery relates to what the list has; the numbers are those of the contract."""

    FULL = 1
    INCREMENTAL = 2


class Gate(msgspec.Struct, frozen=True):
    """A condition that a generation must meet; one that is `acceptable` may be published against, on the record."""

    name: str
    passed: bool
    detail: str
    acceptable: bool = True


class QuarantineCount(msgspec.Struct, frozen=True):
    """How many fingerprints were refused for one reason, and the first records concerned."""

    reason: str
    count: int
    example_records: tuple[int, ...] = ()


class LabelCount(msgspec.Struct, frozen=True):
    """How many hashes carry a label."""

    label: str
    scheme: str
    count: int


class ListOverlap(msgspec.Struct, frozen=True, kw_only=True):
    """What a delivery has in common with another list: how many, never which.

    Of `looked_for` hashes (all of them for a known-good corpus, otherwise an even sample) the other list has `shared`;
    of those it says the same of `agreed` and something else of `disputed`. The rest cannot be compared.
    """

    list_id: str
    nature: ListNature
    looked_for: int
    shared: int
    agreed: int = 0
    disputed: int = 0


class VettingReport(msgspec.Struct, frozen=True, kw_only=True):
    """What vetting found: read = stored + duplicates + quarantined + removals.

    `stored` is counted on what was written, the others on what was read, so that the sum is a check. `counts` maps
    algorithm numbers to the hashes that the generation will have; `added` to `unchanged` compare it with the current.
    `declared_records` is what the delivery says of its own size.
    """

    records: int
    read: int
    stored: int
    duplicates: int
    quarantined: int
    removals: int
    counts: dict[int, int]
    added: int
    removed: int
    changed: int
    unchanged: int
    quarantine: tuple[QuarantineCount, ...] = ()
    labels: tuple[LabelCount, ...] = ()
    gates: tuple[Gate, ...] = ()
    declared_records: int | None = None
    overlaps: tuple[ListOverlap, ...] = ()

    @property
    def unmet(self) -> tuple[Gate, ...]:
        """The gates that are not met."""
        return tuple(gate for gate in self.gates if not gate.passed)


class VettingPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator lets pass; beyond it, publishing takes an acceptance on the record.

    `signatures_required` says whether approvals must be signed by enrolled approvers, and all acts need them.
    The fractions of added and removed hashes are of what the list has now. `maximum_disputed_fraction` is of the hashes
    that other lists say something comparable of, `maximum_near_duplicate_fraction` of the PDQ codes in the delivery,
    `maximum_superseded_fraction` of the fingerprints that were read. `maximum_open_stagings` are of all lists together.
    """

    approvals_required: int = 2
    signatures_required: bool = False
    maximum_removed_fraction: float = 0.1
    maximum_added_fraction: float = 0.5
    maximum_quarantined_fraction: float = 0.01
    maximum_superseded_fraction: float = 0.1
    maximum_known_good_hashes: int = 0
    maximum_suppressed_hashes: int = 0
    maximum_returned_entries: int = 0
    maximum_disputed_fraction: float = 0.5
    maximum_near_duplicate_fraction: float = 0.5
    maximum_open_stagings: int = 500
    maximum_open_stagings_of_list: int = 50
    retained_generations: int = 3
    clock_skew_seconds: float = 300.0
