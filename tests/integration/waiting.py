"""Waiting for something to become true: in short steps, and never for ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# Generous, because the machine may be busy: what comes at all comes in a fraction of this.
PATIENCE = 20.0
_STEP = 0.01


def eventually(look: Callable[[], T], what: str, *, patience: float = PATIENCE, step: float = _STEP) -> T:
    """The first true value of `look`, every `step` seconds. Fails with `what` if there is none in time."""
    give_up = time.monotonic() + patience
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() >= give_up:
            raise AssertionError(f"waited {patience:g} s in vain: {what}")
        time.sleep(step)
