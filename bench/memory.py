"""What processes hold in memory, as the kernel counts it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_SHARED_TABLES = "/memfd:hashmatch"


class Memory(NamedTuple):
    """In bytes. `proportional` counts a page of several processes by its share of it (PSS), `own` not at all (USS)."""

    resident: int
    proportional: int
    own: int


class Tables(NamedTuple):
    """Tables that are mapped, in bytes: what is resident, and the same with pages of several processes by share."""

    resident: int
    proportional: int


def memory_of(pid: int) -> Memory:
    """All of a process."""
    (counted,) = _mappings(Path(f"/proc/{pid}/smaps_rollup")).values()
    return Memory(counted["Rss"], counted["Pss"], counted["Private_Clean"] + counted["Private_Dirty"])


def tables_of(pid: int) -> Tables:
    """The tables that a process of a server with workers has mapped."""
    mapped = [counted for name, counted in _mappings(Path(f"/proc/{pid}/smaps")).items() if _SHARED_TABLES in name]
    return Tables(sum(each["Rss"] for each in mapped), sum(each["Pss"] for each in mapped))


def total(memories: Iterable[Memory]) -> Memory:
    """The sum; what is shared is in `proportional` once."""
    return Memory(*map(sum, zip(*memories, strict=True)))


def _mappings(path: Path) -> dict[str, dict[str, int]]:
    """What is counted of each mapping, in bytes, by the line that names it."""
    found: dict[str, dict[str, int]] = {}
    current: dict[str, int] = {}
    for line in path.read_text("utf-8").splitlines():
        head, _, rest = line.partition(":")
        if " " in head or "-" in head.split(" ")[0]:
            current = found.setdefault(line, {})
        elif rest.endswith("kB"):
            current[head] = int(rest.split()[0]) * 1024
    return found
