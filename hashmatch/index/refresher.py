"""Keeps a server on the current snapshot: looks at the manifest, refuses what must not be served, loads, swaps.

Bad new data never replace good old data: whatever goes wrong, the snapshot in use stays in use, and the time since it
was last confirmed grows until it gives no negatives any more.
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from hashmatch.index.loader import SnapshotLoader
from hashmatch.index.snapshot import Snapshot
from hashmatch.model.clock import Clock
from hashmatch.model.verdicts import Cause, UndeterminedReason
from hashmatch.store.connection import StoreUnavailableError
from hashmatch.store.floor import EpochFloor, FloorError, ManifestRefusedError
from hashmatch.store.manifest import ManifestHeader, ManifestStore, parse_header
from hashmatch.store.segments import StoreDamagedError

# How often the manifest is read as a whole, where its header alone says that nothing has changed; in seconds.
_WHOLE_LOOK_INTERVAL = 5.0


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
    # Another process of this server is building the tables of a newer manifest.
    AWAITED = "awaited"
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
    # The segment that is damaged, if it is one.
    segment_id: str = ""

    @property
    def current(self) -> bool:
        """Whether the server has what the store has, or is about to."""
        return self.outcome in (Outcome.UNCHANGED, Outcome.LOADED, Outcome.AWAITED)


class SnapshotFollower(ABC):
    """Follows the store. `refresh` and `rebase` block and are called from one thread; `served` is read from any."""

    def __init__(
        self, manifests: ManifestStore, floor: EpochFloor, clock: Clock, *, maximum_unconfirmed_seconds: float
    ) -> None:
        self._manifests = manifests
        self._floor = floor
        self._clock = clock
        self._maximum_unconfirmed = maximum_unconfirmed_seconds
        self._whole_look_due = 0.0
        self.served: Served | None = None

    def refresh(self) -> Look:
        """Look at the manifest and, if it changed, take over the new snapshot."""
        try:
            return self._look()
        except StoreUnavailableError as error:
            return Look(Outcome.UNAVAILABLE, str(error))
        except StoreDamagedError as error:
            return Look(Outcome.DAMAGED, str(error), segment_id=error.segment_id)
        except ManifestRefusedError as error:
            return Look(Outcome.REFUSED, str(error), error.reason)
        except FloorError as error:
            return Look(Outcome.REFUSED, str(error), "floor-unwritable")

    @abstractmethod
    def _look(self) -> Look:
        """Do so. Raises what the store and the floor raise."""

    @abstractmethod
    def rebase(self) -> bool:
        """Fold a grown overlay into a new base. Raises what the store raises. Returns whether there was any need."""

    def _confirm(self, served: Served) -> Look | None:
        """Ask the store whether it still has the manifest of `served`; None if it has another."""
        # The clocks are read before the store is asked: what it says is no older than that.
        now, monotonic = self._clock.now(), self._clock.monotonic()
        header = self._manifests.header()
        if header is None:
            return Look(Outcome.EMPTY, "the manifest is gone")
        if header != served.header:
            return None
        if monotonic >= self._whole_look_due:
            # Behind a header that is as it was the rest may be spoilt: nobody could publish or start on it. As long
            # as it is, every look is a whole one.
            self._manifests.load()
            self._whole_look_due = monotonic + _WHOLE_LOOK_INTERVAL
        self.served = served._replace(confirmed_at=now, confirmed_monotonic=monotonic)
        return Look(Outcome.UNCHANGED)

    def doubts(self) -> tuple[Cause, ...]:
        """Why nothing that is served can be a negative; empty as long as it can."""
        served = self.served
        if served is None:
            return (Cause(UndeterminedReason.NO_SNAPSHOT),)
        unconfirmed = self._clock.monotonic() - served.confirmed_monotonic
        if unconfirmed > self._maximum_unconfirmed or self._clock.now() > served.snapshot.manifest.expires_at:
            return (Cause(UndeterminedReason.SNAPSHOT_UNCONFIRMED),)
        return ()


class Sharing(Protocol):
    """Puts what is large in a snapshot into memory that other processes map; see `sharing`."""

    def share(self, served: Served) -> Served:
        """The same upon shared memory. Raises `OSError` if there is not enough."""
        ...

    def announce(self, served: Served) -> None:
        """Have the other processes answer from what was shared."""
        ...


class Refresher(SnapshotFollower):
    """Loads what the store has, for this process or, with `sharing`, for others too."""

    def __init__(
        self,
        manifests: ManifestStore,
        loader: SnapshotLoader,
        floor: EpochFloor,
        clock: Clock,
        *,
        maximum_unconfirmed_seconds: float,
        sharing: Sharing | None = None,
    ) -> None:
        super().__init__(manifests, floor, clock, maximum_unconfirmed_seconds=maximum_unconfirmed_seconds)
        self._loader = loader
        self._sharing = sharing

    def adopt(self, served: Served) -> None:
        """Go on from what an earlier process shared, unless the floor says that something newer was served."""
        with contextlib.suppress(ManifestRefusedError):
            self._floor.check(served.snapshot.manifest)
            self.served = served

    def _look(self) -> Look:
        began, now = self._clock.monotonic(), self._clock.now()
        served = self.served
        if served is not None and (look := self._confirm(served)) is not None:
            return look
        sealed = self._manifests.load()
        if sealed is None:
            return Look(Outcome.EMPTY, "nothing has been published" if served is None else "the manifest is gone")
        self._floor.check(sealed.manifest)
        snapshot = self._loader.load(sealed.manifest, None if served is None else served.snapshot)
        loaded = self._shared(Served(snapshot, parse_header(sealed.raw), now, began))
        self._floor.raise_to(sealed)
        self._serve(loaded)
        self._whole_look_due = began + _WHOLE_LOOK_INTERVAL
        return Look(Outcome.LOADED, seconds=self._clock.monotonic() - began)

    def rebase(self) -> bool:
        """Fold a grown overlay into a new base. Raises what the store raises. Returns whether there was any need."""
        served = self.served
        if served is None:
            return False
        rebased = self._loader.with_new_bases(served.snapshot)
        if rebased is None:
            return False
        self._serve(self._shared(served._replace(snapshot=rebased)))
        return True

    def _shared(self, loaded: Served) -> Served:
        if self._sharing is None:
            return loaded
        try:
            return self._sharing.share(loaded)
        except OSError as error:
            raise StoreUnavailableError("there is not enough memory to share the tables") from error

    def _serve(self, loaded: Served) -> None:
        self.served = loaded
        if self._sharing is not None:
            self._sharing.announce(loaded)
        _give_memory_back()


def _give_memory_back() -> None:
    """Return to the system what loading needed for a moment: glibc would keep it, as much again as the tables take."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
