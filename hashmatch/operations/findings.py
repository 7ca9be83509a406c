"""What an examination finds, in words for whoever runs the server."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass


class Severity(enum.IntEnum):
    """How bad a finding is; the worst of all is what an examination ends with."""

    WELL = 0
    """As it should be."""
    NOTE = 1
    """Could not be looked at, or is a choice that one should know of."""
    WARNING = 2
    """Works, and will not for long or not in every case."""
    ERROR = 3
    """Does not work, or must not stay so."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `mend` says what to do, and is empty where nothing is."""

    severity: Severity
    area: str
    what: str
    mend: str = ""


def worst(findings: Iterable[Finding]) -> Severity:
    """The worst severity; WELL for none."""
    return max((finding.severity for finding in findings), default=Severity.WELL)


@dataclass(frozen=True, slots=True)
class Area:
    """Makes the findings of one area."""

    name: str

    def well(self, what: str) -> Finding:
        """As it should be."""
        return Finding(Severity.WELL, self.name, what)

    def note(self, what: str, mend: str = "") -> Finding:
        """Worth knowing."""
        return Finding(Severity.NOTE, self.name, what, mend)

    def warning(self, what: str, mend: str) -> Finding:
        """To be mended soon."""
        return Finding(Severity.WARNING, self.name, what, mend)

    def error(self, what: str, mend: str) -> Finding:
        """To be mended now."""
        return Finding(Severity.ERROR, self.name, what, mend)
