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


def run(*arguments):
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.mark.parametrize(
    ("name", "cases", "comparators"),
    [
        ("exact", {"0.1 % hits", "30 % hits with opinions"}, 4),
        (
            "latency",
            {
                f"{verdict}, {carried} carried, {load}, {share}"
                for verdict in ("miss", "hit")
                for carried in ("SHA-256", "all three")
                for load in ("200 requests/s", "one caller")
                for share in ("p50", "p99")
            },
            1,
        ),
        ("trust", {"TLS and policy", "budgets too", "echo over TLS"}, 3),
        ("ingest", {"hash text, from the first byte to the first right answer", "peak memory of the server"}, 3),
        (
            "footprint",
            {"Redis, an entry with one opinion", "server, each entry beyond the first 200", "server, all of it"},
            3,
        ),
        (
            "update",
            {
                "a delta on two servers, p50",
                "a delta on two servers, p99",
                "a delta on two servers, slowest",
                "questions meanwhile, slowest",
                "questions meanwhile, failed or wrong",
            },
            2,
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
