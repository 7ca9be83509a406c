"""SECURITY.md's table: every row names tests that there are, and one of them is known to fail without the guard."""

import ast
import re
from pathlib import Path

import pytest

from tests.seeded.threats import PROOFS

ROOT = Path(__file__).parents[2]
TABLE = re.compile(r"\| threat \| guard \| test \|\n\|---\|---\|---\|\n((?:\|.*\|\n)+)")
ROWS = [
    [cell.strip() for cell in line.strip("|\n").split("|")]
    for line in TABLE.search((ROOT / "SECURITY.md").read_text("utf-8"))[1].splitlines()
]


def named_in(row):
    return re.findall(r"`([^`]+)`", row[2])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_names_tests_that_there_are(row):
    assert len(row) == 3
    assert named_in(row)
    for test in named_in(row):
        file, _, name = test.partition("::")
        tree = ast.parse((ROOT / "tests" / file).read_text("utf-8"))
        assert name in {each.name for each in tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_has_a_test_that_is_known_to_fail_without_its_guard(row):
    assert set(named_in(row)) & {proof.test for proof in PROOFS}


def test_what_is_known_to_fail_stands_in_the_table():
    assert {proof.test for proof in PROOFS} <= {test for row in ROWS for test in named_in(row)}


def test_every_bug_that_is_planted_is_there():
    for proof in PROOFS:
        module, _, name = proof.bug.partition(":")
        tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text("utf-8"))
        assert name in {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}
