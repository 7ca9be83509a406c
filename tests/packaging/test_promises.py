"""The table of promises: each has a bug that is seeded against it, and every bug that is named is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = re.findall(r"^\| (P\d+) [^|]*\| (.*) \|$", (ROOT / "docs/faults.md").read_text("utf-8"), re.MULTILINE)


def test_every_promise_has_a_row():
    assert [promise for promise, _ in ROWS] == [f"P{number}" for number in range(1, 11)]


@pytest.mark.parametrize(("promise", "bugs"), ROWS)
def test_the_bugs_of_a_promise_are_there(promise, bugs):
    named = re.findall(r"`(\w+)\.(\w+)`", bugs)
    assert named, promise
    for module, name in named:
        tree = ast.parse((ROOT / f"tests/seeded/{module}.py").read_text("utf-8"))
        assert name in {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}
