"""The rows of the fault matrix, and the table of what came of them."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

_WIDTHS = {"fault": 34, "expected": 44, "observed": 44}


class Row(NamedTuple):
    """A fault and what is expected of it."""

    fault: str
    expected: str


# In the order in which they are written.
ROWS: list[Row] = []


def row(fault: str, expected: str, *, short: bool = False) -> Callable[[Any], Any]:
    """Make a test a row of the matrix. Those that are not `short` are left to `make faults`."""
    described = Row(fault, expected)
    assert fault not in {each.fault for each in ROWS}
    ROWS.append(described)

    def mark(test: Any) -> Any:
        test = pytest.mark.fault(described)(test)
        return test if short else pytest.mark.long(test)

    return mark


@dataclass(frozen=True)
class Outcome:
    """What came of a row. Recovery is in seconds, None where nothing had to recover."""

    fault: str
    expected: str
    observed: str
    recovery_seconds: float | None
    answers_checked: int
    wrong_answers: int
    passed: bool


def as_text(outcomes: Iterable[Outcome]) -> str:
    """The table for people."""
    outcomes = list(outcomes)
    head = ("fault", "expected", "observed", "recovery", "checked", "wrong")
    lines = [_line(head)]
    for each in outcomes:
        recovery = "-" if each.recovery_seconds is None else f"{each.recovery_seconds:.2f} s"
        observed = each.observed if each.passed else f"FAILED: {each.observed}"
        figures = (recovery, f"{each.answers_checked:,}", f"{each.wrong_answers:,}")
        cells = [
            textwrap.wrap(text, width) or [""]
            for text, width in zip((each.fault, each.expected, observed), _WIDTHS.values(), strict=True)
        ]
        lines.append("")
        for number in range(max(map(len, cells))):
            texts = [cell[number] if number < len(cell) else "" for cell in cells]
            lines.append(_line((*texts, *(figures if number == 0 else ("", "", "")))))
    passed = sum(each.passed for each in outcomes)
    checked = sum(each.answers_checked for each in outcomes)
    wrong = sum(each.wrong_answers for each in outcomes)
    lines += ["", f"{passed} of {len(outcomes)} faults as expected; {checked:,} answers checked, {wrong:,} wrong"]
    return "\n".join(lines) + "\n"


def _line(cells: Iterable[str]) -> str:
    *texts, recovery, checked, wrong = cells
    padded = [text.ljust(width) for text, width in zip(texts, _WIDTHS.values(), strict=True)]
    return "  ".join((*padded, recovery.rjust(8), checked.rjust(9), wrong.rjust(5))).rstrip()


def write(outcomes: Iterable[Outcome], directory: Path) -> None:
    """The table as text and as JSON."""
    outcomes = list(outcomes)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "faults.txt").write_text(as_text(outcomes), "utf-8")
    document = {"faults": [asdict(each) for each in outcomes]}
    (directory / "faults.json").write_text(json.dumps(document, indent=2) + "\n", "utf-8")
