"""`python -m tests.fuzz`: fuzzes every format and the containers, each for a while in a process of its own."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.checks import TARGETS

# What one input may take, in seconds and megabytes, and its size in bytes: deliveries are made of small records.
_OPTIONS = ("-timeout=20", "-rss_limit_mb=2048", "-max_len=16384", "-print_final_stats=1", "-verbosity=0")


def main(argv: Sequence[str] | None = None) -> int:
    """Fuzz what is asked for. Returns 1 if there was an input for which something did not hold."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description="Fuzzes the parsers. See CONTRIBUTING.md."
    )
    parser.add_argument("targets", metavar="TARGET", nargs="*", help=f"{', '.join(TARGETS)}; all if none is named")
    parser.add_argument("--seconds", type=int, default=60, help="how long each is fuzzed (default: 60)")
    parser.add_argument("--runs", type=int, help="so many inputs each, always the same ones, instead of a time")
    parser.add_argument(
        "--folder", type=Path, default=Path("build/fuzz"), help="what was found stays here (default: build/fuzz)"
    )
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    failed = []
    for target in arguments.targets or TARGETS:
        print(f"{target}:", file=sys.stderr, flush=True)
        limits = (f"-max_total_time={arguments.seconds}", f"-artifact_prefix={arguments.folder / target}-")
        command = [
            sys.executable,
            "-m",
            "tests.fuzz.target",
            target,
            str(arguments.folder / target),
            *limits,
            *_OPTIONS,
        ]
        if subprocess.run(command, check=False).returncode:
            failed.append(target)
    if failed:
        print(f"something does not hold: {', '.join(failed)}; the inputs are in {arguments.folder}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
