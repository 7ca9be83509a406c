"""No input makes a parser raise anything but its own error, lose count, or take more than its share."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from hashmatch.formats.registry import FORMATS
from tests.unit.formats.test_detection import SAMPLES
from tests.unit.ingest.test_every_format import CASES, State

ROOT = Path(__file__).parents[2]
RUNS = 10_000
LIMITS = ("-max_len=4096", "-timeout=20", "-rss_limit_mb=3072", "-verbosity=0", "-print_final_stats=0")


def seeds(name: str) -> list[bytes]:
    """Documents of a format, from which others are made."""
    cases = [case for case in CASES.values() if case is CASES.get(name) or case.options.get("format") == name]
    found = [SAMPLES[name]] if name in SAMPLES else []
    found += [case.document([State(1, 0, case.labels[0]), State(2, 1, case.labels[1])]).encode() for case in cases]
    return [*found, *map(gzip.compress, found)]


@pytest.mark.long
@pytest.mark.parametrize("name", FORMATS)
def test_a_parser_keeps_its_promises_whatever_it_reads(name: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris has no wheel for this Python")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds(name)):
        (corpus / str(number)).write_bytes(seed)
    command = [sys.executable, "-m", "tests.fuzz.parsers", name, *LIMITS, f"-runs={RUNS}", "-seed=4", str(corpus)]
    run = subprocess.run(
        [*command, f"-artifact_prefix={tmp_path}/"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-4_000:]
