"""Every benchmark runs, gets right answers and reports its cases, as the command that a reader gives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FIELDS = {"benchmark", "case", "value", "unit", "comparator", "comparator_value", "ratio", "conditions"}
ENTRIES = 2_000
PATIENCE = 300
# Each starts several servers; `make test-long` runs them too.
LONG = pytest.mark.long


def run(*arguments):
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.mark.parametrize(
    ("name", "cases", "comparators"),
    [
        ("exact", {"0.1 % hits", "30 % hits with opinions"}, 5),
        pytest.param(
            "latency",
            {
                f"{verdict}, {carried} carried, {load}, {share}"
                for verdict in ("miss", "hit")
                for carried in ("SHA-256", "all three")
                for load in ("200 requests/s", "one caller")
                for share in ("p50", "p99")
            },
            1,
            marks=LONG,
        ),
        pytest.param(
            "trust",
            {
                *(
                    f"{case}{measure}"
                    for case in ("TLS and policy", "budgets too", "log of answers too", "receipts too")
                    for measure in ("", ", the server's processor")
                ),
                "echo over TLS",
            },
            5,
            marks=LONG,
        ),
        pytest.param(
            "pdq-service",
            {"BulkMatch", "a delta is answered with, p50", "a delta is answered with, slowest"},
            2,
            marks=LONG,
        ),
        ("ingest", {"hash text, from the first byte to the first right answer", "peak memory of the server"}, 3),
        pytest.param(
            "footprint",
            {"Redis, an entry with one opinion", "server, each entry beyond the first 200", "server, all of it"},
            3,
            marks=LONG,
        ),
        pytest.param(
            "update",
            {
                "a delta on two servers, p50",
                "a delta on two servers, p99",
                "a delta on two servers, slowest",
                "questions meanwhile, slowest",
                "questions meanwhile, failed or wrong",
            },
            2,
            marks=LONG,
        ),
    ],
)
def test_a_benchmark_reports_its_cases(name, cases, comparators):
    finished = run(name, "--quick", "--entries", str(ENTRIES))
    assert finished.returncode == 0, finished.stderr
    lines = [json.loads(line) for line in finished.stdout.splitlines()]
    assert {line["case"] for line in lines} == cases
    assert len({line["comparator"] for line in lines}) == comparators
    for line in lines:
        assert line.keys() == FIELDS
        assert line["benchmark"] == name
        assert line["conditions"]["entries"] == ENTRIES
        assert line["conditions"]["valkey"]


@pytest.mark.long
def test_scale_shows_workers_and_a_cluster():
    finished = run("scale", "--quick", "--entries", str(ENTRIES))
    assert finished.returncode == 0, finished.stderr
    lines = {line["case"]: line for line in map(json.loads, finished.stdout.splitlines())}
    assert {"BulkMatch, 0.1 % hits, 2 workers", "BatchMatch, one item, 2 workers"} <= lines.keys()
    assert {"BulkMatch, 0.1 % hits, a cluster", "BulkMatch, 30 % hits, a cluster"} <= lines.keys()
    tables = lines["tables, all processes of 2 workers together"]
    assert tables["value"] == pytest.approx(tables["comparator_value"], rel=0.05)


@pytest.mark.long
def test_size_shows_the_longest_gaps():
    finished = run("size", "--quick", "--entries", "20000")
    assert finished.returncode == 0, finished.stderr
    lines = {line["case"]: line for line in map(json.loads, finished.stdout.splitlines())}
    assert {case for case in lines if case.startswith("longest time without an answer")} == {
        f"longest time without an answer {when}"
        for when in (
            "while lists are taken in and refreshed",
            "of another server while one starts",
            "while servers refresh together",
            "while deltas come and are folded",
        )
    }
    assert lines["questions failed or wrong"]["value"] == 0


def test_formats_are_read_beside_the_bare_parsers_at_two_sizes():
    finished = run("formats", "--quick", "--entries", str(ENTRIES))
    assert finished.returncode == 0, finished.stderr
    lines = [json.loads(line) for line in finished.stdout.splitlines()]
    expected = {f"{name}, {what}" for name in ("ncmec", "vics") for what in ("1 MB", "2 MB", "peak memory, 2 MB")}
    assert {line["case"] for line in lines} == expected
    assert all(line["ratio"] > 0 and line["conditions"]["records"] > 1_000 for line in lines)


def test_an_unknown_benchmark_is_refused():
    finished = run("speed")
    assert finished.returncode == 2
    assert "invalid choice: 'speed'" in finished.stderr
