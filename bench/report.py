"""How much work a run is, and the lines that it reports."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

Better = Literal["higher", "lower"]

# So few entries are for testing the benchmarks themselves.
_TINY = 10_000


@dataclass(frozen=True, slots=True)
class Effort:
    """How much work a run is."""

    # How many SHA-256 are listed: one run for each.
    sizes: tuple[int, ...]
    # How often each side is measured, in turns; the median counts.
    rounds: int
    # How long one side is measured in one round.
    seconds: float
    # How many calls one side takes in one round, where it is calls that are timed.
    calls: int
    # How often a whole list is taken in.
    ingests: int
    # How many deltas are published.
    updates: int
    # How large the documents are that are parsed, in megabytes, and how often each is read.
    documents: tuple[int, ...] = (256, 1_000)
    readings: int = 3

    @classmethod
    def of(cls, *, quick: bool, entries: int | None = None) -> Effort:
        """The effort that the command line asks for."""
        if entries is not None and entries < _TINY:
            return cls((entries,), rounds=1, seconds=0.1, calls=20, ingests=1, updates=2, documents=(1, 2), readings=1)
        if quick:
            return cls(
                (entries or 300_000,),
                rounds=3,
                seconds=0.25,
                calls=150,
                ingests=1,
                updates=5,
                documents=(16, 64),
            )
        sizes = (1_000_000, 10_000_000) if entries is None else (entries,)
        return cls(sizes, rounds=7, seconds=3.0, calls=1_000, ingests=3, updates=50)


@dataclass(frozen=True, slots=True)
class Reporter:
    """Writes the lines of one benchmark to standard output, and what goes on to standard error."""

    benchmark: str
    conditions: Mapping[str, Any] = field(default_factory=dict)

    def under(self, **conditions: Any) -> Reporter:
        """The same, under further conditions."""
        return Reporter(self.benchmark, {**self.conditions, **conditions})

    def line(
        self, case: str, value: float, unit: str, better: Better, comparator: str, comparator_value: float | None
    ) -> None:
        """Report a number and how it compares."""
        line = {
            "benchmark": self.benchmark,
            "case": case,
            "value": _rounded(value),
            "unit": unit,
            "comparator": comparator,
            "comparator_value": None if comparator_value is None else _rounded(comparator_value),
            "ratio": ratio(value, comparator_value, better),
            "conditions": {**self.conditions, "date": datetime.now(UTC).isoformat(timespec="seconds")},
        }
        print(json.dumps(line), flush=True)

    def progress(self, text: str) -> None:
        """Say what goes on."""
        print(f"{self.benchmark}: {text}", file=sys.stderr, flush=True)


def ratio(value: float, comparator: float | None, better: Better) -> float | None:
    """How many times better than the comparator, whichever way the unit points. None if that cannot be said."""
    if comparator is None:
        return None
    above, below = (value, comparator) if better == "higher" else (comparator, value)
    return _rounded(above / below) if below > 0 else None


def _rounded(number: float) -> float:
    """Four significant digits: no measurement has more."""
    return float(f"{number:.4g}")


def machine(*, quick: bool) -> dict[str, Any]:
    """The conditions that hold for a whole run."""
    libraries = {name: importlib.metadata.version(name) for name in ("grpcio", "numpy", "redis", "hiredis")}
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu_model(),
        "python": platform.python_version(),
        **libraries,
        "client_processes": 1,
        "quick": quick,
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()
