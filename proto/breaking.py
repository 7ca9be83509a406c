"""Checks that the contract breaks nobody who relies on an earlier one, and says which earlier one that was.

It is compared with the latest release; before the first release with where this branch left the main one, or with the
commit before. A shallow clone or a first commit may have none of these: then there is nothing to compare with.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_RELEASES = "v[0-9]*"
_MAIN = "origin/main"
# What `buf` needs of a commit.
_CONTRACT = ("buf.yaml", "proto")


def main() -> int:
    """Compare; returns the exit code."""
    earlier = earlier_contract()
    if earlier is None:
        _say("nothing to compare the contract with: there is no release and no earlier commit that has one")
        return 0
    name, commit = earlier
    with tempfile.TemporaryDirectory() as scratch:
        archive = subprocess.run(["git", "archive", commit, *_CONTRACT], cwd=ROOT, capture_output=True, check=True)
        # Not `tarfile`: before Python 3.11.4, as in Debian 12, it unpacks without a filter.
        subprocess.run(["tar", "-x", "-C", scratch], input=archive.stdout, check=True)
        buf = Path(sys.executable).parent / "buf"
        code = subprocess.run([buf, "breaking", "--against", scratch], cwd=ROOT, check=False).returncode
    _say(f"the contract {'breaks' if code else 'breaks nothing of'} {name} ({commit[:12]})")
    return code


def earlier_contract() -> tuple[str, str] | None:
    """A name and a commit to compare with; None if there is none that has a contract."""
    release = _git("describe", "--tags", "--abbrev=0", f"--match={_RELEASES}", "HEAD^")
    branched = _git("merge-base", _MAIN, "HEAD")
    candidates = (
        (f"release {release}", release),
        (f"the branching point from {_MAIN}", "" if branched == _git("rev-parse", "HEAD") else branched),
        ("the commit before", "HEAD^"),
    )
    for name, revision in candidates:
        commit = _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}") if revision else ""
        if commit and all(_git("rev-parse", "--verify", "--quiet", f"{commit}:{path}") for path in _CONTRACT):
            return name, commit
    return None


def _git(*arguments: str) -> str:
    """What git answers; empty if it does not know, or if this is no checkout."""
    try:
        asked = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return asked.stdout.strip() if asked.returncode == 0 else ""


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
