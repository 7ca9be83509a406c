"""`hashmatch-admin doctor`: what is wrong with a server, and how to mend it."""

from __future__ import annotations

import json
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hashmatch_client.cli.text import Cell, counted

from hashmatch.admin.exits import Exit
from hashmatch.admin.locally import operations
from hashmatch.admin.values import without_hashes

if TYPE_CHECKING:
    from hashmatch.operations.findings import Finding

_EXITS = {"WELL": Exit.DONE, "NOTE": Exit.DONE, "WARNING": Exit.WARNED, "ERROR": Exit.FAILED}
_STYLES = {"WARNING": "undetermined", "ERROR": "match"}


def doctor(arguments: Namespace) -> Exit:
    """Runs the command."""
    from hashmatch.model.clock import SystemClock

    examine = operations("doctor").examine
    findings: list[Finding] = list(examine(arguments.config, arguments.settings, SystemClock()))
    if arguments.output == "json":
        _print_document(findings)
    else:
        _print_findings(findings, no_color=arguments.no_color)
    return _EXITS[max(findings, key=lambda finding: finding.severity).severity.name]


def _print_document(findings: Sequence[Finding]) -> None:
    rows = [
        {
            "severity": finding.severity.name.lower(),
            "area": finding.area,
            "what": without_hashes(finding.what),
            "mend": finding.mend,
        }
        for finding in findings
    ]
    worst = max(findings, key=lambda finding: finding.severity).severity.name.lower()
    print(json.dumps({"worst": worst, "findings": rows}, indent=2))


def _print_findings(findings: Sequence[Finding], *, no_color: bool) -> None:
    from hashmatch_client.cli.tables import print_table

    rows: list[tuple[Cell, ...]] = []
    for finding in findings:
        severity = finding.severity.name
        shown = severity if severity in _STYLES else severity.lower()
        rows.append((finding.area, (shown, _STYLES.get(severity, "")), without_hashes(finding.what), finding.mend))
    print_table(("Area", "State", "What", "What to do"), rows, no_color=no_color)
    told = Counter(finding.severity.name for finding in findings)
    print(f"\n{counted(told['ERROR'], 'error')}, {counted(told['WARNING'], 'warning')}.")
