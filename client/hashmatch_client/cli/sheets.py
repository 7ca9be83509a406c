"""CSV on standard output, that a spreadsheet opens without computing anything."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence

from hashmatch_client.cli.text import cell


class Sheet:
    """Rows under a fixed heading. What a row lacks is an empty cell."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._writer = csv.writer(sys.stdout, lineterminator="\n")
        self._writer.writerow(columns)

    def add(self, row: Mapping[str, object]) -> None:
        """Writes a row."""
        self._writer.writerow([_cell(row.get(column)) for column in self._columns])


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return cell(value) if isinstance(value, str) else value
