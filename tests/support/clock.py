"""A clock that is set by hand."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class ManualClock:
    """A clock that moves when a test says so."""

    wall: float = 1_800_000_000.0
    elapsed: float = 100.0

    def now(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        return self.wall

    def monotonic(self) -> float:
        """Seconds since some fixed moment."""
        return self.elapsed

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.wall += seconds
        self.elapsed += seconds
