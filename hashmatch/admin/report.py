"""A staged generation as a person reads it: the counts, what was refused, what was checked, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from hashmatch_client.cli.text import Cell, counted, printable, words

from hashmatch.admin.documents import algorithm, instant, mode, nature, state
from hashmatch.v1 import list_admin_service_pb2 as pb
from hashmatch.v1 import list_service_pb2

_WIDTH = 17


def print_report(staging: pb.Staging, *, no_color: bool) -> None:
    """Prints it to standard output."""
    print_facts(_facts(staging))
    for columns, numbers, rows in (_quarantine(staging), _labels(staging), _overlaps(staging), _gates(staging)):
        if rows:
            from hashmatch_client.cli.tables import print_table

            print()
            print_table(columns, rows, no_color=no_color, numbers=numbers)
    print()
    for line in next_steps(staging):
        print(printable(line))


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Prints names and what they stand for, one a line; those without a value are left out."""
    for name, value in facts:
        if value:
            print(f"{name:<{_WIDTH}}{printable(value)}")


def counts_text(counts: Iterable[list_service_pb2.AlgorithmCount]) -> str:
    """For example "1,000 SHA-256, 90 MD5"."""
    return ", ".join(f"{each.hashes:,} {algorithm(each.algorithm).title}" for each in counts) or "none"


def approvals_text(staging: pb.Staging) -> str:
    """For example "1 of 2"."""
    return f"{len(staging.approvals)} of {staging.approvals_required}"


def unmet_gates(staging: pb.Staging) -> list[pb.VettingGate]:
    """The gates that are not met."""
    return [gate for gate in staging.report.gates if not gate.passed]


def next_steps(staging: pb.Staging) -> list[str]:
    """What is to be done with it, as lines; commands are indented."""
    if staging.state == pb.STAGING_STATE_PUBLISHED:
        return [f"Published in epoch {staging.published_epoch}."]
    if staging.state == pb.STAGING_STATE_DISCARDED:
        return ["Discarded."]
    if not staging.staging_id:
        return ["Nothing was written: this was a dry run."]
    unmet = unmet_gates(staging)
    fatal = [gate.name for gate in unmet if not gate.acceptable]
    if fatal:
        return [
            f"It cannot be published: {', '.join(fatal)}. Discard it, and stage a sound delivery:",
            _command("discard", staging.staging_id, "--reason", "TEXT"),
        ]
    lines = []
    missing = staging.approvals_required - len(staging.approvals)
    if missing > 0:
        what = counted(missing, "more approval") if staging.approvals else counted(missing, "approval")
        lines += [
            f"It needs {what}, each from somebody who read this report and is not {staging.staged_by}:",
            _command("show", staging.staging_id),
            _command("approve", staging.staging_id, "--digest", staging.approval_digest.hex()),
        ]
    accepting = [word for gate in unmet for word in ("--accept-gate", gate.name)]
    if accepting:
        lines.append("Gates are not met. To publish it all the same, accept them on the record:")
        accepting += ["--reason", "TEXT"]
    else:
        lines.append("Then it can be published:" if missing > 0 else "It can be published:")
    return [*lines, _command("publish", staging.staging_id, *accepting)]


def _command(*arguments: str) -> str:
    return f"  hashmatch-admin staging {shlex.join(arguments)}"


def _facts(staging: pb.Staging) -> Iterable[tuple[str, str]]:
    report = staging.report
    size = counted(staging.delivery_bytes, "byte")
    compared = f"compared with generation {staging.base_generation}" if staging.base_generation else "the first"
    parts = report.stored + report.duplicates + report.quarantined + report.removals
    yield "staging", staging.staging_id
    yield "list", staging.list_id
    yield "state", words(state(staging.state))
    yield "delivery", f"{words(mode(staging.mode))}, {compared}, as of {instant(staging, 'as_of')}"
    yield "file", ", ".join(part for part in (staging.file_name, size) if part)
    yield "SHA-256", staging.delivery_sha256.hex()
    yield "staged", f"{instant(staging, 'staged_at')} by {staging.staged_by}"
    declared = f", {report.declared_records:,} declared" if report.HasField("declared_records") else ""
    yield "records", f"{report.records:,}{declared}"
    yield (
        "fingerprints",
        f"{report.read:,} read {'=' if parts == report.read else 'BUT'} {report.stored:,} stored + "
        f"{counted(report.duplicates, 'duplicate')} + {report.quarantined:,} quarantined + "
        f"{counted(report.removals, 'removal')}"
        + ("" if parts == report.read else f" = {parts:,}: THEY DO NOT RECONCILE"),
    )
    yield (
        "change",
        f"{report.added:,} added, {report.removed:,} removed, {report.changed:,} changed, "
        f"{report.unchanged:,} unchanged",
    )
    yield "will hold", counts_text(report.counts)
    yield "approvals", approvals_text(staging)
    for approval in staging.approvals:
        note = f": {approval.note}" if approval.note else ""
        yield "", f"{instant(approval, 'approved_at')} by {approval.approver}{note}"
    yield "approval digest", staging.approval_digest.hex()


Table = tuple[Sequence[str], Sequence[str], list[tuple[Cell, ...]]]
"""The columns, those of them that are numbers, and the rows."""


def _quarantine(staging: pb.Staging) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (each.reason, f"{each.count:,}", ", ".join(map(str, each.example_records)))
        for each in staging.report.quarantine
    ]
    return ("Quarantined", "Count", "First records"), ("Count",), rows


def _labels(staging: pb.Staging) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (each.label or "(none)", each.scheme, f"{each.count:,}") for each in staging.report.labels
    ]
    return ("Label", "Scheme", "Fingerprints"), ("Fingerprints",), rows


def _overlaps(staging: pb.Staging) -> Table:
    numbers = ("Looked for", "Shared", "Agreed", "Disputed")
    rows: list[tuple[Cell, ...]] = [
        (
            each.list_id,
            words(nature(each.nature)),
            *(f"{number:,}" for number in (each.looked_for, each.shared, each.agreed, each.disputed)),
        )
        for each in staging.report.overlaps
    ]
    return ("Other list", "Nature", *numbers), numbers, rows


def _gates(staging: pb.Staging) -> Table:
    return ("Gate", "State", "Why"), (), [(gate.name, _gate_state(gate), gate.detail) for gate in staging.report.gates]


def _gate_state(gate: pb.VettingGate) -> Cell:
    if gate.passed:
        return "met"
    return ("NOT MET", "stale") if gate.acceptable else ("NOT MET, FINAL", "match")
