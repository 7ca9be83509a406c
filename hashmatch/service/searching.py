"""How far and how long perceptual values are searched for a caller, and what the caller is told of it.

A caller who could choose the distance and see the verdict change would learn the distance, and with distances to a few
values of its own making could work out a listed one. So who is not told distances does not choose them either: it is
answered at the largest that the server and the lists permit.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

from hashmatch.matching.near import Nearness
from hashmatch.matching.scope import Scope
from hashmatch.model.clock import Clock
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.service.calls import Call

EVERYBODY = "*"
# The share of the time to the deadline that searching may take; what is left is for confirming what was found.
_SEARCH_SHARE = 0.5


class Searching:
    """The threads that search, and the operator's limits."""

    def __init__(self, limits: Nearness, told: Collection[str], clock: Clock) -> None:
        """`told` are the callers who are told distances, or `*` for everybody."""
        cores = os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count()
        self._threads = ThreadPoolExecutor(cores or 1, thread_name_prefix="searching")
        self._limits = dataclasses.replace(limits, threads=self._threads, cores=cores or 1)
        self._told = frozenset(told)
        self._clock = clock

    def close(self) -> None:
        """Wait for the threads to end."""
        self._threads.shutdown(cancel_futures=True)

    def permit(self, scope: Scope, call: Call) -> None:
        """Raise `HashmatchError` NOT_PERMITTED if the scope states a distance and the caller may not."""
        if scope.max_distance is not None and not self._is_told(call):
            raise HashmatchError(
                ErrorReason.NOT_PERMITTED,
                "this identity is not told distances, and so may not choose scope.max_distance: leave it out",
                fields={"scope.max_distance": "not permitted"},
            )

    def nearness(self, call: Call) -> Nearness:
        """What holds for the values of one message of a call, from now to its deadline."""
        told = self._is_told(call)
        if call.deadline is None:
            return dataclasses.replace(self._limits, tell_distances=told)
        now = self._clock.monotonic()
        until = now + (call.deadline - now) * _SEARCH_SHARE
        return dataclasses.replace(self._limits, tell_distances=told, expired=lambda: self._clock.monotonic() > until)

    def _is_told(self, call: Call) -> bool:
        return EVERYBODY in self._told or (call.caller.authenticated and call.caller.name in self._told)
