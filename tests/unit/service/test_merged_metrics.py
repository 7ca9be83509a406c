"""The metrics of several processes, told as those of one server."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from hashmatch.model.algorithms import Algorithm
from hashmatch.model.verdicts import Verdict
from hashmatch.service.merged_metrics import MergedMetrics, counters, families
from hashmatch.service.metrics import Metrics
from hashmatch.service.recent_rates import counters_of

from .conftest import ManualClock

SERVICE = "hashmatch.v1.MatchService"


class Process:
    """One with a metric of each type."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.counter = Counter("hashmatch_calls_total", "Calls.", ["code"], registry=self.registry)
        self.histogram = Histogram("hashmatch_seconds", "Seconds.", buckets=(1, 2), registry=self.registry)
        self.inflight = Gauge("hashmatch_inflight_requests", "Calls.", registry=self.registry)
        self.epoch = Gauge("hashmatch_epoch", "The epoch.", registry=self.registry)
        self.entries = Gauge("hashmatch_list_entries", "Entries.", ["list_id"], registry=self.registry)
        self.memory = Gauge("process_resident_memory_bytes", "Memory.", registry=self.registry)

    def fill(self, number: int) -> None:
        self.counter.labels("OK").inc(number)
        self.histogram.observe(1.5)
        self.inflight.set(number)
        self.epoch.set(10 + number)
        self.entries.labels("list").set(100)
        self.memory.set(number)


@pytest.fixture
def merged() -> MergedMetrics:
    return MergedMetrics()


def text(merged: MergedMetrics) -> list[str]:
    registry = CollectorRegistry()
    registry.register(merged)
    return [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]


def test_counters_and_histograms_are_added_and_gauges_are_what_they_mean(merged: MergedMetrics) -> None:
    for number in (1, 2):
        process = Process()
        process.fill(number)
        merged.update(f"worker-{number}", families(process.registry))
    lines = set(text(merged))
    assert {
        'hashmatch_calls_total{code="OK"} 3.0',
        'hashmatch_seconds_bucket{le="1.0"} 0.0',
        'hashmatch_seconds_bucket{le="2.0"} 2.0',
        "hashmatch_seconds_count 2.0",
        "hashmatch_inflight_requests 3.0",
        # The one that is furthest behind.
        "hashmatch_epoch 11.0",
        # Both serve the same list.
        'hashmatch_list_entries{list_id="list"} 100.0',
        'process_resident_memory_bytes{process="worker-1"} 1.0',
        'process_resident_memory_bytes{process="worker-2"} 2.0',
    } <= lines


def test_what_a_process_counted_that_ended_stays_counted_and_what_it_was_goes(merged: MergedMetrics) -> None:
    for _ in range(3):
        process = Process()
        process.fill(5)
        merged.update("worker-1", families(process.registry))
        merged.end("worker-1")
    assert [line for line in text(merged) if "calls_total" in line] == ['hashmatch_calls_total{code="OK"} 15.0']
    assert not [line for line in text(merged) if line.startswith(("hashmatch_inflight", "process_"))]
    process = Process()
    process.fill(1)
    merged.update("worker-1", families(process.registry))
    assert 'hashmatch_calls_total{code="OK"} 16.0' in text(merged)


def test_the_status_page_sees_the_same_in_merged_metrics_as_in_those_of_one_process(
    merged: MergedMetrics, clock: ManualClock
) -> None:
    metrics = Metrics(CollectorRegistry(), clock=clock, version="1")
    read = counters_of(metrics, match_service=SERVICE)
    batch = metrics.method("unary", SERVICE, "BatchMatch")
    for code, seconds in (("OK", 0.003), ("OK", 0.2), ("INTERNAL", 40.0)):
        batch.finish(code, seconds)
    metrics.method("bidi_stream", SERVICE, "BulkMatch").sent += 7
    metrics.answers.count_hashes(Algorithm.MD5, Verdict.MATCH, 3)
    metrics.answers.count_hashes(Algorithm.SHA1, Verdict.MATCH, 2)
    merged.update("worker-1", families(metrics.registry))
    assert counters(merged.merged(), SERVICE) == read()
    merged.update("worker-2", families(metrics.registry))
    assert counters(merged.merged(), SERVICE).latencies == tuple(2 * count for count in read().latencies)
    assert merged.calls() == {"worker-1": 3, "worker-2": 3}
