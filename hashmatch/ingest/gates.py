"""Gates when an act takes effect: one that is not met stops it, unless it was accepted on the record."""

from __future__ import annotations

from collections.abc import Sequence

from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.model.vetting import VettingReport


def check_gates(report: VettingReport, accepted: Sequence[str]) -> None:
    """Raise `HashmatchError` GATE_NOT_MET for the first gate of a report that is neither met nor accepted."""
    for gate in report.unmet:
        if gate.acceptable and gate.name in accepted:
            continue
        how = f"publish with the gate {gate.name} accepted, or stage again" if gate.acceptable else "stage again"
        raise gate_not_met(gate.name, gate.detail, how)


def gate_not_met(gate: str, detail: str, how: str) -> HashmatchError:
    """The error that stops an act; `how` says how it is done nevertheless."""
    return HashmatchError(ErrorReason.GATE_NOT_MET, f"{gate}: {detail}; {how}", metadata={"gate": gate})
