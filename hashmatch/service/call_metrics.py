"""The metrics of gRPC calls, with the names and labels of go-grpc-middleware.

They are counted for every call, so they are plain numbers that only the event loop changes, and become metrics when
somebody scrapes. A counter of the library takes a lock for each of the half dozen numbers of a call, which together
cost more than the whole rest of the accounting.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

# From a table lookup to a batch that waits for the store, in seconds.
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BOUNDS = tuple(floatToGoString(bound) for bound in (*BUCKETS, float("inf")))
_LABELS = ("grpc_type", "grpc_service", "grpc_method")


class MethodMetrics:
    """The numbers of one method. `started`, `received` and `sent` are for the guard to increase."""

    __slots__ = ("by_bucket", "by_code", "labels", "received", "seconds", "sent", "started")

    def __init__(self, grpc_type: str, service: str, method: str) -> None:
        self.labels = (grpc_type, service, method)
        self.started = 0
        self.received = 0
        self.sent = 0
        # OK is shown before the first call, so that a rate can be taken over the first error.
        self.by_code = {"OK": 0}
        self.by_bucket = [0] * len(_BOUNDS)
        self.seconds = 0.0

    def finish(self, code: str, seconds: float) -> None:
        """Count a call that ended with `code`, the name of a gRPC status, after `seconds`."""
        self.by_code[code] = self.by_code.get(code, 0) + 1
        self.by_bucket[bisect_left(BUCKETS, seconds)] += 1
        self.seconds += seconds


class CallMetrics(Collector):
    """The numbers of all methods as metrics."""

    def __init__(self) -> None:
        self._methods: dict[tuple[str, str, str], MethodMetrics] = {}

    def method(self, grpc_type: str, service: str, method: str) -> MethodMetrics:
        """The numbers of a method. `grpc_type` is unary, client_stream, server_stream or bidi_stream."""
        labels = (grpc_type, service, method)
        if labels not in self._methods:
            # A new dict, because a scrape in another thread may be walking over the old one.
            self._methods = {**self._methods, labels: MethodMetrics(*labels)}
        return self._methods[labels]

    def describe(self) -> Iterable[Metric]:
        """The metrics without values, for the registry."""
        return self._families(())

    def collect(self) -> Iterator[Metric]:
        """The metrics."""
        return self._families(tuple(self._methods.values()))

    def _families(self, methods: tuple[MethodMetrics, ...]) -> Iterator[Metric]:
        started = CounterMetricFamily("grpc_server_started_total", "Calls begun.", labels=_LABELS)
        handled = CounterMetricFamily(
            "grpc_server_handled_total", "Calls ended, by status.", labels=(*_LABELS, "grpc_code")
        )
        received = CounterMetricFamily("grpc_server_msg_received_total", "Messages received.", labels=_LABELS)
        sent = CounterMetricFamily("grpc_server_msg_sent_total", "Messages sent.", labels=_LABELS)
        handling = HistogramMetricFamily(
            "grpc_server_handling_seconds", "Time from the first message of a call to its end.", labels=_LABELS
        )
        for method in methods:
            started.add_metric(method.labels, method.started)
            received.add_metric(method.labels, method.received)
            sent.add_metric(method.labels, method.sent)
            for code, count in tuple(method.by_code.items()):
                handled.add_metric((*method.labels, code), count)
            buckets = list(zip(_BOUNDS, map(float, accumulate(method.by_bucket)), strict=True))
            handling.add_metric(method.labels, buckets, method.seconds)
        yield from (started, handled, received, sent, handling)
