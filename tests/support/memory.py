"""What acts of administration lean on, kept in memory and made to fail at will."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from hashmatch.store.floor import ManifestRefusedError
from hashmatch.store.manifest import Manifest, SealedManifest
from hashmatch.trust.audit import AuditError


class Recorded(NamedTuple):
    """One record of the audit."""

    act: str
    actor: str
    details: dict[str, str | int | float | bool]


@dataclass
class MemoryAudit:
    """An audit log that forgets; while `failing` it refuses every record."""

    records: list[Recorded] = field(default_factory=list)
    failing: bool = False

    def append(self, act: str, actor: str, **details: str | int | float | bool) -> Recorded:
        """Record, or raise."""
        if self.failing:
            raise AuditError("the audit log cannot be written: no space left on device")
        self.records.append(Recorded(act, actor, details))
        return self.records[-1]

    @property
    def acts(self) -> list[str]:
        """What was recorded, in order."""
        return [record.act for record in self.records]


@dataclass
class MemoryFloor:
    """An epoch floor that a test sets."""

    epoch: int = 0

    def highest(self) -> int:
        """The highest epoch that was ever seen."""
        return self.epoch

    def check(self, manifest: Manifest) -> None:
        """Refuse what is below."""
        if manifest.epoch < self.epoch:
            raise ManifestRefusedError("older-epoch", "the store shows an older manifest")

    def raise_to(self, sealed: SealedManifest) -> None:
        """Remember a manifest."""
        self.check(sealed.manifest)
        self.epoch = sealed.manifest.epoch
