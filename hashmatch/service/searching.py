"""How far and how long perceptual values are searched for a caller, and what the caller is told of it.

A caller who could choose the distance and see the verdict change would learn the distance, and with distances to a few
values of its own making could work out a listed one. So who is not told distances does not choose them either (see
`permissions`): it is answered at the largest that the server and the lists permit.
"""

from __future__ import annotations

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor

from hashmatch.matching.nearness import Nearness
from hashmatch.matching.scope import Scope
from hashmatch.model.clock import Clock
from hashmatch.service.calls import Call
from hashmatch.service.config_serving import MatchingSection

# The share of the time to the deadline that searching may take; what is left is for confirming what was found.
_SEARCH_SHARE = 0.5


class Searching:
    """The threads that search, and the operator's limits."""

    def __init__(self, limits: Nearness, clock: Clock) -> None:
        cores = os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count()
        self._threads = ThreadPoolExecutor(cores or 1, thread_name_prefix="searching")
        self._limits = dataclasses.replace(limits, threads=self._threads, cores=cores or 1)
        self._clock = clock

    def close(self) -> None:
        """Wait for the threads to end."""
        self._threads.shutdown(cancel_futures=True)

    def nearness(self, call: Call, scope: Scope) -> Nearness:
        """What holds for the values of one message of a call, from now to its deadline."""
        told = scope.permission.distances
        if call.deadline is None:
            return dataclasses.replace(self._limits, tell_distances=told)
        now = self._clock.monotonic()
        until = now + (call.deadline - now) * _SEARCH_SHARE
        return dataclasses.replace(self._limits, tell_distances=told, expired=lambda: self._clock.monotonic() > until)


def search_limits(matching: MatchingSection) -> Nearness:
    """How far and how long is searched, as configured."""
    return Nearness(
        maximum_distance=matching.maximum_distance,
        photodna_distance=matching.photodna_maximum_distance,
        minimum_quality=matching.minimum_quality,
        work_limit=matching.search_work_limit,
        maximum_confirmed=matching.maximum_near_values,
    )
