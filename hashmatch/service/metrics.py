"""What Prometheus sees. Names and labels here are relied on by alerts and dashboards: changing one breaks them.

The metrics of calls are in `call_metrics`, those of answers in `answer_metrics`. Labels are bounded: methods are those
that are registered, reasons and verdicts are enumerations, and the series of a list end when the list is withdrawn. No
label or value is ever derived from a hash.

Nothing is registered at import: a `Metrics` belongs to the registry that it is given.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from hashmatch.model.access import BUDGETS, Policy
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.clock import Clock
from hashmatch.model.feeds import FeedCheckpoint, FeedStatus
from hashmatch.model.lists import ListNature
from hashmatch.service.answer_metrics import AnswerMetrics, algorithm_label
from hashmatch.service.call_metrics import CallMetrics, MethodMetrics

# From a handful of entries to a hundred million, in seconds.
_LOAD_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300)


@dataclass(frozen=True, slots=True)
class ListSeries:
    """What is shown of a list that is served. `as_of` is in seconds since 1970, `max_age` in seconds."""

    list_id: str
    entries: Mapping[Algorithm, int]
    as_of: float
    max_age: float
    nature: ListNature


class Metrics:
    """Every metric of the server, registered in `registry`.

    Attributes are the metrics themselves; the methods are for those whose labels come from the model's types. Attribute
    names are the metrics' without prefix and unit.
    """

    def __init__(self, registry: CollectorRegistry, *, clock: Clock, version: str) -> None:
        # The library would add a series with the time of creation to every counter, which nobody asks for. The switch
        # is global to the library, and there is no other.
        disable_created_metrics()
        self.registry = registry
        self._clock = clock
        self._lagging: set[str] = set()
        self._policy: Policy | None = None
        self._clients: set[str] = set()
        self._define_calls(registry)
        self._define_answers(registry)
        self._define_state(registry)
        self._define_administration(registry)
        self._define_trust(registry)
        Gauge("hashmatch_build_info", "Always 1; the label has the version.", ["version"], registry=registry).labels(
            version
        ).set(1)
        self._lists = _ListCollector(clock)
        registry.register(self._lists)
        ProcessCollector(registry=registry)
        self._quarantined_for: dict[str, set[str]] = {}

    def _define_calls(self, registry: CollectorRegistry) -> None:
        self._calls = CallMetrics()
        registry.register(self._calls)
        self.inflight = Gauge(
            "hashmatch_inflight_requests", "Calls being worked on.", ("listener", "kind"), registry=registry
        )
        self.shed = Counter(
            "hashmatch_shed_total", "Calls refused to bound the load.", ("listener", "reason"), registry=registry
        )

    def _define_answers(self, registry: CollectorRegistry) -> None:
        self.answers = AnswerMetrics()
        registry.register(self.answers)

    def _define_state(self, registry: CollectorRegistry) -> None:
        self.ready = Gauge("hashmatch_ready", "1 if the server may be sent calls.", registry=registry)
        self.components = Gauge(
            "hashmatch_component_ready",
            "1 if the component is well; a server is ready if all are.",
            ("component",),
            registry=registry,
        )
        self.epoch = Gauge("hashmatch_epoch", "The number of the manifest being served.", registry=registry)
        self.snapshot_confirmed = Gauge(
            "hashmatch_snapshot_confirmed_timestamp_seconds",
            "When the store last said that the manifest being served is the current one.",
            registry=registry,
        )
        self.snapshot_load = Histogram(
            "hashmatch_snapshot_load_seconds",
            "Time to load a new manifest and build its tables.",
            buckets=_LOAD_BUCKETS,
            registry=registry,
        )
        self.block_cache_hits = Counter(
            "hashmatch_block_cache_hits_total", "Blocks found in the cache.", registry=registry
        )
        self.block_cache_misses = Counter(
            "hashmatch_block_cache_misses_total", "Blocks fetched from the store.", registry=registry
        )
        self.block_cache = Gauge("hashmatch_block_cache_bytes", "Size of the cached blocks.", registry=registry)
        self._table_bytes = Gauge(
            "hashmatch_table_bytes",
            "Memory of the tables in use, the filter of an algorithm and the index of near values.",
            ("algorithm", "table"),
            registry=registry,
        )
        self.store_errors = Counter(
            "hashmatch_store_errors_total", "Failed operations of the store.", ("kind",), registry=registry
        )
        self.store_may_evict = Gauge(
            "hashmatch_store_may_evict",
            "1 if the store's maxmemory-policy lets it drop keys without an error.",
            registry=registry,
        )
        self.counts_kept = Gauge(
            "hashmatch_daily_counts_kept_timestamp_seconds",
            "When the daily counts were last put where they outlive the process; 0 if they are not kept.",
            registry=registry,
        )
        self.manifest_refused = Counter(
            "hashmatch_manifest_refused_total", "Manifests not served, and why.", ("reason",), registry=registry
        )

    def _define_administration(self, registry: CollectorRegistry) -> None:
        self.stagings = Counter(
            "hashmatch_stagings_total", "Deliveries staged, by outcome.", ("outcome",), registry=registry
        )
        self.quarantined = Counter(
            "hashmatch_quarantined_total", "Fingerprints quarantined.", ("list_id", "reason"), registry=registry
        )
        self.publishes = Counter(
            "hashmatch_publishes_total", "Changes to what is served, by act.", ("act",), registry=registry
        )
        self.audit_write_failures = Counter(
            "hashmatch_audit_write_failures_total",
            "Records that could not be written to the audit log; the act did not take effect.",
            registry=registry,
        )
        self.feed_rounds = Counter(
            "hashmatch_feed_rounds_total", "Rounds of feeds, by outcome.", ("feed", "outcome"), registry=registry
        )
        self.feed_records = Counter(
            "hashmatch_feed_records_total", "Records that bodies sent to feeds.", ("feed",), registry=registry
        )
        self.feed_requests = Counter(
            "hashmatch_feed_requests_total", "Requests to the bodies of feeds.", ("feed",), registry=registry
        )
        self.feed_retries = Counter(
            "hashmatch_feed_retries_total", "Requests that had to be made again.", ("feed",), registry=registry
        )
        self._feed_success = Gauge(
            "hashmatch_feed_last_success_timestamp_seconds",
            "When a round of the feed was last read to its end and staged; 0 for never.",
            ("feed",),
            registry=registry,
        )
        self._feed_failures = Gauge(
            "hashmatch_feed_failed_rounds", "Rounds of the feed that failed in a row.", ("feed",), registry=registry
        )
        self._feed_waiting = Gauge(
            "hashmatch_feed_waiting", "1 if a round of the feed waits to be published.", ("feed",), registry=registry
        )
        self._feed_lag = Gauge(
            "hashmatch_feed_lag_seconds",
            "How long ago what is published was read from the body; absent if nothing is.",
            ("feed",),
            registry=registry,
        )
        self.approvals_required = Gauge(
            "hashmatch_approvals_required", "Approvals that a generation needs before it is served.", registry=registry
        )
        self.store_rights_excessive = Gauge(
            "hashmatch_store_rights_excessive",
            "1 if the user of the store may do more than this server needs.",
            registry=registry,
        )
        self.under_old_keys = Gauge(
            "hashmatch_under_old_keys",
            "Segments and other values that are sealed under the keys in sealing.old_key_files.",
            registry=registry,
        )
        self.approvals_signed = Gauge(
            "hashmatch_approvals_signed",
            "1 if approvals must be signed by enrolled approvers, 0 if callers are believed.",
            registry=registry,
        )

    def _define_trust(self, registry: CollectorRegistry) -> None:
        self.certificate_expiry = Gauge(
            "hashmatch_certificate_expiry_timestamp_seconds",
            "When the certificate that a listener shows expires.",
            ("listener",),
            registry=registry,
        )
        self.certificate_reloads = Counter(
            "hashmatch_certificate_reloads_total",
            "Changed certificates of a listener, by whether they were loaded or refused.",
            ("listener", "outcome"),
            registry=registry,
        )

        self.budget_exhausted = Counter(
            "hashmatch_budget_exhausted_total",
            "Batches and answers refused because a client's budget was spent.",
            ("client", "budget"),
            registry=registry,
        )
        self.budget_spent = Gauge(
            "hashmatch_budget_spent_ratio",
            "How much of a budget of the day a client has spent, as this server knows it.",
            ("client", "budget"),
            registry=registry,
        )
        self.budgets_settled = Gauge(
            "hashmatch_budgets_settled_timestamp_seconds",
            "When budgets were last settled with the store; 0 if there was nothing to settle yet.",
            registry=registry,
        )
        self.probing = Counter(
            "hashmatch_probing_detected_total",
            "How often a client was found to ask about many perceptual values around one code.",
            ("client",),
            registry=registry,
        )
        self.feedback = Counter(
            "hashmatch_feedback_total",
            "How often callers said of a match in a list that it is right or wrong.",
            ("list_id", "judgement"),
            registry=registry,
        )
        self.match_floods = Counter(
            "hashmatch_match_floods_total",
            "How often an entry of a list was found to match far more often than before.",
            ("list_id",),
            registry=registry,
        )
        self.audited_answers = Counter(
            "hashmatch_audit_answers_total",
            "Answered batches, by whether the audit log of answers has a record of them or lost it.",
            ("outcome",),
            registry=registry,
        )
        for outcome in ("recorded", "lost"):
            self.audited_answers.labels(outcome)
        self.checkpoint_signed = Gauge(
            "hashmatch_audit_checkpoint_timestamp_seconds",
            "When checkpoints of the audit logs were last signed; 0 for never.",
            registry=registry,
        )
        self.policy_version = Gauge(
            "hashmatch_policy_version", "The version of the policy in force; 0 for none.", registry=registry
        )

    def method(self, grpc_type: str, service: str, method: str) -> MethodMetrics:
        """The metrics of a method. `grpc_type` is unary, client_stream, server_stream or bidi_stream."""
        return self._calls.method(grpc_type, service, method)

    def count_quarantined(self, list_id: str, reason: str, amount: int = 1) -> None:
        """Count fingerprints of a delivery to a list that were quarantined for `reason`, a parser's stable word."""
        self._quarantined_for.setdefault(list_id, set()).add(reason)
        self.quarantined.labels(list_id, reason).inc(amount)

    def show_policy(self, policy: Policy | None) -> None:
        """Show the policy in force.

        Its clients have series from the beginning, so that a first refusal is an increase; those of others end.
        """
        if policy is self._policy:
            return
        self._policy = policy
        self.policy_version.set(0 if policy is None else policy.version)
        clients = set() if policy is None else set(policy.clients)
        for name in self._clients - clients:
            self.probing.remove(name)
            for budget in BUDGETS:
                for metric in (self.budget_exhausted, self.budget_spent):
                    with contextlib.suppress(KeyError):
                        metric.remove(name, budget)
        for name in clients - self._clients:
            self.probing.labels(name)
            for budget in BUDGETS:
                self.budget_exhausted.labels(name, budget)
        self._clients = clients

    def show_feed(self, feed: str, status: FeedStatus, checkpoint: FeedCheckpoint | None, *, waiting: bool) -> None:
        """Show how a feed stands. Its lag grows from scrape to scrape by itself."""
        self._feed_success.labels(feed).set(status.succeeded_at)
        self._feed_failures.labels(feed).set(status.failures)
        self._feed_waiting.labels(feed).set(waiting)
        if checkpoint is not None:
            read_at = checkpoint.read_at
            self._lagging.add(feed)
            self._feed_lag.labels(feed).set_function(lambda: self._clock.now() - read_at)
        elif feed in self._lagging:
            self._lagging.remove(feed)
            self._feed_lag.remove(feed)

    def show_tables(self, sizes: Iterable[tuple[Algorithm, str, int]]) -> None:
        """Show the memory of tables, given by algorithm, kind (filter or near) and bytes."""
        self._table_bytes.clear()
        for algorithm, table, size in sizes:
            self._table_bytes.labels(algorithm.name.lower(), table).set(size)

    def show_lists(self, lists: Iterable[ListSeries]) -> None:
        """Show exactly these lists from now on. What was counted for a list that is gone goes with it."""
        shown = {series.list_id: series for series in lists}
        gone = self._lists.shown.keys() - shown.keys()
        for list_id in shown.keys() - self._lists.shown.keys():
            # From the beginning, so that the first flood is an increase.
            self.match_floods.labels(list_id)
        self._lists.shown = shown
        for list_id in gone:
            self.match_floods.remove(list_id)
            for reason in self._quarantined_for.pop(list_id, ()):
                self.quarantined.remove(list_id, reason)
        self.answers.forget_lists(gone)


class _ListCollector(Collector):
    """Shows the lists as of the moment of the scrape, so that a list turns stale without anybody doing anything."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.shown: Mapping[str, ListSeries] = {}

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        shown, now = self.shown, self._clock.now()
        entries = GaugeMetricFamily("hashmatch_list_entries", "Distinct hashes.", labels=("list_id", "algorithm"))
        as_of = GaugeMetricFamily(
            "hashmatch_list_as_of_timestamp_seconds", "When the body's delivery was current.", labels=("list_id",)
        )
        max_age = GaugeMetricFamily(
            "hashmatch_list_max_age_seconds", "The age from which the list gives no negatives.", labels=("list_id",)
        )
        stale = GaugeMetricFamily(
            "hashmatch_list_stale", "1 if the list is older than its maximum age.", labels=("list_id",)
        )
        info = GaugeMetricFamily(
            "hashmatch_list_info", "Always 1; the label has what the list is about.", labels=("list_id", "nature")
        )
        for list_id, series in shown.items():
            info.add_metric((list_id, series.nature.name.lower()), 1)
            for algorithm, count in series.entries.items():
                entries.add_metric((list_id, algorithm_label(algorithm)), count)
            as_of.add_metric((list_id,), series.as_of)
            max_age.add_metric((list_id,), series.max_age)
            stale.add_metric((list_id,), float(now - series.as_of > series.max_age))
        yield from (entries, as_of, max_age, stale, info)
