"""Daily counts: how often was asked and what came of it, by list and algorithm. Numbers, never a hash or a caller.

They are what a provider has to report of its use of lists, years later; see `docs/adr/0013-daily-counts.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta

import msgspec

UNKNOWN_ALGORITHM = "unknown"
MATCHED = "match"
CONFIRMED = "confirmed"
DISPUTED = "disputed"


class Count(msgspec.Struct, frozen=True, array_like=True):
    """How often something came of a hash.

    With an empty `list_id`, `what` is the verdict on a hash that was asked about (`match`, `no_known_match`,
    `not_determined`). With a list it is what happened in that list: `match`, or that a caller said of a match that it
    is right (`confirmed`) or wrong (`disputed`). A hash in several lists counts in each.
    """

    list_id: str
    algorithm: str
    what: str
    count: int


Counts = tuple[Count, ...]
Runs = dict[str, Counts]
"""The counts of one day by run: one process of one server, from its start to its end."""


def total(counts: Iterable[Count]) -> int:
    """The sum of all counts. That of one run of one day only grows."""
    return sum(each.count for each in counts)


def merged(known: Mapping[str, Counts], newer: Mapping[str, Counts]) -> Runs:
    """Of each run the counts that have got further."""
    result = dict(known)
    for run, counts in newer.items():
        if run not in result or total(counts) > total(result[run]):
            result[run] = counts
    return result


def day_of(seconds: float) -> str:
    """The day in UTC, as in 2026-01-31, of a moment in seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def seconds_left_of_day(seconds: float) -> float:
    """How long the day of a moment still lasts."""
    now = datetime.fromtimestamp(seconds, UTC)
    midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), UTC)
    return (midnight - now).total_seconds()


def days_between(first: str, last: str) -> Iterator[str]:
    """Every day from `first` to `last`, both included."""
    day, end = date.fromisoformat(first), date.fromisoformat(last)
    while day <= end:
        yield day.isoformat()
        day += timedelta(days=1)
