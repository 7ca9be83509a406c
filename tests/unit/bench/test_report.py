"""What a benchmark reports: one JSON object a line, and a ratio that is above 1 where we are better."""

from __future__ import annotations

import json

import pytest

from bench.report import Effort, Reporter, machine, ratio


@pytest.mark.parametrize(
    ("value", "comparator", "better", "expected"),
    [
        (8e6, 10e6, "higher", 0.8),
        (8e6, 0.5e6, "higher", 16.0),
        (2.0, 1.0, "lower", 0.5),
        (36.5, 44.0, "lower", 1.205),
        (1.0, 3.0, "higher", 0.3333),
    ],
)
def test_the_ratio_is_higher_where_we_are_better_whatever_the_unit(value, comparator, better, expected):
    assert ratio(value, comparator, better) == expected


@pytest.mark.parametrize(("value", "comparator", "better"), [(1.0, None, "higher"), (0, 0, "lower"), (5, 0, "higher")])
def test_there_is_no_ratio_where_nothing_can_be_compared(value, comparator, better):
    assert ratio(value, comparator, better) is None


def test_a_line_has_the_fields_that_readers_rely_on(capsys):
    reporter = Reporter("exact", {"entries": 7}).under(blocks="store")
    reporter.progress("loading")
    reporter.line("a case", 1234.56, "digests/s", "higher", "an echo", 2000.0)
    printed = capsys.readouterr()
    line = json.loads(printed.out)
    assert line.pop("conditions").keys() == {"entries", "blocks", "date"}
    assert line == {
        "benchmark": "exact",
        "case": "a case",
        "value": 1235.0,
        "unit": "digests/s",
        "comparator": "an echo",
        "comparator_value": 2000.0,
        "ratio": 0.6173,
    }
    assert printed.err == "exact: loading\n"


def test_the_conditions_say_on_what_it_was_measured():
    conditions = machine(quick=True)
    assert conditions["quick"] is True
    assert conditions["cores"] >= 1
    assert {"cpu", "python", "grpcio", "numpy", "redis", "hiredis", "client_processes"} <= conditions.keys()


def test_the_default_is_one_and_ten_million_and_quick_is_less():
    default, quick = Effort.of(quick=False), Effort.of(quick=True)
    assert default.sizes == (1_000_000, 10_000_000)
    assert default.updates == 50
    assert quick.sizes < default.sizes
    assert quick.rounds < default.rounds
    assert Effort.of(quick=False, entries=50_000).sizes == (50_000,)
