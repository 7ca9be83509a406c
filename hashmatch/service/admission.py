"""How much a listener takes on at once, and who is turned away when it is more."""

from __future__ import annotations

from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.service.config_serving import ServerSection
from hashmatch.service.metrics import Metrics


class Admission:
    """The places of one listener for calls of one kind (unary, or streaming).

    A caller may hold only a share of them, so that one busy platform leaves places for the others. There is no queue:
    under overload a place in a queue is a deadline that passes while waiting. Used from the event loop alone.
    """

    def __init__(
        self, *, listener: str, kind: str, places: int, share_per_caller: float, retry_after: float, metrics: Metrics
    ) -> None:
        self._places = places
        self._places_per_caller = max(1, int(places * share_per_caller))
        self._retry_after = retry_after
        self._taken = 0
        self._taken_by: dict[str, int] = {}
        self._shed_full = metrics.shed.labels(listener, f"{kind}-full")
        self._shed_share = metrics.shed.labels(listener, f"{kind}-caller-share")
        metrics.inflight.labels(listener, kind).set_function(lambda: self._taken)

    @property
    def taken(self) -> int:
        """How many calls have a place."""
        return self._taken

    def enter(self, caller: str) -> None:
        """Take a place, which `leave` must give back. Raises `HashmatchError` OVERLOADED with a delay for retrying."""
        if self._taken >= self._places:
            self._shed_full.inc()
            raise self._overloaded("the server is at its limit of concurrent calls")
        taken_by_caller = self._taken_by.get(caller, 0)
        if taken_by_caller >= self._places_per_caller:
            self._shed_share.inc()
            raise self._overloaded("this caller is at its share of concurrent calls")
        self._taken += 1
        self._taken_by[caller] = taken_by_caller + 1

    def leave(self, caller: str) -> None:
        """Give a place back."""
        self._taken -= 1
        left = self._taken_by.pop(caller) - 1
        if left:
            self._taken_by[caller] = left

    def _overloaded(self, message: str) -> HashmatchError:
        return HashmatchError(ErrorReason.OVERLOADED, message, retry_after=self._retry_after)


class ListenerAdmission:
    """The places of a listener for both kinds of calls, as the section `server` sets them."""

    def __init__(self, listener: str, section: ServerSection, metrics: Metrics) -> None:
        self.unary = Admission(
            listener=listener,
            kind="unary",
            places=section.maximum_concurrent_requests,
            share_per_caller=section.maximum_share_per_caller,
            retry_after=section.overload_retry_seconds,
            metrics=metrics,
        )
        self.streaming = Admission(
            listener=listener,
            kind="streaming",
            places=section.maximum_concurrent_streams,
            share_per_caller=section.maximum_share_per_caller,
            retry_after=section.overload_retry_seconds,
            metrics=metrics,
        )
