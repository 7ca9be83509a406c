"""No row of SECURITY.md's table is only said: without its guard, its test fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.seeded.threats import PROOFS, Proof

ROOT = Path(__file__).parents[2]
PLANTED = Path(__file__).with_name("planted")
PATIENCE = 300.0
_FAILED = 1


@pytest.mark.long
@pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: f"{proof.bug.rpartition(':')[2]}-{proof.test}")
def test_without_the_guard_the_test_fails(proof: Proof) -> None:
    path = os.pathsep.join([str(PLANTED), str(ROOT), str(ROOT / "client")])
    options = ("-q", "-x", "--no-header", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"tests/{proof.test}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, "SEEDED_BUG": proof.bug},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    said = f"{run.stdout}\n{run.stderr}"
    # By an assertion of its own, and not because something could not even begin.
    assert run.returncode == _FAILED, said
    assert " failed" in run.stdout, said
    assert "error in " not in run.stdout, said
