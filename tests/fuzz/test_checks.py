"""The fuzzer begins with every format that there is, and its checks notice what they are for."""

import subprocess
import sys
from pathlib import Path

import pytest

from hashmatch.formats.delivery import DeliveryError
from hashmatch.formats.hash_text import HashTextParser
from hashmatch.formats.registry import FORMATS
from tests.fuzz import checks
from tests.fuzz.checks import CONTAINERS, TARGETS, Check
from tests.support.deliveries import MD5

ROOT = Path(__file__).parents[2]


def test_every_format_is_a_target():
    assert {*FORMATS, CONTAINERS} == set(TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_it_begins_with_deliveries_of_which_nothing_is_refused(target):
    check = Check(target)
    for seed in check.seeds:
        digests, _, tally = checks.read(check._open(), [seed])
        assert digests
        assert not tally.quarantined


@pytest.mark.parametrize("target", TARGETS)
def test_everything_holds_for_them_and_for_what_is_truncated(target):
    check = Check(target)
    for seed in check.seeds:
        for end in range(0, len(seed), max(1, len(seed) // 12)):
            check(seed[:end])
        check(seed)


class Leaks(HashTextParser):
    def finish(self):
        raise ValueError("not a parser's own error")


class Miscounts(HashTextParser):
    def finish(self):
        yield from super().finish()
        self.tally.read += 1


class Tells(HashTextParser):
    def finish(self):
        raise DeliveryError(f"what is {MD5}")


class MindsCuts(HashTextParser):
    def feed(self, data):
        if b"# a comment" not in data:
            raise DeliveryError("where is the comment")
        return super().feed(data)


@pytest.mark.parametrize(
    ("parser", "error", "message"),
    [
        (Leaks, ValueError, "own error"),
        (Miscounts, AssertionError, "reconcile"),
        (MindsCuts, AssertionError, "cut"),
        (Tells, AssertionError, "says a digest"),
    ],
)
def test_it_notices(monkeypatch, parser, error, message):
    monkeypatch.setattr(checks, "open_parser", lambda _name, options: parser(options))
    check = Check("hash-text")
    with pytest.raises(error, match=message):
        check(check.seeds[0])


def test_it_notices_what_takes_too_much_memory(monkeypatch):
    peaks = iter([1_000, 1_000 + checks.MEMORY, 1_001 + checks.MEMORY])
    monkeypatch.setattr(checks, "_peak", lambda: next(peaks))
    check = Check("hash-text")
    check(check.seeds[0])
    check(check.seeds[0])
    with pytest.raises(AssertionError, match="memory"):
        check(check.seeds[0])


@pytest.mark.long
@pytest.mark.parametrize("target", TARGETS)
def test_everything_holds_for_some_thousand_inputs(target, tmp_path):
    pytest.importorskip("atheris", reason="atheris has no wheel for this Python")
    command = [sys.executable, "-m", "tests.fuzz", target, "--runs", "10000", "--folder", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-4_000:]
