"""`hashmatch-admin report`: the figures that regulators ask for."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hashmatch_client import ConfigurationError
from hashmatch_client.cli.sheets import Sheet
from hashmatch_client.cli.text import printable

from hashmatch.admin.documents import Document
from hashmatch.admin.exits import Exit
from hashmatch.admin.locally import operations, server_config

if TYPE_CHECKING:
    from hashmatch.operations.figures import Figures, Technology
    from hashmatch.operations.regulators import Field

_COLUMNS = (
    "from",
    "to",
    "list",
    "body",
    "nature",
    "jurisdiction",
    "algorithm",
    "asked",
    "match",
    "no_known_match",
    "not_determined",
    "confirmed",
    "disputed",
    "precision",
    "error_ratio",
    "publications",
    "added",
    "removed",
    "entries_withdrawn",
    "list_withdrawals",
    "roll_backs",
)


def report(arguments: Namespace) -> Exit:
    """Runs the command."""
    from hashmatch.model.clock import SystemClock

    if arguments.first > arguments.last:
        raise ConfigurationError("--from is after --to")
    module = operations("figures")
    config = server_config(arguments.config, arguments.settings)
    try:
        figures: Figures = module.figures(config, arguments.first, arguments.last, SystemClock())
    except module.UNREADABLE as error:
        print(f"hashmatch-admin: {printable(str(error))}", file=sys.stderr)
        return Exit.FAILED
    fields: tuple[Field, ...] = operations("regulators").named_fields(figures)
    match arguments.output:
        case "json":
            print(json.dumps(module.document(figures) | {"named_fields": module.document(fields)}, indent=2))
        case "csv":
            sheet = Sheet(_COLUMNS)
            for row in _rows(figures):
                sheet.add(dict.fromkeys(_COLUMNS, "") | row)
        case "html":
            sys.stdout.write(operations("figures_page").page(figures, fields))
        case _:
            _print_tables(figures, no_color=arguments.no_color)
    return Exit.DONE


def _rows(figures: Figures) -> Iterator[Document]:
    """A row for each algorithm, then one for each list and for each algorithm in it."""
    period = {"from": figures.period.first, "to": figures.period.last}
    for volume in figures.volumes:
        yield period | {
            "algorithm": volume.algorithm,
            "asked": volume.asked,
            "match": volume.match,
            "no_known_match": volume.no_known_match,
            "not_determined": volume.not_determined,
        }
    for each in figures.lists:
        named = {"list": each.list_id, "body": each.body, "nature": each.nature, "jurisdiction": each.jurisdiction}
        yield (
            period
            | named
            | {
                "publications": each.publications,
                "added": each.added,
                "removed": each.removed,
                "entries_withdrawn": each.entries_withdrawn,
                "list_withdrawals": each.list_withdrawals,
                "roll_backs": each.roll_backs,
            }
        )
        for technology in each.technologies:
            yield period | named | _technology(technology)


def _technology(each: Technology) -> Document:
    return {
        "algorithm": each.algorithm,
        "match": each.matches,
        "confirmed": each.confirmed,
        "disputed": each.disputed,
        "precision": "" if each.precision is None else each.precision,
        "error_ratio": "" if each.error_ratio is None else each.error_ratio,
    }


def _print_tables(figures: Figures, *, no_color: bool) -> None:
    from hashmatch_client.cli.tables import print_table

    period = figures.period
    print(f"{period.first} to {period.last}; counts of {period.counted} of {period.days} days\n")
    for limit in figures.limits:
        print(f"* {limit}")
    print()
    print_table(
        ("Algorithm", "Asked", "Match", "No known match", "Not determined"),
        [
            (
                each.algorithm,
                f"{each.asked:,}",
                f"{each.match:,}",
                f"{each.no_known_match:,}",
                f"{each.not_determined:,}",
            )
            for each in figures.volumes
        ],
        no_color=no_color,
        numbers=("Asked", "Match", "No known match", "Not determined"),
    )
    print()
    print_table(
        ("List", "Owner", "Nature", "Algorithm", "Matches", "Confirmed", "Disputed", "Precision"),
        [
            (
                each.list_id,
                each.body,
                each.nature,
                technology.algorithm,
                f"{technology.matches:,}",
                f"{technology.confirmed:,}",
                f"{technology.disputed:,}",
                "" if technology.precision is None else f"{technology.precision:.2%}",
            )
            for each in figures.lists
            for technology in each.technologies
        ],
        no_color=no_color,
        numbers=("Matches", "Confirmed", "Disputed", "Precision"),
    )
    print("\nWhat laws ask for by name is in --output html and --output json.")
