"""The result of `check` on standard output, in the form that was asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Protocol

from hashmatch_client._results import Agreement, Cause, ItemAnswer, ListNature, Opinion, Verdict
from hashmatch_client.cli.asking import Checked, Tally
from hashmatch_client.cli.documents import checked_document, tally_document
from hashmatch_client.cli.sheets import Sheet
from hashmatch_client.cli.text import Cell, age, counted, nature_cell, words

_CSV_COLUMNS = (
    "reference",
    "verdict",
    "test",
    "natures",
    "agreement",
    "causes",
    "problem",
    "body",
    "list",
    "nature",
    "label",
    "scheme",
    "mapped",
    "age",
    "act",
    "portrayal",
    "baseline",
    "jurisdiction",
    "flags",
    "updated_on",
    "source_key",
    "generation",
    "since_epoch",
    "kind",
    "distance",
    "asked_frames",
    "asked_frames_matched",
    "listed_frames",
    "listed_frames_matched",
    "feedback_confirmed",
    "feedback_disputed",
    "stale",
    "epoch",
)


class Report(Protocol):
    """Takes items as they are checked, and the counts at the end."""

    def add(self, checked: Checked) -> None:
        """Takes an item."""

    def finish(self, tally: Tally) -> None:
        """Takes the counts; nothing comes after."""

    def break_off(self, tally: Tally) -> None:
        """Takes the counts of a run that failed; nothing comes after."""


class JsonLinesReport:
    """An object a line."""

    def __init__(self, *, with_hashes: bool) -> None:
        self._with_hashes = with_hashes

    def add(self, checked: Checked) -> None:
        """Writes an item."""
        print(json.dumps(checked_document(checked, with_hashes=self._with_hashes)))

    def finish(self, tally: Tally) -> None:
        """Writes nothing: the counts would not be an item."""

    def break_off(self, tally: Tally) -> None:
        """Writes nothing: what was written stands."""


class JsonReport:
    """One document. It is written as the items come, and is only well formed if the run was finished."""

    def __init__(self, *, with_hashes: bool) -> None:
        self._with_hashes = with_hashes
        self._before = '{"items": ['

    def add(self, checked: Checked) -> None:
        """Writes an item."""
        print(f"{self._before}\n{json.dumps(checked_document(checked, with_hashes=self._with_hashes))}", end="")
        self._before = ","

    def finish(self, tally: Tally) -> None:
        """Writes the counts and the end."""
        start = self._before if self._before != "," else ""
        print(f'{start}\n], "summary": {json.dumps(tally_document(tally))}}}')

    def break_off(self, tally: Tally) -> None:
        """Leaves the document unfinished, so that nobody takes it for the whole."""


class CsvReport:
    """A row for each opinion, and one for each item of which there is none."""

    def __init__(self, *, with_hashes: bool) -> None:
        self._with_hashes = with_hashes
        self._sheet = Sheet((*_CSV_COLUMNS, "hashes") if with_hashes else _CSV_COLUMNS)

    def add(self, checked: Checked) -> None:
        """Writes the rows of an item."""
        document = checked_document(checked, with_hashes=self._with_hashes)
        causes = " ".join(f"{cause['reason']}:{cause['list']}".rstrip(":") for cause in document["causes"])
        hashes = " ".join(f"{each['algorithm']}:{each['value']}" for each in document["hashes"] if "value" in each)
        for opinion in document["opinions"] or [{}]:
            flags = " ".join(opinion.get("flags", ()))
            classification = opinion.get("classification", {})
            texts = {"causes": causes, "hashes": hashes, "flags": flags, "natures": " ".join(document["natures"])}
            video = opinion.get("video") or {}
            said = {f"feedback_{name}": count for name, count in (opinion.get("feedback") or {}).items()}
            self._sheet.add(document | opinion | classification | video | said | texts)

    def finish(self, tally: Tally) -> None:
        """Writes nothing: the counts would not be a row."""

    def break_off(self, tally: Tally) -> None:
        """Writes nothing: what was written stands."""


class TableReport:
    """A table of what is known and what could not be determined (and, if wanted, of all the rest), and the counts."""

    def __init__(self, *, show_all: bool, no_color: bool) -> None:
        self._show_all = show_all
        self._no_color = no_color
        self._rows: list[tuple[Cell, ...]] = []

    def add(self, checked: Checked) -> None:
        """Keeps the rows of an item for the table."""
        if checked.verdict is not Verdict.NO_KNOWN_MATCH or self._show_all:
            self._rows += dict.fromkeys(_rows(checked))

    def finish(self, tally: Tally) -> None:
        """Draws the table and writes the counts."""
        if self._rows:
            from hashmatch_client.cli.tables import print_table

            columns = ("Reference", "Verdict", "Body", "List", "Nature", "Label", "Kind", "Remarks")
            print_table(columns, self._rows, no_color=self._no_color)
            print()
        print(summary(tally))

    def break_off(self, tally: Tally) -> None:
        """Shows what was found so far: a match is no less of one because the run failed."""
        if tally.items:
            self.finish(tally)


def summary(tally: Tally) -> str:
    """The counts of a run in words."""
    tests = f" ({tally.test_match:,} on test lists only)" if tally.test_match else ""
    parts = [
        f"{counted(tally.items, 'item')}: {counted(tally.match, 'match', 'matches')}{tests}, "
        f"{tally.no_known_match:,} no known match, {tally.not_determined:,} not determined"
    ]
    if tally.epochs:
        first, last = min(tally.epochs), max(tally.epochs)
        parts.append(f"epoch {first}" if first == last else f"epochs {first} to {last}")
    if tally.oldest_list is not None:
        parts.append(f"oldest list {tally.oldest_list.list_id}, {age(tally.oldest_list.age)} old")
    return "; ".join(parts)


def _rows(checked: Checked) -> Iterable[tuple[Cell, ...]]:
    subject, answer = checked.subject, checked.answer
    if answer is None:
        yield (subject.reference, ("not determined", "undetermined"), "", "", "", "", "", subject.problem)
        return
    verdict = _verdict(checked, answer)
    causes = "; ".join((*([subject.problem] if subject.problem else []), *map(_cause, answer.causes)))
    if not answer.opinions:
        yield (subject.reference, verdict, "", "", "", "", "", causes)
        return
    for opinion in answer.opinions:
        remarks = "; ".join(part for part in (_remarks(opinion), causes) if part)
        yield (
            subject.reference,
            verdict,
            opinion.body,
            opinion.list_id,
            nature_cell(opinion.nature),
            f"{opinion.label} ({opinion.scheme})" if opinion.scheme else opinion.label,
            _kind(opinion),
            remarks,
        )


def _verdict(checked: Checked, answer: ItemAnswer) -> Cell:
    if checked.is_test:
        return "MATCH (test)", "test"
    if checked.verdict is Verdict.MATCH:
        # A match that does not rest on illegal material alone must not read like one that does.
        natures = [words(nature.value) for nature in answer.natures if answer.natures != (ListNature.ILLEGAL,)]
        remarks = ", ".join([*natures, *(["disputed"] if answer.agreement is Agreement.DISPUTED else [])])
        return (f"MATCH ({remarks})" if remarks else "MATCH"), "match"
    return words(checked.verdict.value), "undetermined" if checked.verdict is Verdict.NOT_DETERMINED else ""


def _kind(opinion: Opinion) -> str:
    kind = words(opinion.kind.value)
    if opinion.video is not None:
        return f"{kind}, {opinion.video.asked:.0%} of it, {opinion.video.listed:.0%} of the listed"
    return kind if not opinion.distance else f"{kind}, {counted(opinion.distance, 'bit')}"


def _remarks(opinion: Opinion) -> str:
    said = opinion.feedback
    disputes = [f"disputed by {counted(said.disputed, 'caller')}"] if said is not None and said.disputed else []
    return ", ".join((*opinion.flags, *disputes, *(["stale list"] if opinion.stale else [])))


def _cause(cause: Cause) -> str:
    return f"{words(cause.reason.value)} ({cause.list_id})" if cause.list_id else words(cause.reason.value)
