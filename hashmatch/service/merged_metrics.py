"""The metrics of several processes as those of one server.

Counters and histograms are added up. What a process counted that is gone stays in the sum, so that no counter ever goes
back. Of gauges, those of which every process has its own share are added up as well; where processes can differ in how
far they are, the one that is furthest behind is shown; all others are properties of what is served, and the same in all
of them. The metrics of the processes themselves, their memory and their time, get a label that tells whose they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from hashmatch.service.recent_rates import Counters

_ADDED = frozenset({"hashmatch_inflight_requests", "hashmatch_block_cache_bytes"})
_FURTHEST_BEHIND = frozenset(
    {
        "hashmatch_ready",
        "hashmatch_component_ready",
        "hashmatch_epoch",
        "hashmatch_snapshot_confirmed_timestamp_seconds",
        "hashmatch_daily_counts_kept_timestamp_seconds",
        "hashmatch_certificate_expiry_timestamp_seconds",
        "hashmatch_policy_version",
        "hashmatch_audit_checkpoint_timestamp_seconds",
    }
)
_OF_PROCESSES = "process_"
_COUNTED = frozenset({"counter", "histogram"})
_CALLS = "grpc_server_handled"

_HASHES = "hashmatch_hashes"
_LATENCIES = "grpc_server_handling_seconds"
_SENT = "grpc_server_msg_sent"

# A sample's name and labels.
_Series = tuple[str, tuple[tuple[str, str], ...]]
_Values = dict[_Series, float]


class Family(msgspec.Struct, frozen=True, array_like=True):
    """A metric with its samples: name, labels and value."""

    name: str
    documentation: str
    type: str
    samples: tuple[tuple[str, dict[str, str], float], ...]


def families(registry: CollectorRegistry) -> tuple[Family, ...]:
    """Everything in a registry, as of now."""
    return tuple(
        Family(metric.name, metric.documentation, metric.type, tuple(each[:3] for each in metric.samples))
        for metric in registry.collect()
    )


def counters(told: Iterable[Family], match_service: str) -> Counters:
    """What the status page draws, of metrics. `match_service` is the full name of the service that it is about."""
    known = {family.name: family.samples for family in told}
    hashes: dict[str, float] = {}
    for _, labels, value in known.get(_HASHES, ()):
        hashes[labels["verdict"]] = hashes.get(labels["verdict"], 0.0) + value

    def of_method(family: str, method: str) -> list[tuple[str, dict[str, str], float]]:
        wanted = {"grpc_service": match_service, "grpc_method": method}
        return [each for each in known.get(family, ()) if wanted.items() <= each[1].items()]

    # Buckets come as running totals, from the lowest bound to infinity.
    totals = [value for name, _, value in of_method(_LATENCIES, "BatchMatch") if name.endswith("_bucket")]
    ended = of_method(_CALLS, "BatchMatch")
    failed = [each for each in (*ended, *of_method(_CALLS, "BulkMatch")) if each[1]["grpc_code"] != "OK"]
    return Counters(
        hashes=hashes,
        batches=sum(value for _, _, value in ended),
        bulk_batches=sum(value for _, _, value in of_method(_SENT, "BulkMatch")),
        failed=sum(value for _, _, value in failed),
        latencies=tuple(int(total - below) for below, total in pairwise((0.0, *totals))),
    )


class MergedMetrics(Collector):
    """The processes of a server, by name. Fed on the event loop; collected in any thread."""

    def __init__(self) -> None:
        self._live: dict[str, tuple[Family, ...]] = {}
        # What processes counted that are gone, by their name.
        self._gone: dict[str, tuple[Family, ...]] = {}

    def update(self, process: str, told: tuple[Family, ...]) -> None:
        """Take over what a process tells."""
        # New dicts, because a scrape in another thread may be walking over the old ones.
        self._live = {**self._live, process: told}

    def end(self, process: str) -> None:
        """A process is gone; what it counted stays."""
        live = dict(self._live)
        last = live.pop(process, ())
        counted = [family for family in last if family.type in _COUNTED and not _of_processes(family)]
        before = self._gone.get(process, ())
        self._gone = {**self._gone, process: tuple(_merge([(process, before), (process, counted)]))}
        self._live = live

    def merged(self) -> list[Family]:
        """All processes together."""
        return _merge([*self._gone.items(), *self._live.items()])

    def calls(self) -> Mapping[str, float]:
        """How many calls each process ended, by its name; those of earlier processes of the name with it."""
        ended: dict[str, float] = {}
        for process, told in (*self._gone.items(), *self._live.items()):
            for family in told:
                if family.name == _CALLS:
                    ended[process] = ended.get(process, 0.0) + sum(value for _, _, value in family.samples)
        return ended

    def describe(self) -> Iterable[Metric]:
        """Nothing: what there is turns out when processes tell of it."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """The metrics."""
        for family in self.merged():
            metric = Metric(family.name, family.documentation, family.type)
            metric.samples = [Sample(name, labels, value) for name, labels, value in family.samples]
            yield metric


def _merge(processes: Iterable[tuple[str, Iterable[Family]]]) -> list[Family]:
    known: dict[str, Family] = {}
    values: dict[str, _Values] = {}
    for process, told in processes:
        for family in told:
            known.setdefault(family.name, family)
            into = values.setdefault(family.name, {})
            rule = _rule(family)
            for name, labels, value in family.samples:
                if _of_processes(family):
                    labels = {**labels, "process": process}
                series = (name, tuple(labels.items()))
                into[series] = rule(into[series], value) if series in into else value
    return [
        Family(
            name,
            family.documentation,
            family.type,
            tuple((sample, dict(labels), value) for (sample, labels), value in values[name].items()),
        )
        for name, family in known.items()
    ]


def _rule(family: Family) -> Callable[[float, float], float]:
    if family.type in _COUNTED or family.name in _ADDED:
        return lambda one, other: one + other
    return min if family.name in _FURTHEST_BEHIND else max


def _of_processes(family: Family) -> bool:
    return family.name.startswith(_OF_PROCESSES)
