"""`hashmatch-admin list`, `rollback` and `history`: whole lists and what was done to them."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from hashmatch_client import Algorithm, HashList, HashmatchClient, Timeout
from hashmatch_client.cli.documents import list_document
from hashmatch_client.cli.text import Cell, age, counted, moment, nature_cell, words

from hashmatch.admin.connection import AdminClient, connect, connect_to_lists
from hashmatch.admin.documents import (
    Document,
    definition_document,
    event_document,
    generation_document,
    instant,
    nature,
    staging_document,
)
from hashmatch.admin.exits import Exit
from hashmatch.admin.output import in_epoch, outcome, print_result, print_rows
from hashmatch.admin.proposing import act_or_propose
from hashmatch.admin.report import counts_text, print_facts
from hashmatch.admin.staging import accepted_gates, open_stagings, print_stagings
from hashmatch.admin.values import span_text
from hashmatch.v1 import common_pb2, list_service_pb2
from hashmatch.v1 import list_admin_service_pb2 as pb

_LARGEST_PAGE = 1_000

_LIST_COLUMNS = (
    "list",
    "body",
    "title",
    "nature",
    "scheme",
    "jurisdiction",
    *(algorithm.value for algorithm in Algorithm),
    "generation",
    "epoch",
    "published_at",
    "age_seconds",
    "max_age_seconds",
    "stale",
)
_EVENT_COLUMNS = (
    "epoch",
    "at",
    "act",
    "list",
    "generation",
    "added",
    "removed",
    "actor",
    "approvers",
    "reason",
)


def define(arguments: Namespace) -> Exit:
    """`list define`."""
    max_age = Duration()
    max_age.FromTimedelta(arguments.max_age)
    definition = list_service_pb2.ListDefinition(
        list_id=arguments.list_id,
        body=arguments.body,
        title=arguments.title,
        nature=common_pb2.ListNature.Value(_nature_name(arguments.nature)),
        scheme=arguments.scheme,
        jurisdiction=arguments.jurisdiction,
        max_age=max_age,
        maximum_distance=arguments.max_distance,
        minimum_asked_share=arguments.min_asked_share,
        minimum_listed_share=arguments.min_listed_share,
    )
    with connect(arguments) as client:
        request = pb.DefineListRequest(definition=definition, validate_only=arguments.dry_run)
        response = act_or_propose(arguments, client, client.service.DefineList, request, define_list=request)
    if response is None:
        return Exit.PROPOSED
    stated = response.definition
    document = outcome(arguments, response.epoch) | {"definition": definition_document(stated)}
    done = "Would define" if arguments.dry_run else "Defined"
    what = f"{words(nature(stated.nature))}, at most {span_text(stated.max_age.ToTimedelta())} old"
    print_result(
        arguments, document, f"{done} {stated.list_id} of {stated.body}: {what}{in_epoch(arguments, response.epoch)}."
    )
    return Exit.DONE


def show(arguments: Namespace) -> Exit:
    """`list show`."""
    return _show_one(arguments) if arguments.list_id else _show_all(arguments)


def withdraw(arguments: Namespace) -> Exit:
    """`list withdraw`."""
    with connect(arguments) as client:
        request = pb.WithdrawListRequest(
            list_id=arguments.list_id, reason=arguments.reason, validate_only=arguments.dry_run
        )
        response = act_or_propose(arguments, client, client.service.WithdrawList, request, withdraw_list=request)
    if response is None:
        return Exit.PROPOSED
    document = outcome(arguments, response.epoch) | {"list": arguments.list_id}
    done = "Would withdraw" if arguments.dry_run else "Withdrew"
    print_result(arguments, document, f"{done} {arguments.list_id}{in_epoch(arguments, response.epoch)}.")
    return Exit.DONE


def rollback(arguments: Namespace) -> Exit:
    """`rollback`."""
    gates = accepted_gates(arguments)
    with connect(arguments) as client:
        request = pb.RollBackRequest(
            list_id=arguments.list_id,
            generation=arguments.generation,
            reason=arguments.reason,
            accept_gates=gates,
            validate_only=arguments.dry_run,
        )

        def named() -> pb.RollBackRequest:
            # What is approved names the generation, whatever is published meanwhile.
            request.generation = request.generation or _generation_before(client, arguments.list_id)
            return request

        response = act_or_propose(arguments, client, client.service.RollBack, request, roll_back=named)
    if response is None:
        return Exit.PROPOSED
    generation = response.generation
    document = outcome(arguments, response.epoch) | {"generation": generation_document(generation)}
    target = f"generation {arguments.generation}" if arguments.generation else "the generation before"
    done = f"{'Would roll' if arguments.dry_run else 'Rolled'} {arguments.list_id} back to {target}"
    what = f"generation {generation.number} with {counts_text(generation.counts)}"
    print_result(arguments, document, f"{done}, as {what}{in_epoch(arguments, response.epoch)}.")
    return Exit.DONE


def history(arguments: Namespace) -> Exit:
    """`history`."""
    with connect(arguments) as client:
        events = _history(client, arguments.list_id, arguments.limit)
    print_rows(
        arguments,
        "events",
        [event_document(each) for each in events],
        table=lambda: _event_table(events, no_color=arguments.no_color),
        columns=_EVENT_COLUMNS,
        flat=lambda row: row | {"approvers": " ".join(row["approvers"])},
    )
    return Exit.DONE


def _show_all(arguments: Namespace) -> Exit:
    with (
        connect_to_lists(arguments) as channel,
        HashmatchClient(channel=channel, timeout=Timeout(call=arguments.timeout)) as client,
    ):
        found = list(client.lists())
    print_rows(
        arguments,
        "lists",
        [list_document(each) for each in found],
        table=lambda: _list_table(found, no_color=arguments.no_color),
        columns=_LIST_COLUMNS,
        flat=_flat,
    )
    return Exit.DONE


def _show_one(arguments: Namespace) -> Exit:
    list_id: str = arguments.list_id
    with (
        connect_to_lists(arguments) as channel,
        HashmatchClient(channel=channel, timeout=Timeout(call=arguments.timeout)) as lists,
        connect(arguments) as client,
    ):
        found = lists.get_list(list_id)
        retained = client.ask(client.service.GetHistory, pb.GetHistoryRequest(list_id=list_id, page_size=1)).retained
        stagings = list(open_stagings(client, list_id))
    document = list_document(found) | {
        "retained": [generation_document(each) for each in retained],
        "stagings": [staging_document(each) for each in stagings],
    }
    match arguments.output:
        case "json":
            print(json.dumps(document, indent=2))
        case "table":
            _print_one(found, retained, stagings, no_color=arguments.no_color)
        case _:
            print_rows(arguments, "lists", [document], table=lambda: None, columns=_LIST_COLUMNS, flat=_flat)
    return Exit.DONE


def _history(client: AdminClient, list_id: str, limit: int) -> list[pb.HistoryEvent]:
    """The last acts, newest first."""
    events: list[pb.HistoryEvent] = []
    token = ""
    while True:
        size = min(limit - len(events), _LARGEST_PAGE)
        request = pb.GetHistoryRequest(list_id=list_id, page_size=size, page_token=token)
        page = client.ask(client.service.GetHistory, request)
        events += page.events
        token = page.next_page_token
        if not token or len(events) >= limit:
            return events[:limit]


def _generation_before(client: AdminClient, list_id: str) -> int:
    """The generation before the current one; 0 if there is none, which the server refuses."""
    retained = client.ask(client.service.GetHistory, pb.GetHistoryRequest(list_id=list_id, page_size=1)).retained
    return retained[0].number if retained else 0


def _nature_name(text: str) -> str:
    return f"LIST_NATURE_{text.upper().replace('-', '_')}"


def _flat(row: Document) -> Document:
    counts: Document = row["hashes"]
    return row | counts


def _list_table(found: Sequence[HashList], *, no_color: bool) -> None:
    from hashmatch_client.cli.tables import print_table

    columns = ("List", "Body", "Nature", "Hashes", "Generation", "Age", "State")
    print_table(columns, map(_list_row, found), no_color=no_color, numbers=("Hashes", "Generation"))


def _list_row(each: HashList) -> tuple[Cell, ...]:
    named = (each.list_id, each.body, nature_cell(each.nature))
    generation, freshness = each.generation, each.freshness
    if generation is None or freshness is None:
        return (*named, "", "", "", ("not served", "undetermined"))
    state: Cell = ("STALE", "stale") if freshness.stale else "fresh"
    return (*named, f"{sum(generation.counts.values()):,}", str(generation.number), age(freshness.age), state)


def _print_one(
    each: HashList,
    retained: Sequence[list_service_pb2.Generation],
    stagings: list[pb.Staging],
    *,
    no_color: bool,
) -> None:
    print_facts(_facts(each))
    if retained:
        from hashmatch_client.cli.tables import print_table

        print("\nCan be rolled back to:\n")
        rows = [
            (
                str(generation.number),
                str(generation.epoch),
                instant(generation, "published_at"),
                instant(generation, "as_of"),
                counts_text(generation.counts),
            )
            for generation in retained
        ]
        columns = ("Generation", "Epoch", "Published", "As of", "Hashes")
        print_table(columns, rows, no_color=no_color, numbers=("Generation", "Epoch"))
    if stagings:
        print("\nStaged:\n")
        print_stagings(stagings, no_color=no_color)


def _has_videos(each: HashList) -> bool:
    return each.generation is not None and Algorithm.VPDQ in each.generation.counts


def _shares(each: HashList) -> str:
    return f"{each.minimum_asked_share:.0%} of the asked frames, {each.minimum_listed_share:.0%} of the listed"


def _facts(each: HashList) -> Sequence[tuple[str, str]]:
    stated = [
        ("list", each.list_id),
        ("body", each.body),
        ("title", each.title),
        ("nature", words(each.nature.value)),
        ("scheme", each.scheme),
        ("jurisdiction", each.jurisdiction),
        ("maximum age", span_text(each.max_age or timedelta(0))),
        *([] if each.maximum_distance is None else [("maximum distance", str(each.maximum_distance))]),
        *([("video shares", _shares(each))] if _has_videos(each) else []),
    ]
    generation, freshness = each.generation, each.freshness
    if generation is None or freshness is None:
        return [*stated, ("served", "nothing")]
    counts = ", ".join(f"{number:,} {algorithm.title}" for algorithm, number in generation.counts.items())
    vetting = generation.vetting
    return [
        *stated,
        ("served", f"generation {generation.number}, epoch {generation.epoch}"),
        ("hashes", counts or "none"),
        ("as of", f"{moment(generation.as_of)}, {age(freshness.age)} old{': STALE' if freshness.stale else ''}"),
        ("published", moment(generation.published_at)),
        ("approved by", f"{vetting.approvals} ({counted(vetting.approvals_required, 'approval')} required)"),
    ]


def _event_table(events: Sequence[pb.HistoryEvent], *, no_color: bool) -> None:
    from hashmatch_client.cli.tables import print_table

    rows = [
        (
            str(event.epoch),
            instant(event, "at"),
            event.act,
            event.list_id,
            str(event.generation) if event.generation else "",
            f"+{event.added:,} −{event.removed:,}" if event.added or event.removed else "",
            event.actor,
            ", ".join(event.approvers),
            event.reason,
        )
        for event in events
    ]
    columns = ("Epoch", "When", "Act", "List", "Generation", "Change", "By", "Approved by", "Reason")
    print_table(columns, rows, no_color=no_color, numbers=("Epoch", "Generation", "Change"))
