"""Keeps a server on the current snapshot: looks at the manifest, refuses what must not be served, loads, swaps.

Bad new data never replace good old data: whatever goes wrong, the snapshot in use stays in use, and the time since it
was last confirmed grows until it gives no negatives any more.
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
from dataclasses import dataclass
from typing import NamedTuple

from hashmatch.index.loader import SnapshotLoader
from hashmatch.index.snapshot import Snapshot
from hashmatch.model.clock import Clock
from hashmatch.model.verdicts import Cause, UndeterminedReason
from hashmatch.store.connection import StoreUnavailableError
from hashmatch.store.floor import EpochFloor, FloorError, ManifestRefusedError
from hashmatch.store.manifest import ManifestHeader, ManifestStore, parse_header
from hashmatch.store.segments import StoreDamagedError


class Served(NamedTuple):
    """What is answered from, with when the store last said that it is current, by both clocks."""

    snapshot: Snapshot
    header: ManifestHeader
    confirmed_at: float
    confirmed_monotonic: float


class Outcome(enum.StrEnum):
    """How a look at the store went."""

    UNCHANGED = "unchanged"
    LOADED = "loaded"
    EMPTY = "empty"
    UNAVAILABLE = "unavailable"
    DAMAGED = "damaged"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Look:
    """The outcome of a look at the store. `why` is for people; `reason` is a stable word where it was refused."""

    outcome: Outcome
    why: str = ""
    reason: str = ""
    seconds: float = 0.0

    @property
    def current(self) -> bool:
        """Whether the server has what the store has."""
        return self.outcome in (Outcome.UNCHANGED, Outcome.LOADED)


class Refresher:
    """Looks at the store. `refresh` and `rebase` block and are called from one thread; `served` is read from any."""

    def __init__(
        self,
        manifests: ManifestStore,
        loader: SnapshotLoader,
        floor: EpochFloor,
        clock: Clock,
        *,
        maximum_unconfirmed_seconds: float,
    ) -> None:
        self._manifests = manifests
        self._loader = loader
        self._floor = floor
        self._clock = clock
        self._maximum_unconfirmed = maximum_unconfirmed_seconds
        self.served: Served | None = None

    def refresh(self) -> Look:
        """Look at the manifest and, if it changed, load it and swap."""
        began = self._clock.monotonic()
        try:
            return self._look(began)
        except StoreUnavailableError as error:
            return Look(Outcome.UNAVAILABLE, str(error))
        except StoreDamagedError as error:
            return Look(Outcome.DAMAGED, str(error))
        except ManifestRefusedError as error:
            return Look(Outcome.REFUSED, str(error), error.reason)
        except FloorError as error:
            return Look(Outcome.REFUSED, str(error), "floor-unwritable")

    def _look(self, began: float) -> Look:
        # The clocks are read before the store is asked: what it says is no older than that.
        now, monotonic = self._clock.now(), self._clock.monotonic()
        served = self.served
        header = self._manifests.header()
        if header is None:
            return Look(Outcome.EMPTY, "nothing has been published" if served is None else "the manifest is gone")
        if served is not None and header == served.header:
            self.served = served._replace(confirmed_at=now, confirmed_monotonic=monotonic)
            return Look(Outcome.UNCHANGED)
        sealed = self._manifests.load()
        if sealed is None:
            return Look(Outcome.EMPTY, "the manifest is gone")
        self._floor.check(sealed.manifest)
        snapshot = self._loader.load(sealed.manifest, None if served is None else served.snapshot)
        self._floor.raise_to(sealed)
        self.served = Served(snapshot, parse_header(sealed.raw), now, monotonic)
        _give_memory_back()
        return Look(Outcome.LOADED, seconds=self._clock.monotonic() - began)

    def rebase(self) -> bool:
        """Fold a grown overlay into a new base. Raises what the store raises. Returns whether there was any need."""
        served = self.served
        if served is None:
            return False
        rebased = self._loader.with_new_bases(served.snapshot)
        if rebased is None:
            return False
        self.served = self.served._replace(snapshot=rebased) if self.served is not None else None
        return True

    def doubts(self) -> tuple[Cause, ...]:
        """Why nothing that is served can be a negative; empty as long as it can."""
        served = self.served
        if served is None:
            return (Cause(UndeterminedReason.NO_SNAPSHOT),)
        unconfirmed = self._clock.monotonic() - served.confirmed_monotonic
        if unconfirmed > self._maximum_unconfirmed or self._clock.now() > served.snapshot.manifest.expires_at:
            return (Cause(UndeterminedReason.SNAPSHOT_UNCONFIRMED),)
        return ()


def _give_memory_back() -> None:
    """Return to the system what loading needed for a moment: glibc would keep it, as much again as the tables take."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
