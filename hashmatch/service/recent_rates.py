"""What the server did lately: counters read every few seconds, and the rates and latencies that follow from them.

It is for the status page alone. Prometheus keeps longer and finer records; this keeps a quarter of an hour, in memory
that does not grow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest

from hashmatch.model.clock import Clock
from hashmatch.model.verdicts import Verdict
from hashmatch.service.call_metrics import BUCKETS, MethodMetrics
from hashmatch.service.metrics import Metrics

SAMPLE_INTERVAL = 5.0
MAXIMUM_SAMPLES = 181
_VERDICTS = tuple(verdict.name.lower() for verdict in Verdict)


@dataclass(frozen=True, slots=True)
class Counters:
    """What is counted; all of it only grows. `hashes` are by verdict, `latencies` of BatchMatch by bucket."""

    hashes: dict[str, float]
    batches: float
    bulk_batches: float
    failed: float
    latencies: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """Counters at one moment, `at` by the monotonic clock in seconds."""

    at: float
    counters: Counters


@dataclass(frozen=True, slots=True)
class Interval:
    """What happened between two samples, a second.

    `hashes` is by verdict; `failed` counts calls of either kind that did not end with OK. `median` and `p99` are those
    of BatchMatch, in seconds and as exact as the buckets of its metric; None if no call ended.
    """

    hashes: dict[str, float]
    batches: float
    bulk_batches: float
    failed: float
    median: float | None
    p99: float | None


class RecentRates:
    """Takes samples from the event loop; `intervals` is asked from any thread."""

    def __init__(self, read: Callable[[], Counters], clock: Clock) -> None:
        """`read` tells the counters as they are."""
        self._read = read
        self._clock = clock
        self._samples: tuple[Sample, ...] = ()

    async def run(self) -> None:
        """Take samples until cancelled."""
        while True:
            self.take()
            await asyncio.sleep(SAMPLE_INTERVAL)

    def take(self) -> None:
        """Take a sample, and let go of the oldest if there are enough."""
        sample = Sample(self._clock.monotonic(), self._read())
        # A new tuple, so that a thread that is reading the old one is not disturbed.
        self._samples = (*self._samples[1 - MAXIMUM_SAMPLES :], sample)

    def intervals(self) -> tuple[Interval, ...]:
        """What happened between the samples, oldest first."""
        return tuple(_between(before, after) for before, after in pairwise(self._samples) if after.at > before.at)


def counters_of(metrics: Metrics, *, match_service: str) -> Callable[[], Counters]:
    """Reads them from the metrics of this process. `match_service` is the full name of the service to look at."""
    batch = metrics.method("unary", match_service, "BatchMatch")
    bulk = metrics.method("bidi_stream", match_service, "BulkMatch")

    def read() -> Counters:
        return Counters(
            hashes={verdict.name.lower(): count for verdict, count in metrics.answers.by_verdict().items()},
            batches=_ended(batch),
            # A stream can stay open for days: what counts is how many batches were answered on it.
            bulk_batches=bulk.sent,
            failed=_failed(batch) + _failed(bulk),
            latencies=tuple(batch.by_bucket),
        )

    return read


def _between(early: Sample, late: Sample) -> Interval:
    seconds = late.at - early.at
    before, after = early.counters, late.counters
    buckets = zip_longest(before.latencies, after.latencies, fillvalue=0)
    latencies = tuple(there - here for here, there in buckets)
    hashes = {verdict: after.hashes.get(verdict, 0) - before.hashes.get(verdict, 0) for verdict in _VERDICTS}
    return Interval(
        hashes={verdict: count / seconds for verdict, count in hashes.items()},
        batches=(after.batches - before.batches) / seconds,
        bulk_batches=(after.bulk_batches - before.bulk_batches) / seconds,
        failed=(after.failed - before.failed) / seconds,
        median=quantile(0.5, latencies),
        p99=quantile(0.99, latencies),
    )


def quantile(share: float, counts: Sequence[int]) -> float | None:
    """The latency in seconds below which `share` of the calls in `counts` (by bucket) lie; None without calls.

    As Prometheus does it: calls lie evenly within their bucket, and those beyond the last bound count as the bound.
    """
    rank = share * sum(counts)
    if not rank:
        return None
    lower = 0.0
    for upper, count in zip(BUCKETS, counts, strict=False):
        if rank <= count:
            return lower + (upper - lower) * rank / count
        rank -= count
        lower = upper
    return BUCKETS[-1]


def _ended(method: MethodMetrics) -> int:
    return sum(method.by_bucket)


def _failed(method: MethodMetrics) -> int:
    return sum(count for code, count in method.by_code.items() if code != "OK")
