"""Values as an operator writes and reads them: spans of time, dates, names, digests."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from datetime import UTC, date, datetime, timedelta

# As long as the shortest digest. The server leaves out of its errors what is as long.
_HEX_RUN = re.compile(r"[0-9a-fA-F]{32,}")
_SPAN = re.compile(r"(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", re.ASCII)
_UNITS = (("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
_LONGEST_SPAN = timedelta(days=36_525)
_OPERATOR = re.compile(r"[a-z0-9._-]{1,63}")


def without_hashes(text: str) -> str:
    """`text` without anything that could be a hash: what is printed may be kept, by a terminal or a log."""
    return _HEX_RUN.sub("(hash)", text)


def span(text: str) -> timedelta:
    """The span, up to a century, in a text like 30d, 12h or 1d12h; the units are w, d, h, m and s, in this order."""
    found = _SPAN.fullmatch(text)
    numbers = [] if found is None else [int(number or 0) for number in found.groups()]
    try:
        value = timedelta(seconds=sum(number * length for number, (_, length) in zip(numbers, _UNITS, strict=False)))
    except OverflowError:
        value = timedelta(0)
    if not timedelta(0) < value <= _LONGEST_SPAN:
        raise ArgumentTypeError("must be a span of time like 30d, 12h or 1d12h")
    return value


def span_text(value: timedelta) -> str:
    """The shortest text that `span` reads as this value, which is cut to whole seconds; weeks are given in days."""
    seconds = int(value.total_seconds())
    parts = []
    for unit, length in _UNITS[1:]:
        number, seconds = divmod(seconds, length)
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0s"


def instant(text: str) -> datetime:
    """The instant in an ISO 8601 date or date and time. A date is its first moment; without a zone it is UTC."""
    try:
        value = datetime.fromisoformat(text)
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ArgumentTypeError("must be a date like 2026-01-31 or 2026-01-31T12:00:00Z") from None


def day(text: str) -> str:
    """The day in an ISO 8601 date, as 2026-01-31."""
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ArgumentTypeError("must be a date like 2026-01-31") from None


def operator_name(text: str) -> str:
    """A name to act under where the server has no TLS."""
    if not _OPERATOR.fullmatch(text):
        raise ArgumentTypeError("must have 1 to 63 characters of a-z 0-9 . _ -")
    return text


def approval_digest(text: str) -> bytes:
    """The approval digest of a report, as it is shown."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise ArgumentTypeError("must have 64 hexadecimal digits, as the report shows them")
    return bytes.fromhex(text)


def opinion(text: str) -> tuple[str, str]:
    """The label and the jurisdiction of an opinion: baseline, national:XX or not-illegal."""
    kind, _, jurisdiction = text.partition(":")
    if kind == "national" and 1 <= len(jurisdiction) <= 32 and jurisdiction.isprintable():
        return "national", jurisdiction
    if text == "baseline":
        return "baseline", ""
    if text == "not-illegal":
        return "not illegal", ""
    raise ArgumentTypeError("must be baseline, national:XX (with the jurisdiction) or not-illegal")


def at_least(least: int, text: str) -> int:
    """The whole number in `text`."""
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII) or int(text) < least:
        raise ArgumentTypeError(f"must be a whole number of at least {least}")
    return int(text)


def seconds(text: str) -> float:
    """The positive number of seconds in `text`, up to a day."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 86_400:
        raise ArgumentTypeError("must be a number of seconds, at most 86400")
    return value
