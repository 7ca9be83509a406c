"""Floods: entries that suddenly match far more often than before, which is how one that should not be listed shows."""

from __future__ import annotations

import msgspec


class Flood(msgspec.Struct, frozen=True, kw_only=True):
    """A listed value that one process saw match in one list far more often than it used to.

    `value` is the listed value, of near ones the nearest; of a video it names what matched and is no hash.
    `matches` is how many there were in the window until then, `usual` how many a window of `window_seconds` had before,
    both estimates that are never too low. `seen_at` is in seconds since 1970.
    """

    list_id: str
    generation: int
    algorithm: int
    value: bytes
    source_keys: tuple[str, ...]
    matches: int
    usual: int
    window_seconds: float
    seen_at: float
