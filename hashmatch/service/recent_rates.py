"""What the server did lately: counters read every few seconds, and the rates and latencies that follow from them.

It is for the status page alone. Prometheus keeps longer and finer records; this keeps a quarter of an hour, in memory
that does not grow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from hashmatch.model.clock import Clock
from hashmatch.model.verdicts import Verdict
from hashmatch.service.call_metrics import BUCKETS, MethodMetrics
from hashmatch.service.metrics import Metrics

SAMPLE_INTERVAL = 5.0
MAXIMUM_SAMPLES = 181


@dataclass(frozen=True, slots=True)
class Sample:
    """Counters at one moment, `at` by the monotonic clock in seconds; all of them only grow."""

    at: float
    hashes: dict[str, float]
    batches: int
    bulk_batches: int
    failed: int
    latencies: tuple[int, ...]


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

    def __init__(self, metrics: Metrics, clock: Clock, *, match_service: str) -> None:
        """`match_service` is the full name of the service whose calls are looked at."""
        self._metrics = metrics
        self._clock = clock
        self._batch = metrics.method("unary", match_service, "BatchMatch")
        self._bulk = metrics.method("bidi_stream", match_service, "BulkMatch")
        self._samples: tuple[Sample, ...] = ()

    async def run(self) -> None:
        """Take samples until cancelled."""
        while True:
            self.take()
            await asyncio.sleep(SAMPLE_INTERVAL)

    def take(self) -> None:
        """Take a sample, and let go of the oldest if there are enough."""
        hashes = dict.fromkeys((verdict.name.lower() for verdict in Verdict), 0.0)
        for verdict, count in self._metrics.answers.by_verdict().items():
            hashes[verdict.name.lower()] += count
        sample = Sample(
            at=self._clock.monotonic(),
            hashes=hashes,
            batches=_ended(self._batch),
            # A stream can stay open for days: what counts is how many batches were answered on it.
            bulk_batches=self._bulk.sent,
            failed=_failed(self._batch) + _failed(self._bulk),
            latencies=tuple(self._batch.by_bucket),
        )
        # A new tuple, so that a thread that is reading the old one is not disturbed.
        self._samples = (*self._samples[1 - MAXIMUM_SAMPLES :], sample)

    def intervals(self) -> tuple[Interval, ...]:
        """What happened between the samples, oldest first."""
        return tuple(_between(before, after) for before, after in pairwise(self._samples) if after.at > before.at)


def _between(before: Sample, after: Sample) -> Interval:
    seconds = after.at - before.at
    latencies = tuple(late - early for early, late in zip(before.latencies, after.latencies, strict=True))
    return Interval(
        hashes={verdict: (count - before.hashes[verdict]) / seconds for verdict, count in after.hashes.items()},
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
