"""Words and numbers for people, and text from outside made harmless to a terminal and a spreadsheet."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashmatch_client._results import ListNature

Cell = tuple[str, str] | str
"""A text for a table, or a text and the name of its style."""

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def printable(text: str) -> str:
    """`text` with what a terminal would obey, or not show, written as escapes: names of files come from anybody."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "backslashreplace").decode("ascii")
        for character in text
    )


def cell(text: str) -> str:
    """`text` for a CSV cell, marked as text where a spreadsheet would compute it."""
    shown = printable(text)
    return f"'{shown}" if shown.startswith(_FORMULA_STARTS) else shown


def counted(number: int, one: str, many: str | None = None) -> str:
    """For example "1 item" and "2,000 items"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def age(span: timedelta) -> str:
    """A span in its largest unit, rounded down: "3 hours"."""
    seconds = max(0, int(span.total_seconds()))
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length:
            return counted(seconds // length, unit)
    return counted(seconds, "second")


def moment(when: datetime | None) -> str:
    """A moment in ISO 8601, in UTC and to the second; empty for None."""
    return "" if when is None else when.strftime("%Y-%m-%dT%H:%M:%SZ")


def words(name: str) -> str:
    """The words of a constant's name: "NO_KNOWN_MATCH" is "no known match"."""
    return name.replace("_", " ").lower()


def nature_cell(nature: ListNature) -> Cell:
    """The nature of a list, with that of a test list standing out."""
    return ("TEST", "test") if nature.name == "TEST" else words(nature.value)
