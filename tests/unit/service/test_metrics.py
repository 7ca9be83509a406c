"""The metrics: names and labels that others rely on, and series that end."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from hashmatch.model.access import Client, Permission, Policy
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.lists import ListNature
from hashmatch.model.verdicts import UndeterminedReason, Verdict
from hashmatch.service.metrics import ListSeries, Metrics

from .conftest import ManualClock

NAMES = {
    "grpc_server_started_total",
    "grpc_server_handled_total",
    "grpc_server_handling_seconds",
    "grpc_server_msg_received_total",
    "grpc_server_msg_sent_total",
    "hashmatch_hashes_total",
    "hashmatch_undetermined_total",
    "hashmatch_matches_total",
    "hashmatch_epoch",
    "hashmatch_snapshot_confirmed_timestamp_seconds",
    "hashmatch_snapshot_load_seconds",
    "hashmatch_list_entries",
    "hashmatch_list_as_of_timestamp_seconds",
    "hashmatch_list_info",
    "hashmatch_list_stale",
    "hashmatch_list_max_age_seconds",
    "hashmatch_filter_candidates_total",
    "hashmatch_filter_false_alarms_total",
    "hashmatch_block_cache_hits_total",
    "hashmatch_block_cache_misses_total",
    "hashmatch_block_cache_bytes",
    "hashmatch_table_bytes",
    "hashmatch_store_errors_total",
    "hashmatch_manifest_refused_total",
    "hashmatch_ready",
    "hashmatch_component_ready",
    "hashmatch_store_may_evict",
    "hashmatch_certificate_expiry_timestamp_seconds",
    "hashmatch_certificate_reloads_total",
    "hashmatch_daily_counts_kept_timestamp_seconds",
    "hashmatch_audit_write_failures_total",
    "hashmatch_audit_answers_total",
    "hashmatch_audit_checkpoint_timestamp_seconds",
    "hashmatch_inflight_requests",
    "hashmatch_shed_total",
    "hashmatch_stagings_total",
    "hashmatch_quarantined_total",
    "hashmatch_publishes_total",
    "hashmatch_approvals_required",
    "hashmatch_approvals_signed",
    "hashmatch_under_old_keys",
    "hashmatch_store_rights_excessive",
    "hashmatch_policy_version",
    "hashmatch_budget_exhausted_total",
    "hashmatch_budget_spent_ratio",
    "hashmatch_budgets_settled_timestamp_seconds",
    "hashmatch_probing_detected_total",
    "hashmatch_feedback_total",
    "hashmatch_match_floods_total",
    "hashmatch_feed_rounds_total",
    "hashmatch_feed_records_total",
    "hashmatch_feed_requests_total",
    "hashmatch_feed_retries_total",
    "hashmatch_feed_last_success_timestamp_seconds",
    "hashmatch_feed_failed_rounds",
    "hashmatch_feed_waiting",
    "hashmatch_feed_lag_seconds",
    "hashmatch_build_info",
}


def a_list(list_id: str, as_of: float = 1_000_000.0) -> ListSeries:
    return ListSeries(
        list_id, {Algorithm.SHA256: 10, Algorithm.MD5: 5}, as_of=as_of, max_age=3_600, nature=ListNature.ILLEGAL
    )


def fill(metrics: Metrics) -> None:
    method = metrics.method("unary", "hashmatch.v1.MatchService", "BatchMatch")
    method.started += 1
    method.finish("OK", 0.001)
    metrics.inflight.labels("matching", "unary").set(1)
    metrics.shed.labels("matching", "unary-full").inc()
    metrics.answers.count_hashes(Algorithm.SHA256, Verdict.NO_KNOWN_MATCH, 7)
    metrics.answers.count_hashes(None, Verdict.NOT_DETERMINED)
    metrics.answers.count_undetermined(UndeterminedReason.UNKNOWN_ALGORITHM)
    metrics.answers.count_matches("a", Algorithm.SHA256, ListNature.ILLEGAL)
    metrics.answers.count_matches("b", Algorithm.MD5, ListNature.TEST)
    metrics.count_quarantined("a", "wrong-length", 3)
    metrics.store_errors.labels("timeout").inc()
    metrics.manifest_refused.labels("older-epoch").inc()
    metrics.stagings.labels("staged").inc()
    metrics.publishes.labels("publish").inc()
    metrics.snapshot_load.observe(0.2)
    metrics.show_lists([a_list("a"), a_list("b")])


def test_the_names_are_those_that_dashboards_use(metrics: Metrics, registry: CollectorRegistry) -> None:
    text = generate_latest(registry).decode()
    named = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert {name for name in named if not name.startswith("process_")} == NAMES


def test_labels_come_from_the_model(metrics: Metrics, registry: CollectorRegistry) -> None:
    fill(metrics)
    value = registry.get_sample_value
    assert value("hashmatch_hashes_total", {"algorithm": "sha256", "verdict": "no_known_match"}) == 7
    assert value("hashmatch_hashes_total", {"algorithm": "unknown", "verdict": "not_determined"}) == 1
    assert value("hashmatch_undetermined_total", {"reason": "unknown_algorithm"}) == 1
    assert value("hashmatch_matches_total", {"list_id": "a", "algorithm": "sha256", "nature": "illegal"}) == 1
    assert value("hashmatch_list_entries", {"list_id": "b", "algorithm": "md5"}) == 5
    assert value("hashmatch_build_info", {"version": "1.2.3"}) == 1


def test_calls_are_counted_in_the_bucket_that_holds_them(metrics: Metrics, registry: CollectorRegistry) -> None:
    method = metrics.method("unary", "a.Service", "Method")
    for seconds in (0.0, 0.0005, 0.0006, 100.0):
        method.finish("OK", seconds)
    assert metrics.method("unary", "a.Service", "Method") is method
    labels = {"grpc_type": "unary", "grpc_service": "a.Service", "grpc_method": "Method"}

    def bucket(bound: str) -> float | None:
        return registry.get_sample_value("grpc_server_handling_seconds_bucket", labels | {"le": bound})

    assert [bucket(bound) for bound in ("0.0005", "0.001", "30.0", "+Inf")] == [2, 3, 3, 4]
    assert registry.get_sample_value("grpc_server_handling_seconds_count", labels) == 4
    assert registry.get_sample_value("grpc_server_handling_seconds_sum", labels) == pytest.approx(100.0011)


def test_a_list_turns_stale_by_itself(metrics: Metrics, registry: CollectorRegistry, clock: ManualClock) -> None:
    metrics.show_lists([a_list("a", as_of=clock.now())])
    clock.advance(3_600)
    assert registry.get_sample_value("hashmatch_list_stale", {"list_id": "a"}) == 0
    clock.advance(1)
    assert registry.get_sample_value("hashmatch_list_stale", {"list_id": "a"}) == 1


def test_the_series_of_a_list_end_with_it(metrics: Metrics, registry: CollectorRegistry) -> None:
    fill(metrics)
    metrics.show_lists([a_list("b")])
    text = generate_latest(registry).decode()
    assert 'list_id="a"' not in text
    assert 'list_id="b"' in text
    metrics.answers.count_matches("a", Algorithm.SHA256, ListNature.ILLEGAL)
    assert 'list_id="a"' in generate_latest(registry).decode()


def test_two_servers_in_one_process_do_not_share_metrics(clock: ManualClock) -> None:
    first = Metrics(CollectorRegistry(), clock=clock, version="1")
    second = Metrics(CollectorRegistry(), clock=clock, version="1")
    first.epoch.set(3)
    assert second.registry.get_sample_value("hashmatch_epoch") == 0


def test_promtool_finds_nothing_to_complain_about(metrics: Metrics, registry: CollectorRegistry) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    fill(metrics)
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=generate_latest(registry), capture_output=True, check=False, timeout=60
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_clients_have_series_as_long_as_they_are_in_the_policy(metrics: Metrics, registry: CollectorRegistry) -> None:
    def policy(version: int, *names: str) -> Policy:
        return Policy.of(version, {name: Client(name, (name,), Permission()) for name in names})

    def series(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    metrics.show_policy(policy(1, "a", "b"))
    assert series("hashmatch_policy_version") == 1
    assert series("hashmatch_probing_detected_total", client="a") == 0
    assert series("hashmatch_budget_exhausted_total", client="b", budget="hits-per-day") == 0
    metrics.budget_spent.labels("a", "hits-per-day").set(0.5)
    metrics.show_policy(policy(2, "b"))
    assert series("hashmatch_probing_detected_total", client="a") is None
    assert series("hashmatch_budget_spent_ratio", client="a", budget="hits-per-day") is None
    assert series("hashmatch_probing_detected_total", client="b") == 0
    metrics.show_policy(None)
    assert series("hashmatch_policy_version") == 0
