"""`hashmatch snapshot` and `hashmatch watch`: what is served, and what changes."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import replace

from hashmatch_client._results import SnapshotChange, SnapshotInfo, SnapshotUpdate
from hashmatch_client.cli.connect import connect
from hashmatch_client.cli.documents import update_document
from hashmatch_client.cli.exits import Exit
from hashmatch_client.cli.text import age, moment, nature_cell, printable

_INCOMPLETE = "the record of changes does not reach back that far: ask again about everything"


def snapshot(arguments: Namespace) -> Exit:
    """Runs the command."""
    with connect(arguments) as client:
        update = _from_now(client.snapshot(arguments.since_epoch or 0), arguments.since_epoch)
    if arguments.output == "json":
        print(json.dumps(update_document(update), indent=2))
        return Exit.NOTHING_KNOWN
    print(_headline(update.snapshot))
    if update.snapshot.lists:
        print()
        _table(update.snapshot, no_color=arguments.no_color)
    if update.changes or not update.changes_complete:
        print()
        _print_changes(update)
    return Exit.NOTHING_KNOWN


def watch(arguments: Namespace) -> Exit:
    """Runs the command, until it is interrupted or the server fails."""
    since: int | None = arguments.since_epoch
    with connect(arguments) as client:
        for update in client.watch_snapshots(since or 0):
            update, since = _from_now(update, since), update.snapshot.epoch
            if arguments.output == "jsonl":
                print(json.dumps(update_document(update)), flush=True)
            else:
                print(_headline(update.snapshot))
                _print_changes(update)
    return Exit.FAILED


def _from_now(update: SnapshotUpdate, since: int | None) -> SnapshotUpdate:
    """The update without its history, if none was asked for."""
    return update if since is not None else replace(update, changes=(), changes_complete=True)


def _headline(info: SnapshotInfo) -> str:
    return f"epoch {info.epoch}, published {moment(info.published_at)}, confirmed {moment(info.confirmed_at)}"


def _print_changes(update: SnapshotUpdate) -> None:
    for change in update.changes:
        print(_described(change))
    if not update.changes_complete:
        print(_INCOMPLETE)
    print(end="", flush=True)


def _described(change: SnapshotChange) -> str:
    subject = f"{change.list_id}, generation {change.generation}" if change.list_id else "every list"
    numbers = f"{change.added:,} added, {change.removed:,} removed"
    return printable(f"  epoch {change.epoch}  {moment(change.published_at)}  {change.act} {subject}: {numbers}")


def _table(info: SnapshotInfo, *, no_color: bool) -> None:
    from hashmatch_client.cli.tables import print_table

    rows = [
        (
            each.list_id,
            nature_cell(each.nature),
            str(each.generation),
            moment(each.as_of),
            age(each.age),
            ("STALE", "stale") if each.stale else "fresh",
        )
        for each in info.lists
    ]
    columns = ("List", "Nature", "Generation", "As of", "Age", "State")
    print_table(columns, rows, no_color=no_color, numbers=("Generation",))
