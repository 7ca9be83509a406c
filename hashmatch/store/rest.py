"""How long a store that hangs is left alone.

While it hangs, everybody who waits for it holds something for as long as the timeouts are. So after one has waited in
vain the others are told at once, and after a short while somebody tries again. A store that is gone needs no such
thing: it refuses at once.
"""

from __future__ import annotations

import time

_LONGEST = 0.1


class Rest:
    """Shared by all that ask one store; thread-safe."""

    def __init__(self, operation_timeout: float) -> None:
        """The rest is a quarter of the time that an operation may take, in seconds, and short in any case."""
        self._seconds = min(_LONGEST, operation_timeout / 4)
        self._until = 0.0

    def begin(self) -> None:
        """Somebody has waited in vain."""
        self._until = time.monotonic() + self._seconds

    @property
    def lasts(self) -> bool:
        """Whether nobody should ask now."""
        return time.monotonic() < self._until
