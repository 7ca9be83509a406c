"""Tables. Loads rich, which takes its time: import it where a table is about to be drawn."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hashmatch_client.cli.text import Cell, printable

_AS_WIDE_AS_NEEDED = 10_000
_WHOLE = ("Verdict", "Nature", "Age", "State")

_STYLES = {"match": "bold red", "test": "bold cyan", "undetermined": "yellow", "stale": "bold yellow"}


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[Cell]], *, no_color: bool, numbers: Sequence[str] = ()
) -> None:
    """Draws a table on standard output.

    Nothing is cut off: long cells go over several lines on a terminal, and lines are as long as they need to be in a
    file.
    """
    width = None if sys.stdout.isatty() else _AS_WIDE_AS_NEEDED
    console = Console(file=sys.stdout, no_color=no_color or None, highlight=False, width=width)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        whole = column in _WHOLE or column in numbers
        table.add_column(column, overflow="fold", no_wrap=whole, justify="right" if column in numbers else "left")
    for row in rows:
        table.add_row(*(_cell(each) for each in row))
    console.print(table, crop=False)


def _cell(content: Cell) -> Text:
    text, style = (content, "") if isinstance(content, str) else content
    return Text(printable(text), _STYLES.get(style, ""))
