"""Who publishes while something fails: every act is noted before it is asked for, and named so that it is found."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import grpc

from hashmatch.v1 import list_admin_service_pb2
from tests.faults.harness.history import Effect, History
from tests.faults.harness.load import describe
from tests.faults.harness.probes import BASE, MOVING, OTHER, SHARED, STAYING, base_digests, digests_of
from tests.integration.serving import Client, hash_of, hash_text
from tests.integration.waiting import eventually

FULL = list_admin_service_pb2.DELIVERY_MODE_FULL
INCREMENTAL = list_admin_service_pb2.DELIVERY_MODE_INCREMENTAL
_HISTORY_PAGE = 1_000
_BEGINNING = {BASE: STAYING, OTHER: SHARED}


class Acts:
    """Acts of administration on one server, and what they do to what is published."""

    def __init__(self, history: History, client: Callable[[], Client], name: str = "act") -> None:
        self._history = history
        self._client = client
        self._tags = (f"{name}-{number}" for number in itertools.count(1))
        self._moves = itertools.cycle(MOVING)
        self._suppressed: list[int] = []

    def begin(self) -> None:
        """Define the two lists and deliver what they begin with."""
        for list_id in (BASE, OTHER):
            self._client().define(list_id)
        for list_id, places in _BEGINNING.items():
            content = hash_text(base_digests() if list_id == BASE else digests_of(places))
            self.deliver(places, list_id, mode=FULL, content=content)

    def recall(self) -> None:
        """Note what `begin` did in a store of which this one is a copy."""
        for list_id, places in _BEGINNING.items():
            self._history.attempt(next(self._tags), having(list_id, places))
        self.settle()

    def deliver(
        self, places: Iterable[int], list_id: str = BASE, *, mode: int = INCREMENTAL, content: bytes = b""
    ) -> int:
        """Stage, approve and publish, by default what adds probes to a list. Returns the epoch."""
        places = list(places)
        client = self._client()
        staging = client.stage(content or hash_text(digests_of(places)), list_id, mode=mode)
        client.approve(staging)
        return self.publish(staging, having(list_id, places))

    def publish(self, staging: list_admin_service_pb2.Staging, effect: Effect, *, by: Client | None = None) -> int:
        """Publish what is approved, whatever acceptable gates say; on another server if one is named."""
        unmet = [gate.name for gate in staging.report.gates if not gate.passed]

        def ask(tag: str) -> int:
            request = list_admin_service_pb2.PublishRequest(
                staging_id=staging.staging_id, accept_gates=unmet, reason=tag
            )
            return (by or self._client()).act("Publish", request).epoch

        return self._do(ask, effect)

    def suppress(self, *places: int, by: Client | None = None) -> int:
        """Suppress probes in all lists; on another server if one is named."""
        hashes = list(map(hash_of, digests_of(places)))

        def ask(tag: str) -> int:
            request = list_admin_service_pb2.SuppressRequest(hashes=hashes, reason=tag)
            return (by or self._client()).act("Suppress", request).epoch

        return self._do(ask, lambda before: before.suppressing(places))

    def lift(self, *places: int) -> int:
        """End suppressions."""
        hashes = list(map(hash_of, digests_of(places)))

        def ask(tag: str) -> int:
            request = list_admin_service_pb2.LiftSuppressionRequest(hashes=hashes, reason=tag)
            return self._client().act("LiftSuppression", request).epoch

        return self._do(ask, lambda before: before.lifting(places))

    def next(self) -> int:
        """Something, another thing each time."""
        place = next(self._moves)
        kind = place % 4
        if kind == 0:
            self._suppressed.append(place)
            return self.suppress(place, place % len(STAYING))
        if kind == 1 and self._suppressed:
            lifted = self._suppressed.pop()
            return self.lift(lifted, lifted % len(STAYING))
        return self.deliver([place], BASE if kind == 2 else OTHER)

    def attempt(self) -> str:
        """Something, which may fail. Returns why it did, or nothing."""
        try:
            self.next()
        except grpc.RpcError as error:
            return describe(error)[0]
        return ""

    def one_succeeds(self) -> None:
        """Until one did: what is well lets acts happen, if not every one at once."""
        eventually(lambda: not self.attempt(), "an act succeeds")

    @contextmanager
    def going_on(self, interval: float = 0.1) -> Iterator[list[str]]:
        """Act after act, meanwhile. Gives why acts failed, empty for those that did not."""
        stopping = threading.Event()
        outcomes: list[str] = []

        def work() -> None:
            while not stopping.wait(interval):
                outcomes.append(self.attempt())

        thread = threading.Thread(target=work, name="publishing")
        thread.start()
        try:
            yield outcomes
        finally:
            stopping.set()
            thread.join()

    def settle(self) -> None:
        """Read in the server's history what became of acts whose outcome nobody was told."""
        request = list_admin_service_pb2.GetHistoryRequest(page_size=_HISTORY_PAGE)
        events = self._client().act("GetHistory", request).events
        self._history.settle({event.reason: event.epoch for event in events if event.reason})

    def _do(self, ask: Callable[[str], int], effect: Effect) -> int:
        tag = next(self._tags)
        self._history.attempt(tag, effect)
        epoch = ask(tag)
        self._history.done(tag, epoch)
        return epoch


def having(list_id: str, places: Iterable[int]) -> Effect:
    """The effect of a delivery that adds probes to a list."""
    return lambda before: before.having(list_id, places)
