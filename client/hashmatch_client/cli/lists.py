"""`hashmatch lists`: whose lists are served, how large and how old they are."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence

from hashmatch_client._hashes import Algorithm
from hashmatch_client._results import HashList
from hashmatch_client.cli.connect import connect
from hashmatch_client.cli.documents import list_document
from hashmatch_client.cli.exits import Exit
from hashmatch_client.cli.sheets import Sheet
from hashmatch_client.cli.text import Cell, age, nature_cell

_CSV_BEFORE = ("list", "body", "title", "nature", "scheme", "jurisdiction")
_CSV_AFTER = ("generation", "epoch", "published_at", "age_seconds", "max_age_seconds", "stale")


def lists(arguments: Namespace) -> Exit:
    """Runs the command."""
    with connect(arguments) as client:
        found = list(client.lists())
    match arguments.output:
        case "json":
            print(json.dumps({"lists": [list_document(each) for each in found]}, indent=2))
        case "jsonl":
            for each in found:
                print(json.dumps(list_document(each)))
        case "csv":
            _csv(found)
        case _:
            _table(found, no_color=arguments.no_color)
    return Exit.NOTHING_KNOWN


def _carried(found: Sequence[HashList]) -> list[Algorithm]:
    """The algorithms of which some list has a hash."""
    counts = [each.generation.counts for each in found if each.generation is not None]
    return [algorithm for algorithm in Algorithm if any(each.get(algorithm) for each in counts)]


def _table(found: Sequence[HashList], *, no_color: bool) -> None:
    from hashmatch_client.cli.tables import print_table

    carried = _carried(found)
    titles = [algorithm.title for algorithm in carried]
    columns = ("List", "Body", "Nature", *titles, "Generation", "Age", "State")
    rows = [_row(each, carried) for each in found]
    print_table(columns, rows, no_color=no_color, numbers=(*titles, "Generation"))


def _row(each: HashList, carried: Sequence[Algorithm]) -> tuple[Cell, ...]:
    nature = nature_cell(each.nature)
    generation, freshness = each.generation, each.freshness
    if generation is None or freshness is None:
        return (each.list_id, each.body, nature, *("" for _ in carried), "", "", ("not served", "undetermined"))
    numbers = (f"{generation.counts.get(algorithm, 0):,}" for algorithm in carried)
    state = ("STALE", "stale") if freshness.stale else "fresh"
    return (each.list_id, each.body, nature, *numbers, str(generation.number), age(freshness.age), state)


def _csv(found: Sequence[HashList]) -> None:
    counted = [algorithm.value for algorithm in Algorithm]
    sheet = Sheet((*_CSV_BEFORE, *counted, *_CSV_AFTER))
    for each in found:
        document = list_document(each)
        sheet.add(document | document["hashes"])
