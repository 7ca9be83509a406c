"""Rules and dashboards ask for what a composed server exports, and every alert leads to a section of the runbook."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import promql_parser
import pytest
import yaml
from prometheus_client import CollectorRegistry

from hashmatch.service.config import Config
from hashmatch.service.runner import Runner

ROOT = Path(__file__).parents[3]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = [
    rule
    for file in sorted(PROMETHEUS.glob("rules/*.yml"))
    for group in yaml.safe_load(file.read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
UNIT_TESTS = [
    test for file in PROMETHEUS.glob("tests/*.yml") for test in yaml.safe_load(file.read_text("utf-8"))["tests"]
]
DASHBOARDS = {file.stem: json.loads(file.read_text("utf-8")) for file in sorted(ROOT.glob("deploy/grafana/*.json"))}
PANELS = [
    pytest.param(panel, id=f"{name}-{panel['id']}") for name, board in DASHBOARDS.items() for panel in board["panels"]
]
# Prometheus makes it itself.
OF_PROMETHEUS = {"up"}
by_name = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])


def metrics_in(expression):
    """The names of the metrics that an expression asks for. Raises `ValueError` if it does not parse."""
    found = set()

    def visit(node):
        if isinstance(node, promql_parser.VectorSelector):
            found.add(node.name)
            return
        for attribute in ("lhs", "rhs", "expr", "vector_selector", "vs"):
            child = getattr(node, attribute, None)
            if child is not None and not callable(child):
                visit(child)
        for child in getattr(node, "args", None) or ():
            visit(child)

    visit(promql_parser.parse(expression))
    return found


@pytest.fixture(scope="module")
def exported():
    """The names of all series that a server may export, from the registry of a composed one."""
    registry = CollectorRegistry()
    Runner(Config(), registry=registry)
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}
    return (
        {metric.name + suffix for metric in registry.collect() for suffix in suffixes[metric.type]}
        | OF_PROMETHEUS
        | RECORDED
    )


def test_names_are_found_wherever_they_stand():
    expression = (
        'sum by (a) (rate(b{c="d"}[5m])) / on (e) -f > (time() - g) unless max_over_time(h[1h:5m]) or absent(i)'
    )
    assert metrics_in(expression) == {"b", "f", "g", "h", "i"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_rules_use_what_is_exported(rule, exported):
    asked = metrics_in(rule["expr"])
    assert asked
    assert asked <= exported


@pytest.mark.parametrize("panel", PANELS)
def test_panels_use_what_is_exported_and_say_what_they_show(panel, exported):
    assert panel["title"]
    assert panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    for target in panel["targets"]:
        asked = metrics_in(target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*"))
        assert asked
        assert asked <= exported


def test_dashboards_can_be_told_apart():
    assert sorted(DASHBOARDS) == ["clients", "lists", "service", "store"]
    assert len({board["uid"] for board in DASHBOARDS.values()}) == len(DASHBOARDS)
    for board in DASHBOARDS.values():
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_names_of_alerts_are_unique():
    assert len({alert["alert"] for alert in ALERTS}) == len(ALERTS)


@by_name
def test_alerts_say_what_is_wrong_and_where_help_is(alert):
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    annotations = alert["annotations"]
    assert annotations["summary"]
    assert annotations["description"]
    assert annotations["runbook_url"] == f"docs/runbook.md#{alert['alert'].lower()}"
    section = re.search(
        rf"^### {alert['alert']}\n(.*?)(?=^##|\Z)",
        (ROOT / "docs/runbook.md").read_text("utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    assert section, "the runbook has no such section"
    for part in ("Means", "Users see", "Check", "Do"):
        assert f"**{part}**" in section[1]


@by_name
def test_alerts_have_a_test_where_they_fire_and_one_where_they_stay_silent(alert):
    cases = [
        case["exp_samples"]
        for test in UNIT_TESTS
        for case in test["promql_expr_test"]
        if f'alertname="{alert["alert"]}"' in case["expr"]
    ]
    assert any(cases)
    assert not all(cases)


@by_name
def test_texts_of_alerts_name_labels_that_the_alert_has(alert):
    used = set(re.findall(r"\$labels\.(\w+)", " ".join(alert["annotations"].values())))
    (labels,) = [
        sample["labels"]
        for test in UNIT_TESTS
        for case in test["promql_expr_test"]
        if f'alertname="{alert["alert"]}"' in case["expr"]
        for sample in case["exp_samples"]
    ]
    assert used <= set(re.findall(r'(\w+)="', labels))


def test_promtool_runs_the_unit_tests():
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    for what in (
        ["check", "config", PROMETHEUS / "prometheus.yml"],
        ["check", "rules", *PROMETHEUS.glob("rules/*.yml")],
        ["test", "rules", *PROMETHEUS.glob("tests/*.yml")],
    ):
        done = subprocess.run([promtool, *what], capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
