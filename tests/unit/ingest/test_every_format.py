"""Every format, from a body's document to the answer: each opinion arrives, is replaced, and goes with its own entry.

Two lists with the same hashes: the one is delivered in the format under test, the other must never notice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest

from hashmatch.formats.stopncii import key_of
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.lists import ListNature
from hashmatch.model.vetting import DeliveryMode
from tests.support.office import Office

FULL, INCREMENTAL = DeliveryMode.FULL, DeliveryMode.INCREMENTAL
DIGESTS = tuple(hashlib.md5(b"benign %d" % number, usedforsecurity=False).digest() for number in range(3))


class State(NamedTuple):
    """What a body says of entry `number`, whose only hash is one of DIGESTS. `day` is of January 2026."""

    number: int
    digest: int
    label: str
    day: int = 1
    withdrawn: bool = False


class Said(NamedTuple):
    """An opinion as an answer has it."""

    list_id: str
    key: str
    label: str
    scheme: str
    jurisdiction: str
    flags: tuple[str, ...]
    updated_on: str


class Case(NamedTuple):
    """A format: its documents, and what has to arrive of a state."""

    document: Callable[[list[State]], str]
    said: Callable[[State], tuple[str, str, tuple[str, ...], str]]
    labels: tuple[str, str]
    options: Mapping[str, str] = {}
    withdraws: bool = True


def _date(state: State) -> str:
    return f"2026-01-{state.day:02}"


def _time(state: State) -> int:
    return 1_767_225_600 + (state.day - 1) * 86_400


def _hex(state: State) -> str:
    return DIGESTS[state.digest].hex()


def _ncmec(states: list[State]) -> str:
    entries = "".join(
        f'<{"deletedImage" if each.withdrawn else "image"}><member id="42">M</member><id>e{each.number}</id>'
        f"<timestamp>{_date(each)}T12:00:00Z</timestamp>"
        + (
            ""
            if each.withdrawn
            else f"<classification>{each.label}</classification><fingerprints><md5>{_hex(each)}</md5></fingerprints>"
            '<feedback><negativeFeedback type="Md5"/></feedback>'
        )
        + f"</{'deletedImage' if each.withdrawn else 'image'}>"
        for each in states
    )
    return (
        '<queryResult xmlns="https://hashsharing.ncmec.org/hashsharing/v2">'
        f'<images count="{len(states)}">{entries}</images></queryResult>'
    )


def _media(state: State) -> dict[str, Any]:
    return {
        "MediaID": state.number,
        "Category": int(state.label),
        "MD5": _hex(state).upper(),
        "VictimIdentified": "true",
        "Series": "a series",
        "DateUpdated": f"{_date(state)}T12:00:00Z",
    }


def _vics(states: list[State]) -> str:
    context = "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/UK/$metadata#Media"
    return json.dumps({"@odata.context": context, "value": [_media(each) for each in states]})


def _vics_cases(states: list[State]) -> str:
    context = "http://github.com/ICMEC/ProjectVic/DataModels/1.3.xml#Cases"
    return json.dumps({"odata.metadata": context, "value": [{"CaseID": "c", "Media": [*map(_media, states)]}]})


def _icse(states: list[State]) -> str:
    header = (
        "MD5;SHA1;PhotoDNA;Image ID;Is distributed;Victim identified;Offender identified;Series name;"
        "Number of submissions;File Available;Media Type;Baseline"
    )
    rows = (f"{_hex(each).upper()};;;{each.number};n;y;n;a series;;;;{each.label}" for each in states)
    return "\r\n".join([header, *rows, ""])


def _stopncii(states: list[State]) -> str:
    records = [
        {
            "lastModtimestamp": _time(each),
            "hashValue": _hex(each),
            "hashStatus": "Withdrawn" if each.withdrawn else each.label,
            "caseNumbers": {"a": "Active"},
            "signalType": "VideoMD5",
            "CSPFeedbacks": [{"source": "x", "feedbackValue": "Blocked", "tags": ["t"]}],
        }
        for each in states
    ]
    return json.dumps({"count": len(records), "hasMoreRecords": False, "hashRecords": records})


def _tech_against_terrorism(states: list[State]) -> str:
    records = [
        {
            "id": each.number,
            "hash_digest": _hex(each),
            "algorithm": "MD5",
            "ideology": each.label,
            "file_type": "mp4",
            "deleted": each.withdrawn,
            "updated_on": _time(each) + 0.5,
        }
        for each in states
    ]
    return json.dumps({"count": len(records), "next": None, "checkpoint": "1,2", "results": records})


def _threatexchange(states: list[State]) -> str:
    descriptor = {"id": "9", "owner": {"id": "7"}, "tags": ["t"], "reactions": [{"key": "HELPFUL", "value": "8"}]}
    records = [
        {
            "id": str(each.number),
            "indicator": _hex(each),
            "type": "HASH_MD5",
            "last_updated": _time(each),
            "should_delete": each.withdrawn,
            "descriptors": {"data": [{**descriptor, "status": each.label}]},
        }
        for each in states
    ]
    return json.dumps({"data": records})


PROFILE = """
layout = "csv"
key = ["id"]
label = ["label"]
scheme = "scheme"
jurisdiction = "country"
updated_on = { column = "date" }
deleted = { column = "gone" }
[[hash]]
column = "md5"
algorithm = "md5"
[[flag]]
column = "flags"
separator = "|"
"""


def _columns(states: list[State]) -> str:
    rows = (f"{each.number},{_hex(each)},{each.label},own,NL,{_date(each)},{each.withdrawn},b|a\n" for each in states)
    return "id,md5,label,scheme,country,date,gone,flags\n" + "".join(rows)


CASES = {
    "ncmec": Case(
        _ncmec, lambda state: (f"42/e{state.number}", "ncmec", ("negative-feedback:md5",), _date(state)), ("A1", "B2")
    ),
    "vics": Case(
        _vics,
        lambda state: (str(state.number), "vics:uk", ("series:a series", "victim-identified"), _date(state)),
        ("1", "2"),
        withdraws=False,
    ),
    "vics of cases": Case(
        _vics_cases,
        lambda state: (f"c/{state.number}", "own", ("series:a series", "victim-identified"), _date(state)),
        ("1", "2"),
        {"format": "vics", "scheme": "own"},
        withdraws=False,
    ),
    "icse": Case(
        _icse,
        lambda state: (str(state.number), "interpol-baseline", ("series:a series", "victim-identified"), ""),
        ("yes", "no"),
        withdraws=False,
    ),
    "stopncii": Case(
        _stopncii,
        lambda state: (
            key_of("VideoMD5", DIGESTS[state.digest]),
            "stopncii",
            ("case:Active", "feedback:x:Blocked", "feedback:x:tag:t"),
            _date(state),
        ),
        ("Active", "Received"),
    ),
    "tech-against-terrorism": Case(
        _tech_against_terrorism,
        lambda state: (str(state.number), "tech-against-terrorism", ("file-type:mp4",), _date(state)),
        ("far-right", "islamist"),
    ),
    "threatexchange": Case(
        _threatexchange,
        lambda state: (str(state.number), "threatexchange", ("owner:7", "reaction:HELPFUL:8", "t"), _date(state)),
        ("MALICIOUS", "SUSPICIOUS"),
    ),
    "columns": Case(
        _columns,
        lambda state: (str(state.number), "own", ("a", "b"), _date(state)),
        ("A", "B"),
        {"profile": PROFILE},
    ),
}
every_format = pytest.mark.parametrize("name", CASES)


class Desk:
    """Delivers in one format to one of the two lists, and compares what both say with what they should."""

    def __init__(self, office: Office, name: str) -> None:
        self._office = office
        self._case = CASES[name]
        self._options: dict[str, Any] = {"format": name, "jurisdiction": "FR", **self._case.options}
        self.labels = self._case.labels
        for list_id in ("list", "other"):
            office.define(list_id, nature=ListNature.ILLEGAL)
        office.deliver_hashes(DIGESTS, "other", label="as ever")

    def deliver(self, *states: State, mode: DeliveryMode = FULL) -> None:
        staging = self._office.stage(self._case.document([*states]), mode=mode, **self._options)
        assert not staging.report.quarantined
        assert "counts-reconcile" not in [gate.name for gate in staging.report.unmet]
        self._office.publish(staging)

    def assert_says(self, *states: State) -> None:
        answers = self._office.ask_items([[(Algorithm.MD5, digest)] for digest in DIGESTS])
        for number, answer in enumerate(answers):
            wanted = {self._said(each) for each in states if each.digest == number}
            found = [
                Said(
                    each.list_id,
                    each.source_key,
                    each.statement.label,
                    each.statement.scheme,
                    each.statement.jurisdiction,
                    each.statement.flags,
                    each.statement.updated_on,
                )
                for each in answer.findings[0].opinions
            ]
            untouched = Said("other", "", "as ever", "scheme", "", (), "")
            assert sorted(found) == sorted([*wanted, untouched])

    def _said(self, state: State) -> Said:
        key, scheme, flags, updated_on = self._case.said(state)
        jurisdiction = "NL" if self._options["format"] == "columns" else "FR"
        return Said("list", key, state.label, scheme, jurisdiction, flags, updated_on)


@every_format
def test_what_a_body_says_arrives_and_a_later_full_delivery_replaces_it(office: Office, name: str) -> None:
    desk = Desk(office, name)
    one, two = desk.labels
    first = [State(1, 0, one), State(2, 1, two, day=2), State(3, 2, one, day=3)]
    desk.deliver(*first)
    desk.assert_says(*first)
    second = [State(1, 0, two, day=9), State(3, 2, one, day=3)]
    desk.deliver(*second)
    desk.assert_says(*second)


@every_format
def test_an_incremental_delivery_changes_what_it_names_and_nothing_else(office: Office, name: str) -> None:
    desk = Desk(office, name)
    one, two = desk.labels
    first = [State(1, 0, one), State(2, 1, two, day=2), State(3, 2, one, day=3)]
    desk.deliver(*first)
    changed = State(2, 1, one, day=9)
    desk.deliver(changed, mode=INCREMENTAL)
    desk.assert_says(first[0], changed, first[2])


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.withdraws])
def test_a_withdrawal_takes_exactly_one_opinion(office: Office, name: str) -> None:
    desk = Desk(office, name)
    one, two = desk.labels
    first = [State(1, 0, one), State(2, 1, two, day=2), State(3, 2, one, day=3)]
    desk.deliver(*first)
    desk.deliver(State(2, 1, two, day=9, withdrawn=True), mode=INCREMENTAL)
    desk.assert_says(first[0], first[2])
    desk.deliver(State(1, 0, one, withdrawn=True), first[1])
    desk.assert_says(first[1])


# StopNCII has one record for each hash.
@pytest.mark.parametrize("name", [name for name in CASES if name != "stopncii"])
def test_entries_that_contradict_each_other_on_one_hash_stay_apart(office: Office, name: str) -> None:
    desk = Desk(office, name)
    one, two = desk.labels
    both = [State(1, 0, one), State(2, 0, two), State(3, 1, one)]
    desk.deliver(*both)
    desk.assert_says(*both)
    moved = State(2, 2, two, day=9)
    desk.deliver(moved, mode=INCREMENTAL)
    desk.assert_says(both[0], moved, both[2])


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.withdraws and name != "columns"])
def test_of_two_states_in_one_delivery_the_later_in_time_stands(office: Office, name: str) -> None:
    desk = Desk(office, name)
    one, two = desk.labels
    late, early = State(1, 0, two, day=9), State(1, 0, one, day=2)
    gone = State(2, 1, one, day=9, withdrawn=True)
    desk.deliver(late, gone, early, State(2, 1, one, day=2), State(3, 2, one))
    desk.assert_says(late, State(3, 2, one))
