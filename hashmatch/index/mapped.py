"""Keeps a process on the snapshots that another one builds and shares; it looks at the store itself to confirm them."""

from __future__ import annotations

import threading

from hashmatch.index.refresher import Look, Outcome, Served, SnapshotFollower
from hashmatch.model.clock import Clock
from hashmatch.store.floor import EpochFloor
from hashmatch.store.manifest import ManifestStore


class MappedRefresher(SnapshotFollower):
    """Takes over what it is offered, never going back, and confirms it by the manifest's header alone.

    That the store says so, and not that the builder lives, is what makes a snapshot current: without a builder it stays
    confirmed until something is published.
    """

    def __init__(
        self, manifests: ManifestStore, floor: EpochFloor, clock: Clock, *, maximum_unconfirmed_seconds: float
    ) -> None:
        super().__init__(manifests, floor, clock, maximum_unconfirmed_seconds=maximum_unconfirmed_seconds)
        self._lock = threading.Lock()
        self._offered: Served | None = None
        self._builder = Look(Outcome.AWAITED)

    def offer(self, served: Served) -> None:
        """Have the next look take this over; from any thread. Only what is offered last counts."""
        with self._lock:
            self._offered = served

    def tell(self, look: Look) -> None:
        """Say how the builder's last look at the store went; from any thread."""
        self._builder = look

    def rebase(self) -> bool:
        """Nothing to do: that is the builder's."""
        return False

    def _look(self) -> Look:
        with self._lock:
            offered, self._offered = self._offered, None
        if offered is not None:
            self._floor.pass_to(offered.snapshot.manifest)
            self.served = offered
            return Look(Outcome.LOADED)
        served = self.served
        if served is None:
            nothing = self._manifests.header() is None
            return Look(Outcome.EMPTY, "nothing has been published") if nothing else self._awaited()
        return self._confirm(served) or self._awaited()

    def _awaited(self) -> Look:
        """The store has another manifest: what its builder makes of it."""
        return Look(Outcome.AWAITED, "the tables are being built") if self._builder.current else self._builder
